"""Trace attention as ONNX Runtime's GroupQueryAttention: one node a layer for positions, mask, cache and products.

While a model is traced inside `GqaRun`, its own attention, masks, cache and rotary positions are replaced:

- the cache returns the new keys and values only, as the node itself appends them to the past;
- a mask is a placeholder that carries its window, found by probing the model's own mask function; a mask other than
  causal or a sliding window is refused;
- cosines and sines are placeholders that name a table, and the rotation is left to the node.

Padding is at the right: row b has sum(attention_mask[b]) tokens, its own and no more. Source: the operator's page in
ONNX Runtime's ContribOperators.md.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, DynamicLayer

from onnxpipe.errors import ExportError
from onnxpipe_export import tracing
from onnxpipe_export.graphs.causal_lm.cache import Pair
from onnxpipe_export.graphs.causal_lm.rotary import Rotary, RotaryModule

NAME = "onnxpipe_gqa"
"""The name under which this attention is registered in transformers while it is in use."""

# Keyword arguments of attention functions that may be ignored: they repeat the mask, or are for training.
_HARMLESS = frozenset({"dropout", "is_causal", "sliding_window", "output_attentions", "use_cache", "position_ids",
                       "output_hidden_states", "return_dict", "logits_to_keep", "output_router_logits",
                       "position_embeddings", "past_key_values", "cache_position"})  # fmt: skip


class UnsupportedAttentionError(ExportError):
    """GroupQueryAttention does not compute the model's attention.

    Args:
        reason: why, as a sentence about the model.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"attention='gqa' does not fit this model: {reason}; use attention='standard'")


@dataclass
class GqaRun:
    """One traced run of a model whose attention becomes GroupQueryAttention nodes.

    Attributes:
        past: keys and values of each layer so far.
        lengths: tokens of each row, past and new, less one; int32 (batch,).
        total: positions in all, int32 ().
        rotary: the model's rotation, None to leave it to the model.
        positions: rows of the tables of sines.
        present: filled by the run: keys and values of each layer, with the new ones.
    """

    past: Sequence[Pair]
    lengths: Any
    total: Any
    rotary: Rotary | None
    positions: int
    present: dict[int, Pair] = field(default_factory=dict)
    _tables: dict[tuple[str, str | None], Pair] = field(default_factory=dict)
    _turned: Pair | None = None

    def cache(self) -> Any:
        """Make the cache that the model gets instead of its own."""
        return Cache(layers=[_Passing(pair) for pair in self.past])

    @contextlib.contextmanager
    def inside(self, model: Any) -> Iterator[None]:
        """Let `model` attend through GroupQueryAttention nodes inside."""
        AttentionInterface.register(NAME, self._attend)
        AttentionMaskInterface.register(NAME, _mask)
        before = model.config._attn_implementation
        try:
            with contextlib.ExitStack() as patches:
                model.set_attn_implementation(NAME)
                patches.callback(model.set_attn_implementation, before)
                if self.rotary is not None:
                    patches.enter_context(tracing.replaced(self.rotary.home, "apply_rotary_pos_emb", self._turn))
                    for module in self.rotary.modules:
                        patches.enter_context(tracing.replaced(module.module, "forward", self._angles_of(module)))
                yield
        finally:
            AttentionInterface._global_mapping.pop(NAME, None)
            AttentionMaskInterface._global_mapping.pop(NAME, None)

    def _angles_of(self, module: RotaryModule) -> Any:
        def forward(x: Any, position_ids: Any, layer_type: str | None = None) -> Pair:
            key = (module.name, layer_type)
            if key not in self._tables:
                assert self.rotary is not None
                self._tables[key] = self.rotary.table(module, layer_type, self.positions)
            cos, sin = torch.zeros(()), torch.zeros(())
            cos.onnxpipe_table = key
            return cos, sin

        # The table is computed by the module's own forward, before it is replaced.
        for kind in module.kinds:
            assert self.rotary is not None
            self._tables[module.name, kind] = self.rotary.table(module, kind, self.positions)
        return forward

    def _turn(self, query: Any, key: Any, cos: Any, sin: Any, *rest: Any, **named: Any) -> Pair:
        """Note the table; the node does the rotation."""
        table = getattr(cos, "onnxpipe_table", None)
        if table is None:
            raise UnsupportedAttentionError("its cosines are changed on their way to the attention")
        self._turned = self._tables[table]
        return query, key

    def _attend(
        self, module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float | None = None,
        softcap: float | None = None, **others: Any,
    ) -> tuple[Any, None]:  # fmt: skip
        """Attend with queries, keys and values (batch, heads, new, head_dim), to (batch, new, heads, head_dim)."""
        for name, argument in others.items():
            if argument is not None and name not in _HARMLESS:
                raise UnsupportedAttentionError(f"its attention takes {name}")
        if not hasattr(attention_mask, "onnxpipe_window"):
            raise UnsupportedAttentionError("its mask is changed on its way to the attention, or there is none")
        if value.shape[-1] != query.shape[-1]:
            raise UnsupportedAttentionError("its values are of another size than its keys")
        heads, key_heads, width = int(query.shape[1]), int(key.shape[1]), int(query.shape[-1])
        tables = () if self._turned is None else self._turned
        self._turned = None
        output, *present = _Node.apply(
            _flat(query), _flat(key), _flat(value), *self.past[module.layer_idx], self.lengths, self.total, tables,
            {
                "num_heads_i": heads,
                "kv_num_heads_i": key_heads,
                "scale_f": float(width**-0.5 if scaling is None else scaling),
                "softcap_f": float(softcap or 0.0),
                "local_window_size_i": attention_mask.onnxpipe_window,
                "do_rotary_i": int(bool(tables)),
                "rotary_interleaved_i": int(bool(tables) and self.rotary is not None and self.rotary.interleaved),
            },
        )  # fmt: skip
        self.present[module.layer_idx] = (present[0], present[1])
        return output.reshape(*output.shape[:2], heads, width), None


def attend(query: Any, key: Any, value: Any, past: Pair, lengths: Any, total: Any, scale: float) -> tuple[Any, Pair]:
    """Compute attention with a node, for a model that does not use AttentionInterface: causal, without rotation.

    Args:
        query, key, value: of the new tokens, (batch, heads, new, head_dim).
        past: keys and values so far.
        lengths: tokens of each row, past and new, less one; int32 (batch,).
        total: positions in all, int32 ().
        scale: of the products.

    Returns:
        (batch, new, heads * head_dim), and keys and values with the new ones.
    """
    attributes = {"num_heads_i": int(query.shape[1]), "kv_num_heads_i": int(key.shape[1]), "scale_f": float(scale)}
    output, *present = _Node.apply(_flat(query), _flat(key), _flat(value), *past, lengths, total, (), attributes)
    return output, (present[0], present[1])


class _Passing(DynamicLayer):  # type: ignore[misc]
    """A layer of a cache that returns the new keys and values only."""

    def __init__(self, past: Pair) -> None:
        super().__init__()
        self.keys, self.values = past
        self.is_initialized = True

    def update(self, key_states: Any, value_states: Any, *rest: Any, **named: Any) -> Pair:
        return key_states, value_states

    def get_seq_length(self) -> Any:
        return self.keys.shape[-2]


class _Node(torch.autograd.Function):  # type: ignore[misc]
    """GroupQueryAttention in the graph; while tracing, zeros of the right shapes."""

    @staticmethod
    def symbolic(g: Any, query: Any, key: Any, value: Any, past_key: Any, past_value: Any, lengths: Any, total: Any,
                 tables: Any, attributes: dict[str, Any]) -> Any:  # fmt: skip
        constants = [g.op("Constant", value_t=table) for table in tables]
        inputs = (query, key, value, past_key, past_value, lengths, total, *constants)
        outputs = g.op("com.microsoft::GroupQueryAttention", *inputs, outputs=3, **attributes)
        heads, width = (past_key.type().varyingSizes()[axis] for axis in (1, 3))
        outputs[0].setType(query.type().with_sizes([None, None, attributes["num_heads_i"] * width]))
        for output in outputs[1:]:
            output.setType(past_key.type().with_sizes([None, heads, None, width]))
        return outputs

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, past_key: Any, past_value: Any, lengths: Any, total: Any,
                tables: Any, attributes: dict[str, Any]) -> Any:  # fmt: skip
        batch, new, _ = key.shape
        heads, width = past_key.shape[1], past_key.shape[3]
        grown = query.new_zeros(batch, heads, past_key.shape[2] + new, width)
        return query.new_zeros(query.shape), grown, grown.clone()


def _flat(heads: Any) -> Any:
    """Reshape (batch, heads, length, head_dim) to (batch, length, heads * head_dim)."""
    batch, count, length, width = heads.shape
    return heads.transpose(1, 2).reshape(batch, length, count * width)


def _mask(mask_function: Any, local_size: int | None = None, **others: Any) -> Any:
    """Return a placeholder for transformers' mask that carries its window, -1 where every earlier token is allowed.

    Raises:
        UnsupportedAttentionError: the mask is neither causal nor a sliding window.
    """
    window = -1 if local_size is None else int(local_size)
    for last in _probed_rows(window):
        allowed = [bool(_allows(mask_function, last, key)) for key in range(last + 4)]
        first = 0 if window < 0 else max(0, last - window + 1)
        if allowed != [first <= key <= last for key in range(last + 4)]:
            raise UnsupportedAttentionError("its mask is neither causal nor a sliding window")
    token = torch.zeros(())
    token.onnxpipe_window = window
    return token


def _probed_rows(window: int) -> Sequence[int]:
    """Choose queries whose masks show the pattern: around the window's edge, and well beyond, where chunks differ."""
    if window < 0 or window > 512:
        return (0, 1, 7, 40)
    return (0, window - 1, window, 2 * window, 2 * window + window // 2)


def _allows(mask_function: Any, query: int, key: int) -> Any:
    zero = torch.tensor(0)
    return mask_function(zero, zero, torch.tensor(query), torch.tensor(key))
