"""The support tables of docs/models.md: tasks × families, from the checks that passed in one run of the suite."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from conformance.cases import CASES, OTHER_PIXELS, families, missing
from zoo.audio import families as audio
from zoo.vision import families as vision

Results = dict[tuple[str, str], tuple[int, int]]
"""(task, family) -> (checks passed, checks failed)."""

NO_BREAK = "\N{NO-BREAK SPACE}"
"""Between a family and its count, so that a line never parts them."""

_LISTS = {"images and video": vision.TASKS, "audio": audio.TASKS}

_BY_GENERATE = "4.57, which has the pipeline, prepares its images otherwise; compared with `generate()` of 5.23"

START, END = "<!-- table:start -->", "<!-- table:end -->"


def render(results: Results) -> str:
    """Markdown: a table for the tasks on text that share their families, one for images, one for audio, the notes.

    A cell is `✓ n` when all n checks passed, `✗ k of n` when only k did, `–` where there is no class or no export,
    `✓ generate()` where a test compares with the model's `generate()`, not with the pipeline.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for task in CASES:
        if task not in (*vision.TASKS, *audio.TASKS):
            groups.setdefault(families(task), []).append(task)
    tables = [_table(columns, tasks, results) for columns, tasks in groups.items()]
    tables += [_lists(name, [task for task in CASES if task in tasks], results) for name, tasks in _LISTS.items()]
    notes = [f"– {task}, {family}: {reason}." for task in CASES for family, reason in missing(task).items()]
    notes += [f"– {task}, {family}: {_BY_GENERATE}." for task, family in sorted(OTHER_PIXELS)]
    return "\n\n".join([*tables, "\n".join(notes)])


def _table(columns: tuple[str, ...], tasks: list[str], results: Results) -> str:
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for task in tasks:
        reasons = missing(task)
        cells = [_cell(results.get((task, family)), family in reasons) for family in columns]
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _lists(name: str, tasks: list[str], results: Results) -> str:
    """A row a task, with its families in one cell: most vision and audio families have one task or two."""
    lines = [f"| {name} | families |", "|---|---|"]
    for task in tasks:
        reasons = missing(task)
        cells = (f"{family} {_named(task, family, results, reasons)}" for family in families(task))
        lines.append(f"| {task} | {', '.join(cells).replace(' ', NO_BREAK).replace(f',{NO_BREAK}', ', ')} |")
    return "\n".join(lines)


def _named(task: str, family: str, results: Results, reasons: Collection[str]) -> str:
    if (task, family) in OTHER_PIXELS:
        return "✓ generate()"
    return _cell(results.get((task, family)), family in reasons)


def _cell(counts: tuple[int, int] | None, no_class: bool) -> str:
    if no_class:
        return "–"
    if counts is None:
        return "not run"
    passed, failed = counts
    return f"✗ {passed} of {passed + failed}" if failed else f"✓ {passed}"


def write(page: Path, results: Results) -> None:
    """Put the tables between the markers of `page`.

    Raises:
        ValueError: the markers are not there.
    """
    text = page.read_text(encoding="utf-8")
    if START not in text or END not in text:
        raise ValueError(f"{page.name} has no {START} … {END}: add both lines where the table belongs")
    before, rest = text.split(START, 1)
    after = rest.split(END, 1)[1]
    page.write_text(f"{before}{START}\n{render(results)}\n{END}{after}", encoding="utf-8")
