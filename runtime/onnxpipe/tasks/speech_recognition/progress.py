"""How far a long recording is, as a bar on standard error."""

from __future__ import annotations

from typing import Any


class Progress:
    """Seconds of one recording that are done.

    Args:
        total: how long it is; None where nobody knows.
        name: what the bar is called.
    """

    def __init__(self, total: float | None, name: str) -> None:
        from tqdm.auto import tqdm

        self._bar: Any = tqdm(
            total=None if total is None else round(total, 1), desc=name, unit="s", leave=False, mininterval=0.2,
            bar_format=None if total is None else "{l_bar}{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}]",
        )  # fmt: skip

    def add(self, seconds: float) -> None:
        """Says that more is done."""
        self.reach(self._bar.n + seconds)

    def reach(self, seconds: float) -> None:
        """Says that everything up to a second is done."""
        done = seconds if self._bar.total is None else min(seconds, self._bar.total)
        if done > self._bar.n:
            self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Takes the bar away."""
        self._bar.close()
