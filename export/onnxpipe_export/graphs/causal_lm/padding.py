"""Padding at the left of a prompt, for GroupQueryAttention, which wants each row's tokens first and its padding behind.

onnxpipe pads that way; transformers, optimum and transformers.js pad at the left. The graph moves the tokens of such a
prompt to the front and its states back, so it is right for both. Its caches have the tokens in front, and the node
finds the place of the next one by counting the mask, which says the same wherever the padding is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

_BEYOND = 1 << 40
"""An index that no tensor has."""


@dataclass(frozen=True)
class Places:
    """Where the tokens of a batch are.

    Attributes:
        shift: int64 (batch, 1): the padding before the new tokens of each row.
        forward: int64 (batch, new): which of a row's new tokens comes at each place once the padding is behind.
        counts: int64 (batch,): tokens of each row, past and new.
    """

    shift: Any
    forward: Any
    counts: Any


class NoPaddingBetweenTokens(torch.nn.Module):  # type: ignore[misc]
    """Takes values at the places of tokens.

    It fails where a row has padding between its tokens, which the node cannot skip. ONNX Runtime's message names the
    failing node, and that has the name of this module in its own.
    """

    def forward(self, values: Any, index: Any) -> Any:
        """Take the values (batch, new, ...) at the places (batch, new)."""
        return at(values, index)


def find(mask: Any, new: Any) -> Places:
    """Find the tokens of a batch by its mask, int64 (batch, past + new), of which `new` int64 () are new."""
    total = torch._shape_as_tensor(mask)[1]
    counts = mask.sum(dim=1)
    first = mask.argmax(dim=1, keepdim=True)
    last = (mask * torch.arange(total)).argmax(dim=1, keepdim=True)
    between = last - first + 1 - counts[:, None]
    shift = (first - (total - new)).clamp(min=0)
    forward = torch.minimum(torch.arange(new) + shift, new - 1) + between * _BEYOND
    return Places(shift, forward, counts)


def at(values: Any, index: Any) -> Any:
    """Take values (batch, length, ...) at a row's places, int64 (batch, taken): (batch, taken, ...)."""
    if values.dim() == 2:
        return values.gather(1, index)
    batch, length = values.shape[:2]
    starts = torch.arange(batch)[:, None] * length
    flat = values.flatten(0, 1)
    if values.dim() == 3:
        return torch.nn.functional.embedding(index + starts, flat)
    return torch.nn.functional.embedding(index + starts, flat.flatten(1)).unflatten(2, values.shape[2:])
