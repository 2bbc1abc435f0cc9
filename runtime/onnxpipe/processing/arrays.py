"""Arrays and tensors from users: one rule for what is an array, and which `return_tensors` there are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.errors import UnsupportedError

Array = NDArray[Any]


def as_array(value: Any) -> Array | None:
    """Convert an array, or a tensor of another library on any device, to NumPy; None for anything else.

    No library of tensors is imported: what offers `__array__` is taken, after `detach` (gradients) and `cpu` (devices)
    where it has them.
    """
    if isinstance(value, np.ndarray):
        return value
    if not hasattr(value, "__array__"):
        return None
    for step in ("detach", "cpu"):
        value = getattr(value, step, lambda kept=value: kept)()
    return np.asarray(value)


def to_array(value: Any) -> Array:
    """Convert an array, a tensor, a number or a (nested) list of numbers to NumPy."""
    array = as_array(value)
    return np.asarray(value) if array is None else array


def check_tensor_type(value: Any) -> None:
    """Raise unless `return_tensors` is None, "np" or an enum of that value.

    Raises:
        UnsupportedError: the tensors of another framework.
        ValueError: no such type.
    """
    name = getattr(value, "value", value)
    if name is None or name == "np":
        return
    if name in ("pt", "tf", "jax", "mlx"):
        raise UnsupportedError(
            f"return_tensors={name!r}: use return_tensors='np'; NumPy arrays are what the models here take"
        )
    raise ValueError(f"{name} is not a valid TensorType, please select one of ['np']")


def check_numbers(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Return an output of a graph as it is, unless it has NaN; infinities may be masked positions.

    Raises:
        ValueError: it has.
    """
    if array.dtype.kind == "f" and array.size and (least := np.minimum.reduce(array, axis=None)) != least:
        raise ValueError(
            f"the model's output {name!r} is not a number (NaN) for this input: the graph overflows or is damaged; "
            'try dtype="fp32", or export the model again'
        )
    return array
