"""Run pipelines that were written for transformers: adapt its four methods to rows.

_sanitize_parameters(**kwargs) -> (preprocess, forward, postprocess parameters)
preprocess(input, ...)         -> a dict of arrays with a leading axis of 1 (or a generator of such dicts: chunks)
_forward(batch, ...)           -> a dict of arrays with the batch on the first axis
postprocess(outputs, ...)      -> the answer; gets a dict, or the list of dicts if `preprocess` made chunks
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from onnxpipe.engine.batching import Padding, Row, split, stack
from onnxpipe.engine.scheduler import Answered, Outputs


class BatchRunner(Protocol):
    """What `run` needs of a `Pipeline` beside `_forward`."""

    model: Any

    def padding(self) -> Padding:
        """How rows of different lengths are made a batch."""
        ...


@dataclass(frozen=True)
class Stages:
    """Parameters of the three stages."""

    preprocess: Mapping[str, Any] = field(default_factory=dict)
    forward: Mapping[str, Any] = field(default_factory=dict)
    postprocess: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Extra:
    """The values of a preprocessed dict that are not arrays, and whether the input was cut into chunks."""

    values: Mapping[str, Any]
    chunked: bool


def parse(pipe: Any, kwargs: Mapping[str, Any], base: Stages | None) -> Stages:
    """Sort keywords with the class's `_sanitize_parameters`, on every call, and put them over the constructor's."""
    pre, fwd, post = pipe._sanitize_parameters(**kwargs)
    base = base or Stages()
    return Stages({**base.preprocess, **pre}, {**base.forward, **fwd}, {**base.postprocess, **post})


def encode(pipe: Any, value: Any, stages: Stages) -> Iterable[Row]:
    """Turn the output of `preprocess` into rows."""
    processed = pipe.preprocess(value, **stages.preprocess)
    chunked = isinstance(processed, types.GeneratorType)
    return _rows(processed if chunked else [processed], chunked)


def _rows(dicts: Iterable[Mapping[str, Any]], chunked: bool) -> Iterator[Row]:
    for each in dicts:
        arrays = {k: np.asarray(v)[0] for k, v in each.items() if hasattr(v, "__array__") and np.ndim(v)}
        others = {k: v for k, v in each.items() if k not in arrays}
        length = max((len(a) for a in arrays.values() if a.ndim), default=1)
        yield Row(arrays, length, _Extra(others, chunked))


def run(pipe: BatchRunner, rows: Sequence[Row], stages: Stages) -> list[Outputs]:
    """Call `_forward` on the stacked rows; values that are not arrays become lists."""
    padding = pipe.padding()
    batch: dict[str, Any] = dict(stack(rows, padding)) if rows[0].feeds else {}
    for name in rows[0].extra.values:
        values = [row.extra.values[name] for row in rows]
        batch[name] = values[0] if len(rows) == 1 else values
    outputs = pipe._forward(batch, **stages.forward)  # type: ignore[attr-defined]
    arrays = {k: np.asarray(v) for k, v in outputs.items() if hasattr(v, "__array__")}
    answers = split(arrays, rows, getattr(pipe.model, "per_token", frozenset()), padding)
    for i, answer in enumerate(answers):
        for name, value in outputs.items():
            if name not in arrays:
                answer[name] = value[i] if isinstance(value, list) and len(value) == len(rows) > 1 else value
    return answers


def decode(pipe: Any, rows: Answered, stages: Stages) -> Any:
    """Call `postprocess` on outputs that have their leading axis of 1 again."""
    outputs = [{k: v[None] if isinstance(v, np.ndarray) else v for k, v in out.items()} for _, out in rows]
    return pipe.postprocess(outputs if rows[0][0].extra.chunked else outputs[0], **stages.postprocess)
