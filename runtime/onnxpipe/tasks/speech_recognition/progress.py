"""Show the progress of a long recording as a bar on standard error."""

from __future__ import annotations

from typing import Any


class Progress:
    """Show how many seconds of one recording are done.

    Args:
        total: its length; None if it is not known.
        name: the bar's title.
    """

    def __init__(self, total: float | None, name: str) -> None:
        from tqdm.auto import tqdm

        self._bar: Any = tqdm(
            total=None if total is None else round(total, 1), desc=name, unit="s", leave=False, mininterval=0.2,
            bar_format=None if total is None else "{l_bar}{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}]",
        )  # fmt: skip

    def add(self, seconds: float) -> None:
        """Add seconds that are done."""
        self.reach(self._bar.n + seconds)

    def reach(self, seconds: float) -> None:
        """Set the bar to a second up to which everything is done."""
        done = seconds if self._bar.total is None else min(seconds, self._bar.total)
        if done > self._bar.n:
            self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()
