"""The support table of README.md: tasks × families, from the checks that passed in one run of the suite."""

from __future__ import annotations

from pathlib import Path

from conformance.cases import CASES, missing
from zoo import FAMILIES

Results = dict[tuple[str, str], tuple[int, int]]
"""(task, family) -> (checks passed, checks failed)."""

START, END = "<!-- table:start -->", "<!-- table:end -->"


def render(results: Results) -> str:
    """The Markdown table: `✓ n` when all n checks passed, `✗ k of n` when only k did, `–` where there is no class."""
    lines = ["| | " + " | ".join(FAMILIES) + " |", "|---|" + "---|" * len(FAMILIES)]
    notes: list[str] = []
    for task in CASES:
        reasons = missing(task)
        cells = [_cell(results.get((task, family)), family in reasons) for family in FAMILIES]
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
        notes += [f"– {task}, {family}: {reason}." for family, reason in reasons.items()]
    return "\n".join([*lines, "", *notes])


def _cell(counts: tuple[int, int] | None, no_class: bool) -> str:
    if no_class:
        return "–"
    if counts is None:
        return "not run"
    passed, failed = counts
    return f"✗ {passed} of {passed + failed}" if failed else f"✓ {passed}"


def write(readme: Path, results: Results) -> None:
    """Put the table between the markers of `readme`.

    Raises:
        ValueError: the markers are not there.
    """
    text = readme.read_text(encoding="utf-8")
    if START not in text or END not in text:
        raise ValueError(f"{readme.name} has no {START} … {END}: add both lines where the table belongs")
    before, rest = text.split(START, 1)
    after = rest.split(END, 1)[1]
    readme.write_text(f"{before}{START}\n{render(results)}\n{END}{after}", encoding="utf-8")
