"""A cache that grows by concatenation and forgets nothing, so that its tensors can be a graph's inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers.cache_utils import Cache, DynamicLayer

Pair = tuple[Any, Any]
"""Keys and values of a layer, tensors (batch, heads, length, head_dim)."""


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """One layer that goes on from given keys and values.

    transformers' own asks whether it is empty, which tracing would answer once for all, and cuts sliding windows, which
    moves the positions of a row's padding.
    """

    def __init__(self, past: Pair) -> None:
        super().__init__()
        self.keys, self.values = past
        self.dtype, self.device = self.keys.dtype, self.keys.device
        self.is_initialized = True

    def get_seq_length(self) -> Any:
        """Tokens so far."""
        return self.keys.shape[-2]


def growing_cache(past: Sequence[Pair]) -> Any:
    """A cache of the layers' keys and values so far, whose lengths may be 0."""
    return Cache(layers=[GrowingLayer(pair) for pair in past])


def pairs(cache: Any) -> list[Pair]:
    """Keys and values of every layer of a cache."""
    return [(layer.keys, layer.values) for layer in cache.layers]
