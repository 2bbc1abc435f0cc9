"""The modules that are traced for Bark's transformers, and the originals with the same arguments: flat tensors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import DynamicCache

from onnxpipe_export import tracing
from onnxpipe_export.graphs.causal_lm import gqa
from onnxpipe_export.graphs.causal_lm.cache import Pair, growing_cache, pairs

_PAIR = 8
"""GroupQueryAttention needs a head size that is a multiple of this."""


class CausalStageModule(torch.nn.Module):  # type: ignore[misc]
    """A causal stage from (input_ids, attention_mask or None, position_ids, num_logits_to_keep, history_ids or None,
    key 0, value 0, ...) to (logits, key 0, value 0, ...); see `onnxpipe_export.graphs.text_to_audio.bark`.

    Args:
        model: a BarkCausalModel.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    @property
    def grouped(self) -> bool:
        """Whether GroupQueryAttention can replace its attention."""
        return int(self.model.layers[0].attn.head_dim) % _PAIR == 0

    def forward(self, ids: Any, mask: Any, positions: Any, keep: Any, history: Any, *past: Any) -> tuple[Any, ...]:
        """Run the stage; see the class."""
        layers = list(zip(past[::2], past[1::2], strict=True))
        states = embed(self.model, ids, history) + self.model.position_embeds_layer(positions)
        if self.grouped:
            run = _GqaRun(layers, mask)
            with run.inside(self.model):
                states = self._blocks(states, None)
            present: Sequence[Pair] = [run.present[number] for number in range(len(layers))]
        else:
            cache = growing_cache(layers)
            states = self._blocks(states, cache)
            present = pairs(cache)
        length = torch._shape_as_tensor(ids)[1]
        keep = keep.reshape(())  # a bound scalar comes as an array of one
        first = torch.where(keep == 0, torch.zeros_like(length), length - keep)
        logits = self.model.lm_head(self.model.layernorm_final(states[:, first:]))
        return (logits, *(tensor for pair in present for tensor in pair))

    def _blocks(self, states: Any, cache: Any) -> Any:
        for block in self.model.layers:
            states = block(states, past_key_values=cache)[0]
        return states


def embed(model: Any, ids: Any, history: Any = None) -> Any:
    """Embed `ids` (rows, length, width), adding the embeddings of `history` where that is not negative."""
    states = model.input_embeds_layer(ids)
    if history is None:
        return states
    known = (history >= 0).to(states.dtype)
    return states + model.input_embeds_layer(history.clamp(min=0)) * known[:, :, None]


class _GqaRun:
    """One traced run whose attention becomes GroupQueryAttention nodes.

    Args:
        past: keys and values of each layer so far.
        mask: int64 (rows, past and new): 1 for tokens.
    """

    def __init__(self, past: Sequence[Pair], mask: Any) -> None:
        self._past = past
        self._lengths = (mask.sum(dim=1) - 1).to(torch.int32)
        self._total = torch._shape_as_tensor(mask)[1].to(torch.int32)
        self.present: dict[int, Pair] = {}

    @contextlib.contextmanager
    def inside(self, model: Any) -> Iterator[None]:
        """Let `model` attend through GroupQueryAttention nodes inside."""
        with contextlib.ExitStack() as stack:
            for block in model.layers:
                stack.enter_context(tracing.replaced(block.attn, "forward", self._forward(block.attn)))
            yield

    def _forward(self, attention: Any) -> Any:
        def forward(states: Any, **others: Any) -> tuple[Any, None]:
            parts = attention.att_proj(states).split(attention.embed_dim, dim=2)
            query, key, value = (
                attention._split_heads(part, attention.num_heads, attention.head_dim) for part in parts
            )
            number = attention.layer_idx
            mixed, self.present[number] = gqa.attend(
                query, key, value, self._past[number], self._lengths, self._total, attention.head_dim**-0.5
            )
            return attention.out_proj(mixed), None

        return forward


def run_causal(model: Any, keep: int, ids: Any, history: Any, past: Sequence[Any]) -> tuple[Any, ...]:
    """Compute the original's last `keep` logits (0 for all) and its caches, for rows without padding."""
    cache = DynamicCache()  # made without a config, it drops no tokens
    for layer in range(len(past) // 2):
        if past[2 * layer].shape[2]:
            cache.update(past[2 * layer], past[2 * layer + 1], layer)
    embeds = embed(model, ids, history)
    answer = model(inputs_embeds=embeds, past_key_values=cache, use_cache=True, return_dict=True)
    return (answer.logits[:, -keep:], *(tensor for pair in pairs(cache) for tensor in pair))


class FineStageModule(torch.nn.Module):  # type: ignore[misc]
    """The fine stage from (codebook_idx, input_ids) to (logits,): a codebook's logits from its codes and those before.

    Args:
        model: a BarkFineModel.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        tables = [table.weight for table in model.input_embeds_layers]
        self.rows = len(tables[0])
        self.register_buffer("table", torch.cat(tables).detach())
        self.register_buffer("heads", torch.stack([head.weight.T for head in model.lm_heads]).detach())

    def forward(self, codebook: Any, ids: Any) -> tuple[Any, ...]:
        """Run the stage; see the class."""
        count = len(self.model.input_embeds_layers)
        numbers = torch.arange(count)
        states = torch.nn.functional.embedding(ids + numbers * self.rows, self.table)
        known = (numbers <= codebook).to(states.dtype)
        states = (states * known[:, None]).sum(dim=2)
        states = states + self.model.position_embeds_layer.weight[: ids.shape[1]]
        for block in self.model.layers:
            states = block(states)[0]
        states = self.model.layernorm_final(states)
        return (torch.matmul(states, self.heads[codebook - self.model.config.n_codes_given]),)
