"""The one place where text of a model, a file or an error becomes text on a terminal."""

from __future__ import annotations

import json
import re
from typing import Any

import click

#: Control characters (C0, DEL, C1), lone surrogates, and what ends a line or turns the direction of what follows.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""Escape line ends, tabs and control characters (`\n`, `\x1b`): the text takes one line."""
    return _CONTROL.sub(lambda found: _escape(found[0]), text)


def visible(text: str) -> str:
    r"""Escape control characters (`\x1b`), but keep lines and tabs."""
    return _CONTROL.sub(lambda found: found[0] if found[0] in "\n\t" else _escape(found[0]), text.replace("\r\n", "\n"))


def echo(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Write text to stdout or stderr, without control characters but for line ends and tabs."""
    click.echo(visible(text), err=err, nl=nl)


def json_text(document: Any, indent: int | None = None) -> str:
    r"""Format a document as JSON, in which control characters and lone surrogates are escaped (`\u009b`)."""
    text = json.dumps(document, ensure_ascii=False, indent=indent)
    return _CONTROL.sub(lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
