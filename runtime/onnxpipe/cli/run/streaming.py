"""Show text on the terminal while it is generated, without control characters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from onnxpipe.cli.guard import describe
from onnxpipe.cli.run.answers import InputError, readable
from onnxpipe.cli.terminal import echo, printable


def can_stream(pipe: Any, params: Mapping[str, Any]) -> bool:
    """Tell whether the pipeline can stream its answers with these parameters."""
    can = getattr(pipe, "can_stream", None)
    return can is not None and bool(can(**params))


def stream(pipe: Any, values: Iterable[Any], params: Mapping[str, Any], keep: bool) -> int:
    """Write the answers to stdout while the model generates them, with an empty line between them.

    Args:
        pipe: a pipeline with `stream`.
        values: inputs; those that are an `InputError` do not go to the pipeline.
        params: keywords of the call.
        keep: write a bad input's error in the place of its answer, instead of raising it.

    Returns:
        how many inputs failed.

    Raises:
        InputError: an input could not be answered.
    """
    failed = 0
    whole = params.get("return_full_text") is not False
    for number, value in enumerate(values, 1):
        if number > 1:
            echo()
        before = [value] if whole and isinstance(value, str) else []
        begun = False
        for piece in _pieces(pipe, readable(value), params):
            if isinstance(piece, InputError):
                message = f"input {number}: {piece}"
                if not keep:
                    raise InputError(message) from piece.__cause__
                failed += 1
                echo(f"error: {printable(message)}", nl=False)
                break
            for text in (piece,) if begun else (*before, piece):
                echo(text, nl=False)
            begun = True
        echo()
    return failed


def _pieces(pipe: Any, value: Any, params: Mapping[str, Any]) -> Iterator[str | InputError]:
    """Generate the pieces of an answer; an `InputError` is the last if the model fails.

    So an error of writing, outside, is not taken for the input's.
    """
    try:
        if isinstance(value, InputError):
            raise value
        pieces = iter(pipe.stream(value, **params))
        yield next(pieces, "")
        yield from pieces
    except Exception as error:
        failure = InputError(describe(error))
        failure.__cause__ = error
        yield failure
