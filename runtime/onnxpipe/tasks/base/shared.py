"""Calls whose rows wait in a queue that several calls share: what may run together, and how much waits at a time."""

from __future__ import annotations

import dataclasses
from typing import Any

from onnxpipe.engine.scheduler import Work
from onnxpipe.tasks.base.work import runs_plainly

#: Rows of one long input that wait at a time, so that a short one does not wait behind them all.
_WINDOW = 4

#: The part of a batch's tokens that one more row may bring as padding, where a row is run once: about what a batch of
#: its own would cost instead (11 tokens of 1024 with MiniLM in int8; larger models less). Generated texts take many
#: steps, and each costs much the same for any number of rows.
_PADDING = 160


def share(work: Work, pipe: Any, options: Any, size: int | None) -> Work:
    """Complete the steps of a call whose rows share batches with those of other calls.

    Args:
        work: the steps.
        pipe: the view of a pipeline that the call has.
        options: of the call.
        size: its `batch_size`.
    """
    group = group_of(pipe, options)
    return dataclasses.replace(
        work,
        window=min(work.window, _WINDOW) if work.lazy else work.window,
        caller=pipe.caller,
        group=(size, group),
        seed=getattr(options, "seed", None),
        most_rows=size,
        padding=work.token_budget // _PADDING if size is None and group is None else None,
    )


def group_of(pipe: Any, options: Any) -> str | None:
    """Tell what two calls must have in common for their rows to share a batch: all that `run` reads but the seed.

    A task that does not change `run` reads no options there.
    """
    if runs_plainly(pipe):
        return None
    if dataclasses.is_dataclass(options) and hasattr(options, "seed"):
        changed: Any = options
        options = dataclasses.replace(changed, seed=None)
    return repr(options)
