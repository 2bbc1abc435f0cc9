"""Read the arrays of a model and the target sizes, as every kind of post-processing needs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
#: The outputs of a model: arrays by name, each with the batch as its first axis.
Outputs = Mapping[str, Any]
#: (height, width)
Size = tuple[int, int]

_WRONG_COUNT = "Make sure that you pass in as many target sizes as the batch dimension of the {what}"


def field(outputs: Outputs, name: str) -> Array:
    """Get an array from the outputs of a model.

    Raises:
        ValueError: the model has no output of that name.
    """
    if name not in outputs:
        raise ValueError(f"the model's outputs have no {name!r}; they have {', '.join(map(str, outputs))}")
    return np.asarray(outputs[name])


def sizes(target_sizes: Any, count: int, what: str = "logits") -> list[Size] | None:
    """Convert target sizes to (height, width) pairs.

    Args:
        target_sizes: pairs of numbers or an array (count, 2); None for no resizing.
        count: images in the batch.
        what: name of the array that has the batch, for the message.

    Raises:
        ValueError: another number of sizes, or a size that is not a pair.
    """
    if target_sizes is None:
        return None
    pairs = [tuple(int(side) for side in size) for size in target_sizes]
    if len(pairs) != count:
        raise ValueError(_WRONG_COUNT.format(what=what))
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("Each element of target_sizes must contain the size (h, w) of each image of the batch")
    return [(height, width) for height, width in pairs]


def each_size(target_sizes: Any, count: int, what: str = "logits") -> list[Size | None]:
    """Call `sizes`, but return a None for each image if there are no target sizes."""
    pairs = sizes(target_sizes, count, what)
    return [None] * count if pairs is None else list(pairs)


def largest(values: Array, count: int) -> NDArray[np.intp]:
    """Return the indices of the `count` largest values (n,), descending; equal values keep their order."""
    indices = np.arange(len(values))
    if count < len(values):
        indices = np.sort(np.argpartition(-values, count - 1)[:count])
    return indices[np.argsort(-values[indices], kind="stable")]
