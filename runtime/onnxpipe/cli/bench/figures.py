"""The figures of a benchmark: several values each, written, read and compared."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_LEAST_CHANGE = 0.03
"""A smaller change than this share is none, however little the values vary."""

#: Figures of which more is better; of all others (seconds, megabytes) less is.
_MORE_IS_BETTER = ("/s",)


@dataclass
class Benchmark:
    """What was measured.

    Attributes:
        about: model, task, input, versions and machine.
        settings: a setting ("int8, 2 threads") -> figure ("alone, p50 (ms)") -> its value in each round.
    """

    about: dict[str, Any]
    settings: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, setting: str, figure: str, value: float) -> None:
        """Add the value of one round."""
        self.settings.setdefault(setting, {}).setdefault(figure, []).append(value)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        document = {"about": self.about, "settings": self.settings}
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Benchmark:
        """Read what `save` wrote.

        Raises:
            ValueError: the file holds something else.
            OSError: it cannot be read.
        """
        from onnxpipe.processing.json_text import parse_json

        document = parse_json(path.read_text(encoding="utf-8"))
        settings = document.get("settings") if isinstance(document, dict) else None
        if not isinstance(settings, dict) or not all(_is_setting(value) for value in settings.values()):
            raise ValueError(f"{path} is not a file of onnxpipe bench")
        return cls(dict(document.get("about") or {}), settings)


def _is_setting(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(values, list) and values and all(isinstance(each, (int, float)) for each in values)
        for values in value.values()
    )


@dataclass(frozen=True)
class Change:
    """A figure that differs from an earlier one by more than both vary.

    Attributes:
        before, after: the medians.
        better: whether it is an improvement.
    """

    before: float
    after: float
    better: bool

    def __str__(self) -> str:
        return f"{'better' if self.better else 'WORSE'}: {number(self.before)} before, {self.after / self.before:.2f} x"


def change(figure: str, before: list[float], after: list[float]) -> Change | None:
    """Compare a figure with an earlier one; None where their values overlap, or hardly differ."""
    old, new = statistics.median(before), statistics.median(after)
    if not (max(before) < min(after) or max(after) < min(before)) or old <= 0:
        return None
    if abs(new / old - 1) < _LEAST_CHANGE:
        return None
    return Change(old, new, (new > old) == any(unit in figure for unit in _MORE_IS_BETTER))


def changes(before: Benchmark, after: Benchmark) -> Iterator[tuple[str, str, Change]]:
    """Yield setting, figure and change of all that changed."""
    for setting, figures in after.settings.items():
        for figure, values in figures.items():
            earlier = before.settings.get(setting, {}).get(figure)
            found = change(figure, earlier, values) if earlier else None
            if found is not None:
                yield setting, figure, found


def table(benchmark: Benchmark, before: Benchmark | None = None) -> Iterator[str]:
    """Yield the lines of a table in plain text: medians, with the lowest and the highest value."""
    for setting, figures in benchmark.settings.items():
        yield setting
        for figure, values in figures.items():
            spread = f"{number(min(values))} - {number(max(values))}" if len(values) > 1 else ""
            line = f"  {figure:<34} {number(statistics.median(values)):>10}   {spread:<20}"
            earlier = (before.settings.get(setting, {}) if before else {}).get(figure)
            found = change(figure, earlier, values) if earlier else None
            yield f"{line} {found}" if found else line.rstrip()


def number(value: float) -> str:
    """Format a number with three significant digits."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def medians(benchmark: Benchmark, figure: str) -> Mapping[str, float]:
    """Return the median of a figure by setting, of those that have it."""
    return {
        setting: statistics.median(figures[figure])
        for setting, figures in benchmark.settings.items()
        if figure in figures
    }
