"""Find the number and the size of the heads of a cached array."""

from __future__ import annotations

from typing import Any

from onnxpipe.bundle import Config
from onnxpipe.engine import Session
from onnxpipe.errors import UnsupportedError


def cache_shape(session: Session, name: str, config: Config) -> tuple[int, int]:
    """Number and size of the heads of the input `name`, (rows, heads, length, size): the graph's, else the config's.

    Raises:
        UnsupportedError: it does not have four axes, or neither graph nor config has the numbers.
    """
    spec = session.inputs[name]
    if len(spec.shape) != 4:
        raise UnsupportedError(
            f"{session.path}: {name!r} has {len(spec.shape)} axes instead of 4; export the model again"
        )
    heads, size = spec.shape[1], spec.shape[3]
    attention = _first(config, "decoder_attention_heads", "num_attention_heads", "num_heads", "n_head")
    if not isinstance(heads, int):
        heads = config.get("num_key_value_heads") or attention
    if not isinstance(size, int):
        width = _first(config, "hidden_size", "d_model", "n_embd")
        size = _first(config, "head_dim", "d_kv") or (width // attention if width and attention else None)
    if not isinstance(heads, int) or not isinstance(size, int):
        raise UnsupportedError(
            f"{session.path}: neither the graph nor config.json has the number and size of the heads of {name!r}"
        )
    return heads, size


def _first(config: Config, *names: str) -> Any:
    """The config's value for the first of several names that it has."""
    return next((value for name in names if (value := config.get(name))), None)
