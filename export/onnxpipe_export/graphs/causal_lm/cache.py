"""What a causal model keeps from step to step, so that it can be a graph's inputs and outputs.

Keys and values grow by concatenation and forget nothing. Other layers keep states that do not grow: the last inputs of
a convolution ("conv"), and what a recurrence has summed up ("ssm" of Mamba, "recurrent" of the gated delta rule).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from onnxpipe.errors import ExportError
from onnxpipe_export import refusals, tracing

try:
    from transformers.cache_utils import LinearAttentionLayer
except ImportError:  # in older versions models with states made caches of their own

    class LinearAttentionLayer:  # type: ignore[no-redef]
        """Stands for the layers with states, of which these versions have none."""


Pair = tuple[Any, Any]
"""Keys and values of a layer, tensors (batch, heads, length, head_dim)."""

_LENGTH = 1
"""The axis of a row along which keys and values grow."""


@dataclass(frozen=True)
class Kept:
    """An array that a model keeps of each row.

    Attributes:
        layer: the number of its layer.
        kind: "key", "value", "conv", "ssm" or "recurrent".
        shape: of a row; keys and values have 0 for their length.
    """

    layer: int
    kind: str
    shape: tuple[int, ...]

    @property
    def grows(self) -> bool:
        """Whether it has an entry a token; a state has none."""
        return self.kind in ("key", "value")

    @property
    def past(self) -> str:
        """Its name as an input."""
        return f"past_key_values.{self.layer}.{self.kind}" if self.grows else f"past_{self.kind}.{self.layer}"

    @property
    def present(self) -> str:
        """Its name as an output."""
        return f"present.{self.layer}.{self.kind}" if self.grows else f"present_{self.kind}.{self.layer}"

    def sized(self, rows: int, length: int) -> tuple[int, ...]:
        """Return the shape of the array of `rows` rows of `length` tokens."""
        return (rows, self.shape[0], length, *self.shape[2:]) if self.grows else (rows, *self.shape)


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


class StateLayer(LinearAttentionLayer):  # type: ignore[misc]
    """A layer with states, which are replaced by new ones instead of written to. A row begins with zeros."""

    def __init__(self, states: Mapping[str, Any]) -> None:
        super().__init__()
        self.conv_states[0] = states.get("conv")
        self.recurrent_states[0] = _summed(states)
        self.has_previous_state[0] = True

    def update_conv_state(self, conv_states: Any, state_idx: int = 0, **others: Any) -> Any:
        """Append the new inputs of the convolution, keep the last, and return all."""
        before = self.conv_states[0]
        every = torch.cat([before, conv_states], dim=-1)
        self.conv_states[0] = every[..., -before.shape[-1] :]
        return every

    def update_recurrent_state(self, recurrent_states: Any, state_idx: int = 0, **others: Any) -> Any:
        """Keep the new state."""
        self.recurrent_states[0] = recurrent_states
        return recurrent_states


class MixedLayer(StateLayer, GrowingLayer):
    """A layer with states, and keys and values beside them."""

    def __init__(self, states: Mapping[str, Any]) -> None:
        GrowingLayer.__init__(self, (states["key"], states["value"]))
        StateLayer.__init__(self, states)
        self.dtype, self.device = self.keys.dtype, self.keys.device


class KeptCache(Cache):  # type: ignore[misc]
    """A cache that notes the state of a recurrence that was read last."""

    read: Any = None

    def get_recurrent_state(self, layer_idx: int, state_idx: int = 0) -> Any:
        """Return the state, and note it."""
        self.read = super().get_recurrent_state(layer_idx, state_idx)
        return self.read


def growing_cache(past: Sequence[Pair]) -> Any:
    """Make a cache of the layers' keys and values so far, whose lengths may be 0."""
    return Cache(layers=[GrowingLayer(pair) for pair in past])


def pairs(cache: Any) -> list[Pair]:
    """Return the keys and values of every layer of a cache."""
    return [(layer.keys, layer.values) for layer in cache.layers]


def kept_cache(kept: Sequence[Kept], past: Sequence[Any]) -> Any:
    """Make a cache of what the model kept so far; keys and values may have a length of 0."""
    layers = []
    for states in _by_layer(kept, past).values():
        if set(states) == {"key", "value"}:
            layers.append(GrowingLayer((states["key"], states["value"])))
        else:
            layers.append(MixedLayer(states) if "key" in states else StateLayer(states))
    return KeptCache(layers=layers)


def original_cache(model: Any, kept: Sequence[Kept], past: Sequence[Any]) -> Any:
    """Make a cache for the original, which drops no tokens, with what it kept so far; empty where `past` is."""
    if all(one.grows for one in kept):
        cache = DynamicCache()  # made without a config, it drops no tokens
    else:
        made = DynamicCache(config=model.config).layers
        cache = Cache(layers=[one if isinstance(one, LinearAttentionLayer) else DynamicLayer() for one in made])
    for layer, states in _by_layer(kept, past).items() if past else ():
        if "key" in states:
            cache.update(states["key"], states["value"], layer)
        if "conv" in states:
            cache.update_conv_state(states["conv"], layer)
        if _summed(states) is not None:
            cache.update_recurrent_state(_summed(states), layer)
    return cache


def tensors(kept: Sequence[Kept], cache: Any) -> list[Any]:
    """Return what a cache holds, in the order of `kept`."""
    return [_state(cache.layers[one.layer], one.kind) for one in kept]


def find_kept(model: Any) -> tuple[Kept, ...]:
    """Find what the model keeps, by running it on three tokens.

    Raises:
        ExportError: it keeps nothing, or something of another kind.
    """
    cache = DynamicCache(config=model.config)
    if not any(isinstance(layer, LinearAttentionLayer) for layer in cache.layers):
        cache = DynamicCache()
    names = inspect.signature(model.forward).parameters
    if cache_argument(model) not in names and "kwargs" not in names:
        raise _keeps_nothing(model)
    with refusals.first_run(model), torch.inference_mode(), tracing.quiet():
        model(input_ids=torch.ones(1, 3, dtype=torch.int64), use_cache=True, **{cache_argument(model): cache})
        kept = tuple(one for layer in range(len(cache.layers)) for one in _kept_of(model, cache.layers[layer], layer))
    if not kept or any(one.grows and len(one.shape) != 3 for one in kept):
        raise _keeps_nothing(model)
    return kept


def cache_argument(model: Any) -> str:
    """Name the argument of the model's forward that takes the cache: Mamba's is another one."""
    return "cache_params" if "cache_params" in inspect.signature(model.forward).parameters else "past_key_values"


def _keeps_nothing(model: Any) -> ExportError:
    return ExportError(
        f"{type(model).__name__} keeps nothing that a graph can take and give from step to step (keys and values, "
        f"states of one size), so every token would cost a run over all before it. {refusals.ELSE}"
    )


def _kept_of(model: Any, layer: Any, number: int) -> Iterator[Kept]:
    for kind in ("key", "value", "conv", _summing(model)):
        state = _state(layer, kind)
        if state is not None:
            shape = list(state.shape[1:])
            if kind in ("key", "value") and len(shape) == 3:
                shape[_LENGTH] = 0
            yield Kept(number, kind, tuple(shape))


def _summing(model: Any) -> str:
    """Name the states of the model's recurrence as folders on the Hub do."""
    home = sys.modules[type(model).__module__]
    return "recurrent" if hasattr(home, "torch_chunk_gated_delta_rule") else "ssm"


def _state(layer: Any, kind: str) -> Any:
    if kind in ("key", "value"):
        return getattr(layer, f"{kind}s", None)
    states = getattr(layer, "conv_states" if kind == "conv" else "recurrent_states", {})
    return states.get(0)


def _summed(states: Mapping[str, Any]) -> Any:
    return states.get("ssm", states.get("recurrent"))


def _by_layer(kept: Sequence[Kept], past: Sequence[Any]) -> dict[int, dict[str, Any]]:
    layers: dict[int, dict[str, Any]] = {}
    for one, value in zip(kept, past, strict=False):
        layers.setdefault(one.layer, {})[one.kind] = value
    return layers
