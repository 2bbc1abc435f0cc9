"""From logits to scores, in float32, as the pipelines of transformers do it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def softmax(logits: Array) -> Array:
    """Softmax over the last axis; any shape, same shape out."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def sigmoid(logits: Array) -> Array:
    """Logistic function, elementwise."""
    return np.asarray(1.0 / (1.0 + np.exp(-logits)))
