"""Log-softmax and the best tokens of large vocabularies by ONNX Runtime's kernels: on several threads, in few passes.

The graphs have one or two nodes and no weights, so they are written here, as protobuf
(https://protobuf.dev/programming-guides/encoding/): fields of onnx/onnx.proto by their numbers.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.engine.device import CPU_PROVIDER
from onnxpipe.engine.opening import session_options
from onnxpipe.engine.runtime import import_onnxruntime

Array = NDArray[Any]

_FLOAT, _INT64 = 1, 7


def log_softmax(scores: Array, threads: int) -> Array:
    """Compute log(softmax) of float32 (..., vocab); of a row of nothing but -inf NaN."""
    return np.asarray(_session(os.getpid(), threads, normalise=True, best=False).run(["logs"], {"scores": scores})[0])


def top_k(scores: Array, k: int, threads: int, *, normalise: bool) -> tuple[Array, Array]:
    """Find the k largest of each row of float32 (rows, vocab), k <= vocab: values and int64 indices.

    The largest comes first, of equals the first one.

    Args:
        scores: the scores.
        k: how many.
        threads: threads to compute with.
        normalise: take their log-softmax first.
    """
    session = _session(os.getpid(), threads, normalise=normalise, best=True)
    values, indices = session.run(["values", "indices"], {"scores": scores, "k": np.array([k], np.int64)})
    return values, indices


@lru_cache
def _session(process: int, threads: int, *, normalise: bool, best: bool) -> Any:
    """Open a graph; a process that was forked has none of its parent's threads, and opens its own."""
    nodes, inputs, outputs = b"", _field(11, _value("scores", _FLOAT)), b""
    if normalise:
        nodes += _node("LogSoftmax", ["scores"], ["logs"])
        outputs += b"" if best else _field(12, _value("logs", _FLOAT))
    if best:
        nodes += _node("TopK", ["logs" if normalise else "scores", "k"], ["values", "indices"])
        inputs += _field(11, _value("k", _INT64))
        outputs += _field(12, _value("values", _FLOAT)) + _field(12, _value("indices", _INT64))
    graph = nodes + _field(2, b"scores") + inputs + outputs
    runtime = import_onnxruntime()
    return runtime.InferenceSession(
        _field(1, 8) + _field(7, graph) + _field(8, _field(2, 17)),  # IR version 8, opset 17
        session_options(runtime, threads, stepwise=True),
        providers=[CPU_PROVIDER],
    )


def _node(kind: str, inputs: list[str], outputs: list[str]) -> bytes:
    names = [_field(1, name.encode()) for name in inputs] + [_field(2, name.encode()) for name in outputs]
    return _field(1, b"".join(names) + _field(4, kind.encode()))


def _value(name: str, dtype: int) -> bytes:
    return _field(1, name.encode()) + _field(2, _field(1, _field(1, dtype)))  # of any shape


def _field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return bytes([number << 3]) + _varint(content)
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
