"""Answers without numpy, text without control characters."""

from __future__ import annotations

from typing import Any


def plain(value: Any) -> Any:
    """The same value of dicts, lists, text and numbers; numpy's arrays and scalars become lists and numbers."""
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if hasattr(value, "tolist"):  # arrays and scalars of numpy
        return value.tolist()
    if value is None or isinstance(value, (str, int, float)):
        return value
    return str(value)


def printable(text: str) -> str:
    """Text in one line, without control characters: what stands in an input or a model must not steer the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def megabytes(size: int) -> str:
    """A size for people."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
