"""Text that a model writes, on a terminal: as it comes, and without what would steer the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from onnxpipe.cli.guard import describe
from onnxpipe.cli.run.answers import InputError
from onnxpipe.cli.run.plain import printable

#: Tasks whose answer is a text, with the key that it has.
TEXT_KEYS: Mapping[str, str] = {
    "text-generation": "generated_text",
    "text2text-generation": "generated_text",
    "summarization": "summary_text",
    "translation": "translation_text",
}


def visible(text: str) -> str:
    """The text with its lines and tabs, and no other control character."""
    return "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)


def streams(pipe: Any, params: Mapping[str, Any]) -> bool:
    """Whether the pipeline's answers can be shown piece by piece with these parameters."""
    can = getattr(pipe, "can_stream", None)
    return can is not None and bool(can(**params))


def stream(pipe: Any, values: Iterable[Any], params: Mapping[str, Any], keep: bool) -> None:
    """Writes the answers to stdout as the model writes them, an empty line between them.

    Args:
        pipe: a pipeline with `stream`.
        values: inputs; those that are an `InputError` are not asked about.
        params: keywords of the call.
        keep: write a bad input's error in the place of its answer, instead of raising it.

    Raises:
        InputError: an input that could not be answered.
    """
    whole = params.get("return_full_text") is not False
    for number, value in enumerate(values, 1):
        if number > 1:
            click.echo()
        try:
            if isinstance(value, InputError):
                raise value
            show(([value] if whole and isinstance(value, str) else []), pipe.stream(value, **params))
        except Exception as error:
            named = f"input {number}: {describe(error)}"
            if not keep:
                raise InputError(named) from error
            click.echo(f"error: {printable(named)}")


def show(before: Iterable[str], pieces: Iterable[str]) -> str:
    """Writes pieces of text as they come, and a line's end; returns what they make."""
    pieces = iter(pieces)
    first = next(pieces, "")  # before anything is written: what is wrong with the input shows here
    written = []
    for piece in (*before, first):
        click.echo(visible(piece), nl=False)
    written.append(first)
    for piece in pieces:
        written.append(piece)
        click.echo(visible(piece), nl=False)
    click.echo()
    return "".join(written)
