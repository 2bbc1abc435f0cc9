"""Make the steps of a pipeline's call: how the scheduler encodes, runs and decodes, and what may share a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxpipe.engine.scheduler import Answered, Work
from onnxpipe.processing.arrays import check_numbers


def make_work(pipe: Any, options: Any, size: int | None) -> Work:
    """Make the steps of a call.

    Args:
        pipe: the pipeline, or the view of it that the call has.
        options: of the call.
        size: its `batch_size`; None groups rows of similar length.
    """
    beside = batches_beside(pipe)
    return Work(
        beside=beside,
        run_beside=(lambda rows: pipe.view(model=pipe.model.narrow()).run(rows, options)) if beside > 1 else None,
        encode=lambda value: pipe.encode(value, options),
        run=lambda rows: pipe.run(rows, options),
        decode=lambda rows: pipe.decode(checked(rows), options),
        encode_many=None if pipe.lazy else lambda values: pipe.encode_many(values, options),
        decode_many=lambda many: pipe.decode_many([checked(rows) for rows in many], options),
        can_pad=pipe.padding().token_id is not None and (size is not None or getattr(pipe.model, "pads", True)),
        token_budget=pipe.token_budget * pipe.at_once,
        window=pipe.window * pipe.at_once,
        lazy=pipe.lazy,
    )


def batches_beside(pipe: Any) -> int:
    """Return how many batches may run side by side: those of texts that a model runs once."""
    texts = pipe.input_modalities == "text" and pipe.rows_are_tokens
    return getattr(pipe.model, "beside", 1) if texts and runs_plainly(pipe) else 1


def runs_plainly(pipe: Any) -> bool:
    """Whether a task leaves `run` as it is, so that no option of a call changes what the model does with a row."""
    from onnxpipe.tasks.base.pipeline import Pipeline

    return type(pipe).run is Pipeline.run and pipe.Options is not None


def checked(rows: Answered) -> Answered:
    """Return the outputs of an input as they are, unless one holds NaN, which no answer could be made from."""
    for _, outputs in rows:
        for name, value in outputs.items() if isinstance(outputs, Mapping) else ():
            if isinstance(value, np.ndarray):
                check_numbers(name, value)
    return rows
