"""Arrays that all modalities share: what may be asked for as `return_tensors`."""

from __future__ import annotations

from typing import Any

from onnxpipe.errors import UnsupportedError


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
