"""Read the code blocks of the documentation's pages, with what the comment above each says of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^(?:<!-- (?P<note>[^\n]*?) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        language: "python", "bash", …
        code: its text.
        line: where it starts in the page, from 1.
        not_run: why a test cannot run it, from `<!-- not run: reason -->` in the line above; None for what is run.
        file: the file that holds the same text, from `<!-- file: path -->`; None for none.
    """

    language: str
    code: str
    line: int
    not_run: str | None
    file: str | None


def pages() -> list[Path]:
    """README.md and every page of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            found["language"],
            found["code"],
            text.count("\n", 0, found.start("code")) + 1,
            _after(found["note"], "not run: "),
            _after(found["note"], "file: "),
        )
        for found in _BLOCK.finditer(text)
    ]


def _after(note: str | None, start: str) -> str | None:
    return note.removeprefix(start) if note is not None and note.startswith(start) else None
