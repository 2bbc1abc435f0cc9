"""A cache that grows by concatenation and forgets nothing, so that its tensors can be a graph's inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers.cache_utils import Cache, DynamicLayer

Pair = tuple[Any, Any]
"""Keys and values of a layer, tensors (batch, heads, length, head_dim)."""


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """A layer that appends to past keys and values.

    transformers' own layer tests whether it is empty, which tracing would turn into a constant, and cuts sliding
    windows, which moves the positions of a row's padding.
    """

    def __init__(self, past: Pair) -> None:
        super().__init__()
        self.keys, self.values = past
        self.dtype, self.device = self.keys.dtype, self.keys.device
        self.is_initialized = True

    def get_seq_length(self) -> Any:
        """Return the number of tokens so far."""
        return self.keys.shape[-2]


def growing_cache(past: Sequence[Pair]) -> Any:
    """Make a cache of the layers' keys and values so far, whose lengths may be 0."""
    return Cache(layers=[GrowingLayer(pair) for pair in past])


def pairs(cache: Any) -> list[Pair]:
    """Return the keys and values of every layer of a cache."""
    return [(layer.keys, layer.values) for layer in cache.layers]
