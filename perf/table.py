"""Write the tables of docs/benchmarks.md from the figures of runs, a section for each machine."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perf import environments
from perf.workloads import bits

BEGIN, END = "<!-- python -m perf table: begin -->", "<!-- python -m perf table: end -->"
OURS = ("onnxpipe",)
APART = 1e-3
"""Answers that differ by more between alone and in a list do not count as equal to answers that do not."""


def ratio(row: dict[str, Any], ours: str, peer: str) -> float:
    """Return by how much `ours` is ahead of `peer`: the median of the rounds' ratios."""
    pairs = zip(row["participants"][ours]["figures"], row["participants"][peer]["figures"], strict=False)
    return statistics.median(mine / theirs if row["more"] else theirs / mine for mine, theirs in pairs)


def best_peer(row: dict[str, Any], ours: str, *, equal: bool) -> str | None:
    """Name the quickest peer whose precision has at least as many bits; with `equal` whose answers are as good."""
    names = [name for name in row["participants"] if name.split()[0] not in OURS and bits(name) >= bits(ours)]
    if equal:
        names = [name for name in names if _is_as_good(row, ours, name)]
    choose = max if row["more"] else min
    figures = {name: statistics.median(row["participants"][name]["figures"]) for name in names}
    return choose(figures, key=lambda name: figures[name]) if figures else None


def _is_as_good(row: dict[str, Any], ours: str, peer: str) -> bool:
    mine, theirs = row["participants"][ours], row["participants"][peer]
    if mine.get("value") is None or theirs.get("value") is None:
        return True
    steady = (theirs.get("apart") or 0.0) <= max(APART, mine.get("apart") or 0.0)
    return bool(steady and theirs["value"] >= mine["value"] - row["slack"])


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """Write a line for each workload and precision of onnxpipe: the quickest peer, and the quickest as good one."""
    lines = [
        "| workload | onnxpipe | quickest peer | ratio | as good answers | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        for ours in [name for name in row["participants"] if name.split()[0] in OURS]:
            cells = [row["title"], f"{ours.split()[1]} {_figure(row, ours)}"]
            quickest = best_peer(row, ours, equal=False)
            for peer in (quickest, best_peer(row, ours, equal=True)):
                if peer is None:
                    cells += ["–", "–"]
                elif peer == quickest and len(cells) > 2:
                    cells += ["the same", cells[3]]
                else:
                    cells += [f"{label(peer)} {_figure(row, peer)}", f"{ratio(row, ours, peer):.2f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def details(rows: Sequence[dict[str, Any]]) -> str:
    """Write a line for every participant: its figure with the range of the rounds, its memory and its answers."""
    lines = [
        "| workload | | median (range) | memory | answers | alone and in a list apart by |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        for place, name in enumerate(ordered(row)):
            one = row["participants"][name]
            low, high = min(one["figures"]), max(one["figures"])
            spread = f" ({number(low)}–{number(high)})" if len(one["figures"]) > 1 else ""
            apart = "" if one.get("apart") is None else "0" if not one["apart"] else f"{one['apart']:.0e}"
            memory = "" if one["memory"] is None else f"{one['memory']:.0f} MB"
            title = row["title"] if place == 0 else ""
            cells = [title, label(name), f"{_figure(row, name)}{spread}", memory, one.get("words", ""), apart]
            lines.append(f"| {' | '.join(cells)} |")
        for name, why in row["missing"].items():
            lines.append(f"| | {label(name)} | – | | {why.replace('|', '/')} | |")
    return "\n".join(lines)


def ordered(row: dict[str, Any]) -> list[str]:
    """Name the participants, the best figure first."""
    figures = {name: statistics.median(one["figures"]) for name, one in row["participants"].items()}
    return sorted(figures, key=lambda name: figures[name], reverse=row["more"])


def section(document: dict[str, Any]) -> str:
    """Write what one machine's run says."""
    machine = document["machine"]
    about = (
        f"### {machine['processor']}, {machine['threads']} threads\n\n"
        f"{document['date']}, commit {document['commit']}, at most {document['rounds']} rounds; "
        f"{machine['instructions']}. {', '.join(document['versions'].values())}."
    )
    return "\n\n".join([about, summary(document["rows"]), "All figures:", details(document["rows"])])


def write(page: Path, documents: Sequence[dict[str, Any]]) -> None:
    """Put the sections between the marks of a page.

    Raises:
        ValueError: the page does not have the marks.
    """
    text = page.read_text("utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{page} needs the lines {BEGIN} and {END}")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    body = "\n\n".join(section(document) for document in documents)
    page.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}", "utf-8")


def label(participant: str) -> str:
    """Call a participant by its name."""
    name, _, precision = participant.partition(" ")
    try:
        return f"{environments.peer(name).NAME} {precision}"
    except ModuleNotFoundError:
        return participant


def number(value: float) -> str:
    """Write three significant digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}" if value >= 1 else f"{value:.2g}"


def _figure(row: dict[str, Any], name: str) -> str:
    return f"{number(statistics.median(row['participants'][name]['figures']))} {row['unit']}"
