"""Resample as ONNX's operators cannot, or not for any size: by a product with a matrix of weights an axis.

Weights depend on the two sizes only, and are computed from them by plain operators.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.nn import functional

from onnxpipe_export.tracing import replaced

_CUBIC = -0.5
"""The free coefficient of the cubic kernel with antialiasing, as Pillow has it (without it torch takes -0.75)."""


@contextmanager
def any_resampling(model: Any) -> Iterator[None]:
    """Replace antialiased interpolation and adaptive averages by traceable ones inside."""
    whole = functional.interpolate

    def interpolate(value: Any, size: Any = None, *args: Any, **options: Any) -> Any:
        if not options.pop("antialias", False):
            return whole(value, size, *args, **options)
        return _antialiased(value, size, options.get("mode", "nearest"))

    with ExitStack() as stack:
        stack.enter_context(replaced(functional, "interpolate", interpolate))
        for module in model.modules():
            if isinstance(module, torch.nn.AdaptiveAvgPool2d) and _pair(module.output_size) != (1, 1):
                stack.enter_context(replaced(module, "forward", _averages(_pair(module.output_size))))
        yield


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _averages(size: tuple[int, int]) -> Any:
    """Make adaptive average pooling: of n places the i-th is the mean from floor(i * length / n) to
    ceil((i + 1) * length / n)."""

    def weights(count: int, length: Any) -> Any:
        number = torch.arange(count)[:, None]
        place = torch.arange(length)[None]
        start, end = number * length // count, ((number + 1) * length + count - 1) // count
        inside = ((place >= start) & (place < end)).float()
        return inside / inside.sum(1, keepdim=True)

    def forward(value: Any) -> Any:
        height, width = weights(size[0], value.shape[-2]), weights(size[1], value.shape[-1])
        return torch.matmul(torch.matmul(height, value), width.T)

    return forward


def _antialiased(value: Any, size: Any, mode: str) -> Any:
    """Interpolate with antialias=True, to (height, width)."""
    kernel, reach = {"bilinear": (_triangle, 1.0), "bicubic": (_cubic, 2.0)}[mode]
    height = _kernel_weights(value.shape[-2], size[0], kernel, reach)
    width = _kernel_weights(value.shape[-1], size[1], kernel, reach)
    return torch.matmul(torch.matmul(height, value), width.T)


def _kernel_weights(length: Any, wanted: Any, kernel: Any, reach: float) -> Any:
    """Compute weights (wanted, length): the kernel, as wide as a new pixel is in old ones, around its centre.

    Source: Pillow's resampling (Resample.c, precompute_coeffs), which torch follows.
    """
    scale = torch.as_tensor(length, dtype=torch.float32) / torch.as_tensor(wanted, dtype=torch.float32)
    stretch = torch.clamp(scale, min=1.0)
    centre = (torch.arange(wanted)[:, None] + 0.5) * scale
    place = torch.arange(length)[None].float()
    first, last = torch.floor(centre - reach * stretch + 0.5), torch.floor(centre + reach * stretch + 0.5)
    inside = (place >= first) & (place < last)
    weights = torch.where(inside, kernel((place - centre + 0.5) / stretch), 0.0)
    return weights / weights.sum(1, keepdim=True)


def _triangle(distance: Any) -> Any:
    return torch.clamp(1.0 - distance.abs(), min=0.0)


def _cubic(distance: Any) -> Any:
    x, a = distance.abs(), _CUBIC
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
