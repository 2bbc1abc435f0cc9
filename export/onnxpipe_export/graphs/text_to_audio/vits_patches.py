"""Replace parts of VITS while it is traced: the same numbers at any length, without branches on data.

Sources: relative positions as in Shaw et al. 2018 (arXiv:1803.02155), splines as in Durkan et al. 2019
(arXiv:1906.04032), as transformers 5.23 has them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from types import MethodType
from typing import Any

import torch
from torch.nn import functional
from transformers.models.vits import modeling_vits

from onnxpipe_export import tracing


@contextlib.contextmanager
def traceable(model: Any) -> Iterator[None]:
    """Replace the model's attention and splines by those of this module inside."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(tracing.replaced(modeling_vits, "_unconstrained_rational_quadratic_spline", spline))
        for module in model.modules():
            if isinstance(module, modeling_vits.VitsAttention):
                stack.enter_context(tracing.replaced(module, "forward", MethodType(attend, module)))
        yield


def attend(self: Any, hidden_states: Any, **_: Any) -> tuple[Any, None]:
    """Compute self attention of (batch, length, width), with embeddings of the distances up to the window's size."""
    batch, length = hidden_states.shape[:2]
    query, key, value = (
        product(hidden_states).view(batch, length, self.num_heads, self.head_dim).transpose(1, 2)
        for product in (self.q_proj, self.k_proj, self.v_proj)
    )
    query = query * self.scaling
    scores = torch.matmul(query, key.transpose(2, 3))
    if not self.window_size:
        weights = functional.softmax(scores, dim=-1)
        return _joined(self, torch.matmul(weights, value)), None
    window = self.window_size
    places = torch.arange(length)
    distance = places[None, :] - places[:, None]
    near = (distance.abs() <= window).to(scores.dtype)
    by_distance = torch.matmul(query, self.emb_rel_k[0].T)  # (batch, heads, length, 2 * window + 1)
    column = (distance + window).clamp(0, 2 * window).expand(batch, self.num_heads, -1, -1)
    weights = functional.softmax(scores + by_distance.gather(-1, column) * near, dim=-1)
    neighbour = places[:, None] + torch.arange(-window, window + 1)[None, :]
    inside = ((neighbour >= 0) & (neighbour < length)).to(scores.dtype)
    column = torch.minimum(neighbour.clamp(min=0), places[-1]).expand(batch, self.num_heads, -1, -1)
    mixed = torch.matmul(weights, value) + torch.matmul(weights.gather(-1, column) * inside, self.emb_rel_v[0])
    return _joined(self, mixed), None


def _joined(self: Any, mixed: Any) -> Any:
    return self.out_proj(mixed.transpose(1, 2).flatten(2))


def spline(
    inputs: Any,
    unnormalized_widths: Any,
    unnormalized_heights: Any,
    unnormalized_derivatives: Any,
    reverse: bool = False,
    tail_bound: float = 5.0,
    min_bin_width: float = 1e-3,
    min_bin_height: float = 1e-3,
    min_derivative: float = 1e-3,
) -> tuple[Any, None]:
    """Invert a monotonic spline of rational quadratics within the bounds; outside, return the input itself."""
    assert reverse  # the other direction is for training
    derivatives = functional.pad(unnormalized_derivatives, (1, 1), value=math.log(math.exp(1 - min_derivative) - 1))
    derivatives = min_derivative + functional.softplus(derivatives)
    left, widths = _bins(unnormalized_widths, min_bin_width, tail_bound)
    bottom, heights = _bins(unnormalized_heights, min_bin_height, tail_bound)
    slopes = heights / widths
    value = inputs.clamp(-tail_bound, tail_bound)
    # The value's bin is the last one whose lower edge is not above it; the first one's is at the bound.
    place = (value[..., None] >= bottom[..., 1:]).sum(dim=-1, keepdim=True)

    def at(each: Any) -> Any:
        return each.gather(-1, place)[..., 0]

    slope, low, high = at(slopes), at(derivatives[..., :-1]), at(derivatives[..., 1:])
    height, rise = at(heights), value - at(bottom)
    curve = low + high - 2 * slope
    a = height * (slope - low) + rise * curve
    b = height * low - rise * curve
    c = -slope * rise
    root = 2 * c / (-b - torch.sqrt(b * b - 4 * a * c))
    outside = (inputs < -tail_bound) | (inputs > tail_bound)
    return torch.where(outside, inputs, root * at(widths) + at(left)), None


def _bins(unnormalized: Any, least: float, bound: float) -> tuple[Any, Any]:
    """Compute the lower edges and sizes of bins from -bound to bound, each (..., bins)."""
    count = unnormalized.shape[-1]
    sizes = least + (1 - least * count) * functional.softmax(unnormalized, dim=-1)
    edges = 2 * bound * torch.cumsum(sizes, dim=-1)[..., :-1] - bound
    ends = functional.pad(functional.pad(edges, (1, 0), value=-bound), (0, 1), value=bound)
    return ends[..., :-1], ends[..., 1:] - ends[..., :-1]
