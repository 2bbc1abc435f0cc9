"""Show text on the terminal while it is generated, without control characters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

import click

from onnxpipe.cli.guard import describe
from onnxpipe.cli.run.answers import InputError
from onnxpipe.cli.run.plain import printable, visible


def can_stream(pipe: Any, params: Mapping[str, Any]) -> bool:
    """Tell whether the pipeline can stream its answers with these parameters."""
    can = getattr(pipe, "can_stream", None)
    return can is not None and bool(can(**params))


def stream(pipe: Any, values: Iterable[Any], params: Mapping[str, Any], keep: bool) -> None:
    """Write the answers to stdout while the model generates them, with an empty line between them.

    Args:
        pipe: a pipeline with `stream`.
        values: inputs; those that are an `InputError` do not go to the pipeline.
        params: keywords of the call.
        keep: write a bad input's error in the place of its answer, instead of raising it.

    Raises:
        InputError: an input could not be answered.
    """
    whole = params.get("return_full_text") is not False
    for number, value in enumerate(values, 1):
        if number > 1:
            click.echo()
        try:
            if isinstance(value, InputError):
                raise value
            write_pieces(([value] if whole and isinstance(value, str) else []), pipe.stream(value, **params))
        except Exception as error:
            message = f"input {number}: {describe(error)}"
            if not keep:
                raise InputError(message) from error
            click.echo(f"error: {printable(message)}")


def write_pieces(before: Iterable[str], pieces: Iterable[str]) -> None:
    """Write pieces of text as they come, and a line end.

    Args:
        before: texts to write before the first piece.
        pieces: the pieces; errors of the input are raised by the first one, before anything is written.
    """
    pieces = iter(pieces)
    first = next(pieces, "")
    for piece in chain(before, (first,), pieces):
        click.echo(visible(piece), nl=False)
    click.echo()
