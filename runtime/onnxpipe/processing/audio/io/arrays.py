"""Convert recordings in memory (arrays, lists and tensors) to NumPy arrays of samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.errors import AudioError
from onnxpipe.processing.arrays import as_array

Array = NDArray[Any]


def as_samples(source: Any, dtype: Any = np.float32) -> Array:
    """Convert an array, a tensor or a list of numbers to an array of that type.

    Raises:
        AudioError: lists of different lengths, or values that are not numbers.
    """
    array = as_array(source)
    try:
        return np.asarray(source if array is None else array, dtype)
    except (TypeError, ValueError) as error:
        raise AudioError(f"a recording must be an array of numbers, not {type(source).__name__}: {error}") from error


def as_recordings(source: Any, dtype: Any = np.float32) -> list[Array]:
    """Split a batch into recordings: the items of a list, the rows of a matrix; anything else is one recording."""
    array = as_array(source)
    if array is not None and array.ndim > 1:
        return [as_samples(row, dtype) for row in array]
    if isinstance(source, (list, tuple)) and source and not isinstance(source[0], (int, float, np.number)):
        return [as_samples(row, dtype) for row in source]
    return [as_samples(source, dtype)]
