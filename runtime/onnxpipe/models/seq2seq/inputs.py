"""The inputs of encoders, checked: tokens and masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.processing.arrays import to_array

Array = NDArray[Any]


def text_inputs(inputs: Mapping[str, Any]) -> tuple[Array, Array]:
    """Take the texts of a call: `input_ids` and `attention_mask`, int64 (batch, sequence) each; see `full_mask`.

    Raises:
        ValueError: there are no ids, or one of the two has a wrong shape.
    """
    if inputs.get("input_ids") is None:
        raise ValueError("input_ids must be given: int, shape (batch, sequence)")
    ids = np.asarray(to_array(inputs["input_ids"]), np.int64)
    if ids.ndim != 2:
        raise ValueError(f"input_ids has the shape {ids.shape}; the model takes (batch, sequence)")
    return ids, full_mask(ids.shape, inputs.get("attention_mask"))


def full_mask(shape: tuple[int, ...], attention_mask: Any) -> Array:
    """Take the mask of a call, int64 of `shape`: 1 except for padding; all ones if it is None.

    Raises:
        ValueError: it has another shape.
    """
    mask = np.ones(shape, np.int64) if attention_mask is None else np.asarray(to_array(attention_mask), np.int64)
    if mask.shape != shape:
        raise ValueError(f"attention_mask has the shape {mask.shape}; the input has {shape}")
    return mask
