"""Compute torch's MultiheadAttention by plain products while tracing: its own forward makes lengths constants."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

from onnxpipe_export.graphs.wrapped import replaced_in


@contextlib.contextmanager
def plain_attention(model: Any) -> Iterator[None]:
    """Let every `torch.nn.MultiheadAttention` of `model` compute by `attend` inside."""
    import torch

    modules = [module for module in model.modules() if isinstance(module, torch.nn.MultiheadAttention)]
    with replaced_in(*((module, "forward", partial(attend, module)) for module in modules)):
        yield


def attend(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    key_padding_mask: Any = None,
    need_weights: bool = True,
    attn_mask: Any = None,
) -> tuple[Any, None]:
    """Compute the forward of `module`, for queries and keys of one width and torch's default biases.

    Args:
        module: a torch.nn.MultiheadAttention.
        query, key, value: (batch, length, width) where `batch_first`, else (length, batch, width).
        key_padding_mask: bool (batch, keys), True where a key is hidden.
        need_weights: accepted as torch's callers pass it; weights are not returned.
        attn_mask: (queries, keys) or (batch * heads, queries, keys): added, or if it is bool, True hides.
    """
    import torch

    if not module.batch_first:
        query, key, value = query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1)
    width, heads = module.embed_dim, module.num_heads
    weights = module.in_proj_weight.split(width)
    biases = (None,) * 3 if module.in_proj_bias is None else module.in_proj_bias.split(width)
    projected = (
        torch.nn.functional.linear(tensor, weight, bias)
        for tensor, weight, bias in zip((query, key, value), weights, biases, strict=True)
    )
    # (batch, heads, length, width of a head)
    queries, keys, values = (one.unflatten(-1, (heads, width // heads)).transpose(1, 2) for one in projected)
    scores = queries @ keys.transpose(2, 3) * (width // heads) ** -0.5
    if attn_mask is not None:
        mask = attn_mask if attn_mask.dim() == 2 else attn_mask.reshape(-1, heads, *attn_mask.shape[1:])
        scores = scores.masked_fill(mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    if key_padding_mask is not None:
        scores = scores.masked_fill(key_padding_mask[:, None, None, :], float("-inf"))
    mixed = (scores.softmax(-1) @ values).transpose(1, 2).flatten(2)
    answer = torch.nn.functional.linear(mixed, module.out_proj.weight, module.out_proj.bias)
    return (answer if module.batch_first else answer.transpose(0, 1)), None
