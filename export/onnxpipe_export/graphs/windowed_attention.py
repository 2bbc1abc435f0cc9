"""Trace Longformer's attention (also of LED's encoder): a window to each side, and tokens that see and are seen by all.

The original cuts the row into blocks by strides of memory, pads it to whole blocks, and counts the tokens that see
everything, all of which depends on the example. Here each token's scores are computed with all others, and those
outside of its window are masked: the same sums, in memory that grows with the square of the length.

Source: Longformer (Beltagy et al. 2020).
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

from onnxpipe_export import tracing


@contextlib.contextmanager
def traceable_windows(model: Any) -> Iterator[None]:
    """Replace the windowed attentions of `model` inside; a model without them stays as it is."""
    with contextlib.ExitStack() as stack:
        for module in model.modules():
            if hasattr(module, "one_sided_attn_window_size") and hasattr(module, "query_global"):
                stack.enter_context(tracing.replaced(module, "forward", _attention(module)))
            elif hasattr(module, "_pad_to_window_size"):
                stack.enter_context(tracing.replaced(module, "_pad_to_window_size", _unpadded(module)))
        yield


def _unpadded(module: Any) -> Any:
    names = [name for name in inspect.signature(module._pad_to_window_size).parameters if name != "pad_token_id"]

    def keep(**inputs: Any) -> tuple[Any, ...]:
        return (0, *(inputs[name] for name in names))

    return keep


def _attention(module: Any) -> Any:
    """Make the forward of an attention: its mask is 0 for a token, negative at padding, positive where it sees all."""
    import torch

    def heads(values: Any) -> Any:
        return values.view(*values.shape[:2], module.num_heads, module.head_dim).transpose(1, 2)

    def mix(query: Any, key: Any, value: Any, allowed: Any) -> Any:
        scores = torch.matmul(query / module.head_dim**0.5, key.transpose(2, 3))
        scores = torch.where(allowed, scores, torch.finfo(scores.dtype).min)
        return torch.matmul(scores.softmax(dim=-1), value).transpose(1, 2).flatten(2)

    def forward(hidden_states: Any, attention_mask: Any, is_global_attn: Any = False, **others: Any) -> tuple[Any]:
        places = torch.arange(hidden_states.shape[1])
        near = (places[:, None] - places[None, :]).abs() <= module.one_sided_attn_window_size
        window = near[None, None] & (attention_mask == 0)[:, None, None, :]
        seen = (attention_mask > 0)[:, None, None, :]
        query, key, value = (heads(layer(hidden_states)) for layer in (module.query, module.key, module.value))
        mixed = mix(query, key, value, window | seen)
        if is_global_attn:  # in every row or in none: the model's head decides
            layers = (module.query_global, module.key_global, module.value_global)
            query, key, value = (heads(layer(hidden_states)) for layer in layers)
            whole = mix(query, key, value, (attention_mask >= 0)[:, None, None, :])
            mixed = torch.where((attention_mask > 0)[:, :, None], whole, mixed)
        return (torch.where((attention_mask < 0)[:, :, None], 0.0, mixed),)

    return forward


def questions_see_all(model: Any, inputs: Any) -> dict[str, Any]:
    """Let a question's tokens see all, those before the first separator: what the original does where there are three
    separators, and refuses elsewhere."""
    import torch

    ids = inputs["input_ids"]
    end = (ids == model.config.sep_token_id).to(torch.int64).argmax(dim=1, keepdim=True)
    return {"global_attention_mask": (torch.arange(ids.shape[1])[None] < end).to(torch.int64)}
