"""Pad sizes to a multiple without testing whether padding is needed: tracing would make the test a constant."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.nn import functional

from onnxpipe_export.tracing import replaced


@contextmanager
def always_padded(model: Any) -> Iterator[None]:
    """Let patch embeddings and mergings pad an image to whole patches always inside, by 0 if it has them."""
    with ExitStack() as stack:
        for module in model.modules():
            name = type(module).__name__
            if not hasattr(module, "maybe_pad"):
                continue
            if name.endswith("PatchMerging"):
                stack.enter_context(replaced(module, "maybe_pad", _pad_to_even))
            elif hasattr(module, "patch_size"):
                stack.enter_context(replaced(module, "maybe_pad", _pad_to_patches(module.patch_size)))
        yield


@contextmanager
def tensorflow_padded(model: Any) -> Iterator[None]:
    """Let MobileNet pad as TensorFlow's SAME inside, for images of any size."""
    homes = {sys.modules[type(module).__module__] for module in model.modules()}
    with ExitStack() as stack:
        for home in homes:
            if hasattr(home, "apply_tf_padding"):
                stack.enter_context(replaced(home, "apply_tf_padding", _pad_as_tensorflow))
        yield


def missing(size: Any, multiple: int) -> Any:
    """Compute how much `size` (a number, or a tensor without axes) lacks to a multiple."""
    return (multiple - size % multiple) % multiple


def _pad_to_even(features: Any, height: Any, width: Any) -> Any:
    """Pad (batch, height, width, channels) to even height and width."""
    return functional.pad(features, (0, 0, 0, width % 2, 0, height % 2))


def _pad_to_patches(patch: tuple[int, int]) -> Any:
    def pad(pixel_values: Any, height: Any, width: Any) -> Any:
        return functional.pad(pixel_values, (0, missing(width, patch[1]), 0, missing(height, patch[0])))

    return pad


def _pad_as_tensorflow(features: Any, layer: Any) -> Any:
    """Pad as TensorFlow's SAME. Source: https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2"""
    top, bottom = _tensorflow_sides(features.shape[-2], layer, 0)
    left, right = _tensorflow_sides(features.shape[-1], layer, 1)
    return functional.pad(features, (left, right, top, bottom))


def _tensorflow_sides(size: Any, layer: Any, axis: int) -> tuple[Any, Any]:
    """Compute the padding before and after: enough for ceil(size / stride) places of the kernel."""
    kernel, stride, dilation = layer.kernel_size[axis], layer.stride[axis], layer.dilation[axis]
    if stride == 1:  # the same for any size, so a number and no arithmetic in the graph
        return (kernel - 1) // 2 * dilation, kernel // 2 * dilation
    # the image covers 1 to `stride` pixels of the last stride, and padding the rest of the kernel
    covered = (size + stride - 1) % stride + 1
    total = torch.clamp(torch.as_tensor(kernel - covered), min=0)
    return total // 2 * dilation, (total - total // 2) * dilation
