"""Say where torch or a model's own code fails while it is exported: which part, why, what else to do.

Their errors ("list index out of range", "unordered_map::at") mean nothing outside of their code. They are kept as the
causes of ours.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from onnxpipe.errors import ExportError, OnnxPipeError

ELSE = (
    "A ready-made ONNX folder of it loads as it is, if the Hub has one (onnx-community); docs/models.md lists the "
    "families that export"
)
"""What a user can do instead."""


def untraceable(kind: str, part: str, error: Exception) -> ExportError:
    """Make the error for a part of a model that tracing does not follow.

    Args:
        kind: the model's type.
        part: the name of the graph.
        error: what torch raised: of nearly every kind, assertions without a message as well.
    """
    return ExportError(
        f"models of the type '{kind}' cannot be exported yet: torch's tracing does not follow the code that computes "
        f"'{part}' ({type(error).__name__}). Nothing is wrong with the checkpoint. {ELSE}"
    )


@contextlib.contextmanager
def first_run(model: Any) -> Iterator[None]:
    """Turn whatever a model's own code raises inside, on a few tokens, into an error that says so.

    Raises:
        ExportError: it raises anything.
    """
    try:
        yield
    except OnnxPipeError:
        raise
    except Exception as error:  # a model's forward can raise anything
        raise ExportError(
            f"the original, {type(model).__name__}, fails on a first short input already, before anything is exported "
            f"({type(error).__name__}: {error}). Check its config.json against its weights; if transformers runs this "
            f"model, it needs inputs that the task does not give. {ELSE}"
        ) from error
