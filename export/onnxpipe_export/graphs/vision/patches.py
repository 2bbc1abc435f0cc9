"""Replace parts of vision models while they are traced: the same numbers, no constant sizes or branches.

Parts are found by the name of their class or module, wherever in a model they are: a Swin is a classifier of its own
and the backbone of segmentation models.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.nn import functional
from transformers.utils import torch_int

from onnxpipe_export.graphs.vision.padding import always_padded, tensorflow_padded
from onnxpipe_export.graphs.vision.resampling import any_resampling
from onnxpipe_export.graphs.vision.windows import any_windows
from onnxpipe_export.tracing import replaced

_ATTENTION = "_attn_implementation_internal"


@contextmanager
def traceable(model: Any) -> Iterator[None]:
    """Replace the parts of `model` that cannot be traced inside."""
    patches = (
        eager, sizes_stay, always_padded, tensorflow_padded, any_windows, any_resampling, _other_methods, _other_names
    )  # fmt: skip
    with ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch(model))
        yield


@contextmanager
def eager(model: Any) -> Iterator[None]:
    """Let all parts of `model` attend by plain products inside.

    transformers' set_attn_implementation can set this, but fails to restore the former state where a part of the model
    (a convolutional backbone) has no such attention.
    """
    configs = {id(module.config): module.config for module in model.modules() if hasattr(module, "config")}
    before = [(config, getattr(config, _ATTENTION)) for config in configs.values() if hasattr(config, _ATTENTION)]
    for config, _ in before:
        setattr(config, _ATTENTION, "eager")
    try:
        yield
    finally:
        for config, own in before:
            setattr(config, _ATTENTION, own)


@contextmanager
def sizes_stay(model: Any) -> Iterator[None]:
    """Replace functions of torch that would make a traced size a constant, or are exported wrongly for one."""
    as_tensor, tensor = torch.as_tensor, torch.tensor

    def linspace(start: Any, end: Any, steps: Any, *, dtype: Any = None, device: Any = None) -> Any:
        number = torch.arange(steps, dtype=dtype or torch.float32)
        gaps = torch.clamp(as_tensor(steps) - 1, min=1)
        return start + number * ((end - start) / gaps)

    def joined(plain: Any) -> Any:
        def make(data: Any, *, dtype: Any = None, device: Any = None) -> Any:
            if not _holds_tensors(data):
                return plain(data, dtype=dtype, device=device)
            stack = torch.stack([make(part) for part in data])
            return stack if dtype is None else stack.to(dtype)

        return make

    with ExitStack() as stack:
        stack.enter_context(replaced(torch, "linspace", linspace))
        stack.enter_context(replaced(torch, "as_tensor", joined(as_tensor)))
        stack.enter_context(replaced(torch, "tensor", joined(tensor)))
        yield


def _holds_tensors(data: Any) -> bool:
    return isinstance(data, list | tuple) and any(isinstance(one, torch.Tensor) or _holds_tensors(one) for one in data)


@contextmanager
def _other_methods(model: Any) -> Iterator[None]:
    with ExitStack() as stack:
        for module in model.modules():
            for name, make in _METHODS.get(type(module).__name__, {}).items():
                stack.enter_context(replaced(module, name, make(module)))
        yield


@contextmanager
def _other_names(model: Any) -> Iterator[None]:
    files = {type(module).__module__ for module in model.modules()}
    with ExitStack() as stack:
        for file in files:
            for name, value in _NAMES.get(file.rpartition(".")[2], {}).items():
                stack.enter_context(replaced(sys.modules[file], name, value))
        yield


def _standardised(module: Any) -> Any:
    """Make BiT's convolution with weights of mean 0 and variance 1, computed once.

    Tracing would take the batch normalisation that computes them for one of the image.
    """
    flat = module.weight.detach().flatten(1)
    variance, mean = torch.var_mean(flat, dim=1, correction=0, keepdim=True)
    weight = ((flat - mean) / torch.sqrt(variance + module.eps)).view_as(module.weight)

    def forward(hidden: Any) -> Any:
        padded = hidden if module.pad is None else module.pad(hidden)
        return functional.conv2d(
            padded, weight, module.bias, module.stride, module.padding, module.dilation, module.groups
        )

    return forward


def _unfolding(module: Any) -> Any:
    """Make MobileViTv2's patches, (batch, channels, places of a patch, patches): torch's unfold without an overlap."""

    def unfolding(features: Any) -> tuple[Any, tuple[Any, Any]]:
        batch, channels, height, width = features.shape
        rows, columns = module.patch_height, module.patch_width
        whole = features[:, :, : height // rows * rows, : width // columns * columns]
        split = whole.reshape(batch, channels, height // rows, rows, width // columns, columns)
        return split.permute(0, 1, 3, 5, 2, 4).reshape(batch, channels, rows * columns, -1), (height, width)

    return unfolding


def _folding(module: Any) -> Any:
    """Make the inverse of `_unfolding`; pixels beyond the last whole patch become 0."""

    def folding(patches: Any, output_size: tuple[Any, Any]) -> Any:
        (batch, channels, _, _), (height, width) = patches.shape, output_size
        rows, columns = module.patch_height, module.patch_width
        split = patches.reshape(batch, channels, rows, columns, height // rows, width // columns)
        down, right = height // rows * rows, width // columns * columns
        whole = split.permute(0, 1, 4, 2, 5, 3).reshape(batch, channels, down, right)
        return functional.pad(whole, (0, width - right, 0, height - down))

    return folding


def _zero_border(module: Any) -> Any:
    """Pad with zeros by concatenation.

    ONNX Runtime takes a Pad before a MaxPool for the pool's own, which is of the lowest number (BiT pools before any
    activation, where values are below 0).
    """
    left, right, top, bottom = module.padding

    def forward(value: Any) -> Any:
        for axis, before, after in ((2, top, bottom), (3, left, right)):
            zeros = torch.zeros_like(value.narrow(axis, 0, 1))
            value = torch.cat([zeros] * before + [value] + [zeros] * after, axis)
        return value

    return forward


def _same_padding(module: Any) -> Any:
    """Make BiT's padding, as TensorFlow's SAME."""

    def side(size: Any, axis: int) -> tuple[Any, Any]:
        kernel, stride, dilation = (values[axis] for values in (module.kernel_size, module.stride, module.dilation))
        covered = (size + stride - 1) % stride + 1
        total = torch.clamp(torch.as_tensor((kernel - 1) * dilation + 1 - covered), min=0)
        return total // 2, total - total // 2

    def forward(value: Any) -> Any:
        return functional.pad(value, (*side(value.shape[-1], 1), *side(value.shape[-2], 0)), value=module.value)

    return forward


def _zoedepth_stages(module: Any) -> Any:
    """Make ZoeDepth's reassembling, a stage at a time.

    The original joins all stages in one batch and splits it by the example's size.
    """

    def forward(hidden_states: list[Any], patch_height: Any, patch_width: Any) -> list[Any]:
        stages = []
        for number, states in enumerate(hidden_states):
            readout, places = states[:, :1], states[:, 1:]
            if module.readout_type == "project":
                places = module.readout_projects[number](torch.cat((places, readout.expand_as(places)), -1))
            elif module.readout_type == "add":
                places = places + readout
            shape = (places.shape[0], -1, patch_height, patch_width)
            stages.append(module.layers[number](places.transpose(1, 2).reshape(shape)))
        return stages

    return forward


# Class -> method -> function from the module to its replacement.
_METHODS: Mapping[str, Mapping[str, Callable[[Any], Any]]] = {
    "WeightStandardizedConv2d": {"forward": _standardised},
    "ConstantPad2d": {"forward": _zero_border},
    "DynamicPad2d": {"forward": _same_padding},
    "MobileViTV2Layer": {"unfolding": _unfolding, "folding": _folding},
    "ZoeDepthReassembleStage": {"forward": _zoedepth_stages},
}

# Module of transformers -> name in it -> its replacement: a size that is a tensor stays one.
_NAMES: Mapping[str, Mapping[str, Any]] = {
    "modeling_depth_anything": {"int": torch_int},
}
