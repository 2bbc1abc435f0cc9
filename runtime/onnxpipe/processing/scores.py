"""From logits to scores, in float32, as the pipelines of transformers do it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def softmax(logits: Array) -> Array:
    """Compute the softmax over the last axis in float32; any shape, same shape out."""
    logits = logits.astype(np.float32, copy=False)
    shifted = np.exp(logits - np.maximum.reduce(logits, axis=-1, keepdims=True))
    return np.asarray(shifted / np.add.reduce(shifted, axis=-1, keepdims=True))


def sigmoid(logits: Array) -> Array:
    """Compute the logistic function of each value in float32; far below zero it is 0, without a warning."""
    with np.errstate(over="ignore"):
        return np.asarray(1.0 / (1.0 + np.exp(-logits.astype(np.float32, copy=False))))
