"""Recordings that are in memory already: arrays, lists and tensors, as samples of one channel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.errors import AudioError

Array = NDArray[Any]


def as_array(source: Any) -> Array | None:
    """An array, or what can become one (a tensor of another library, on any device); else None."""
    if isinstance(source, np.ndarray):
        return source
    if not hasattr(source, "__array__"):
        return None
    for step in ("detach", "cpu"):
        source = getattr(source, step, lambda kept=source: kept)()
    return np.asarray(source)


def samples(source: Any, dtype: Any = np.float32) -> Array:
    """An array, a tensor or a list of numbers, as numbers of that type.

    Raises:
        AudioError: a list of lists of unlike length, or of something else than numbers.
    """
    array = as_array(source)
    try:
        return np.asarray(source if array is None else array, dtype)
    except (TypeError, ValueError) as error:
        raise AudioError(f"a recording is an array of numbers, not {type(source).__name__}: {error}") from error


def recordings(source: Any, dtype: Any = np.float32) -> list[Array]:
    """The recordings of a batch: of a list of arrays or lists, of the rows of a matrix; one of anything else."""
    array = as_array(source)
    if array is not None and array.ndim > 1:
        return [samples(row, dtype) for row in array]
    if isinstance(source, (list, tuple)) and source and not isinstance(source[0], (int, float, np.number)):
        return [samples(row, dtype) for row in source]
    return [samples(source, dtype)]
