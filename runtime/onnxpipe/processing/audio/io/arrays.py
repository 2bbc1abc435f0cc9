"""Convert recordings in memory (arrays, lists and tensors) to NumPy arrays of samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.errors import AudioError
from onnxpipe.processing.arrays import as_array

Array = NDArray[Any]


#: The integers of audio files: readers of WAV give 8 bits as uint8, 24 bits in the upper part of int32.
_INTEGERS = ("int8", "int16", "int32", "uint8", "uint16", "uint32")


def scale_samples(array: Array) -> Array:
    """Scale samples of integers by the range of their type to -1 to 1, float32; leave floats as they are.

    Unsigned samples are silent in the middle of their range, as those of WAV are.

    Raises:
        AudioError: a type without a known range (int64, which a list of numbers becomes), or not one of real numbers.
    """
    if array.dtype.kind == "f":
        return array
    if array.dtype.name in _INTEGERS:
        half = 2.0 ** (8 * array.dtype.itemsize - 1)
        return np.asarray((array - (half if array.dtype.kind == "u" else 0.0)) / half, np.float32)
    if array.dtype.kind not in "iu":
        raise AudioError(f"a recording must be an array of floats or of 16-bit integers, not of {array.dtype}")
    if array.size and not -1 <= array.min() <= array.max() <= 1:
        raise AudioError(
            f"samples of {array.dtype} have no known range: pass floats from -1 to 1, or the type of the audio file "
            "(int16, say), which are scaled"
        )
    return np.asarray(array, np.float32)


def as_samples(source: Any, dtype: Any = np.float32) -> Array:
    """Convert an array, a tensor or a list of numbers to an array of that type; integers are scaled.

    Raises:
        AudioError: lists of different lengths, values that are not numbers, or integers without a known range.
    """
    array = as_array(source)
    try:
        values = np.asarray(source) if array is None else array
        if array is None and values.dtype == object:
            values = values.astype(dtype)
    except (TypeError, ValueError) as error:
        raise AudioError(f"a recording must be an array of numbers, not {type(source).__name__}: {error}") from error
    return np.asarray(scale_samples(values), dtype)


def as_recordings(source: Any, dtype: Any = np.float32) -> list[Array]:
    """Split a batch into recordings: the items of a list, the rows of a matrix; anything else is one recording."""
    array = as_array(source)
    if array is not None and array.ndim > 1:
        return [as_samples(row, dtype) for row in array]
    if isinstance(source, (list, tuple)) and source and not isinstance(source[0], (int, float, np.number)):
        return [as_samples(row, dtype) for row in source]
    return [as_samples(source, dtype)]
