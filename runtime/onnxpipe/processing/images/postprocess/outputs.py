"""What every kind of post-processing does first: read a model's arrays and the sizes asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
#: A model's answer: arrays by name, each with the batch as its first axis.
Outputs = Mapping[str, Any]
#: (height, width)
Size = tuple[int, int]

_UNLIKE = "Make sure that you pass in as many target sizes as the batch dimension of the {what}"


def field(outputs: Outputs, name: str) -> Array:
    """An array of a model's answer.

    Raises:
        ValueError: the model did not give it.
    """
    if name not in outputs:
        raise ValueError(f"the model's outputs have no {name!r}; they have {', '.join(map(str, outputs))}")
    return np.asarray(outputs[name])


def sizes(target_sizes: Any, count: int, what: str = "logits") -> list[Size] | None:
    """Target sizes as (height, width) pairs.

    Args:
        target_sizes: pairs of numbers or an array (count, 2); None for no resizing.
        count: images in the batch.
        what: the array whose batch is meant, for the message.

    Raises:
        ValueError: another number of sizes, or something that is no pair.
    """
    if target_sizes is None:
        return None
    pairs = [tuple(int(side) for side in size) for size in target_sizes]
    if len(pairs) != count:
        raise ValueError(_UNLIKE.format(what=what))
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("Each element of target_sizes must contain the size (h, w) of each image of the batch")
    return [(height, width) for height, width in pairs]


def each_size(target_sizes: Any, count: int, what: str = "logits") -> list[Size | None]:
    """`sizes`, with None for each image where there are none."""
    found = sizes(target_sizes, count, what)
    return [None] * count if found is None else list(found)


def largest(values: Array, count: int) -> NDArray[np.intp]:
    """Indices of the `count` largest of values (n,), descending; of equal ones the first comes first."""
    chosen = np.arange(len(values))
    if count < len(values):
        chosen = np.sort(np.argpartition(-values, count - 1)[:count])
    return chosen[np.argsort(-values[chosen], kind="stable")]
