"""Quantise convolutions to int8 statically, written as QuantizeLinear and DequantizeLinear around float operators.

Activations are uint8 with one scale and zero point each, found beforehand with calibration images (`ranges.py`);
weights are int8 with a scale for each output channel; sums are exact in int32. Nothing depends on the batch, so an
answer is the same alone and in a batch. ONNX Runtime fuses each convolution with the rounding around it
(QLinearConv) and keeps what lies between two of them in 8 bits too: additions, concatenations, pooling.

Scales found for each image while it runs, with ConvInteger, are no alternative: 64 to 64 channels, 3 x 3 over 56 x 56
take 1.5 ms in float32, 8.8 so, 0.7 in QLinearConv with the rounding before and after; 96 depthwise, 3 x 3 over 112 x
112, 1.7, 15.8 and 2.1 (one thread, AVX512-VNNI, ONNX Runtime 1.31.1).

A bias corrects the mean error of rounding its weights (Nagel et al. 2019, Data-Free Quantization Through
Weight Equalization and Bias Correction). Equalising the channels between two convolutions, from the same paper, made
resnet-50 and mobilenet-v2-deeplab worse: each channel has a weight scale of its own already.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.precision.convolution_plan import Plan, groups, in_one_range
from onnxpipe_export.precision.ranges import Observed, Range, choose

_MIDDLE = 127
_TINY = np.float32(1e-30)
_LARGEST_BIAS = 2.0**30


def quantise(graph: OnnxGraph, plan: Plan, observed: Mapping[str, Observed]) -> None:
    """Rewrite `graph` in place.

    Args:
        graph: the fp32 graph that `plan` was made for; later rewriting must have left the plan's operators alone.
        plan: from `convolution_plan.plan`.
        observed: of all `plan.activations`, from `ranges.observe`.
    """
    chosen = {name: choose(observed[name], plan.bounds[name]) for name in set(map(plan.source, plan.ranges))}
    writer = _Writer(graph, {name: chosen[plan.source(name)] for name in plan.ranges})
    rounded = {name: graph.fresh(f"{name}/rounded") for name in plan.taken}
    dropped = {end for name, end in plan.ends.items() if end != name}
    inputs = [value.name for value in graph.graph.input]
    nodes = [each for name in inputs if name in rounded for each in writer.rounding(name, name, rounded[name])]
    for node in graph.graph.node:
        name = str(node.output[0])
        if name in plan.ends and in_one_range(plan, node):
            nodes += writer.moving(node)
        elif name in plan.ends:
            if name in plan.convolutions:
                nodes += writer.convolution(node, observed[node.input[0]])
            for at, read in enumerate(node.input):
                node.input[at] = rounded.get(read, read)
            node.output[0] = graph.fresh(f"{name}/unrounded")
            nodes += [node, *writer.rounding(plan.ends[name], node.output[0], plan.ends[name])]
        elif name not in dropped:
            nodes.append(node)
            nodes += [each for out in node.output if out in rounded for each in writer.rounding(out, out, rounded[out])]
    graph.set_nodes(nodes)
    graph.tidy()


class _Writer:
    """Writes 8-bit operators.

    Args:
        graph: constants are added to it.
        ranges: of every activation that is rounded.
    """

    def __init__(self, graph: OnnxGraph, ranges: Mapping[str, Range]) -> None:
        self._graph = graph
        self._ranges = ranges
        self._parameters: dict[Range, tuple[str, str]] = {}
        self._numbers: dict[str, str] = {}

    def rounding(self, activation: str, before: str, after: str) -> list[Any]:
        """Round the tensor `before` in the range of `activation` to the tensor `after`."""
        numbers = self._graph.fresh(f"{activation}/uint8")
        self._numbers[activation] = numbers
        parameters = self._scale_and_zero(activation)
        return [
            self._graph.node("QuantizeLinear", [before, *parameters], numbers),
            self._graph.node("DequantizeLinear", [numbers, *parameters], after),
        ]

    def moving(self, node: Any) -> list[Any]:
        """Rewrite `node` to work on uint8."""
        activation = str(node.output[0])
        numbers = self._graph.fresh(f"{activation}/uint8")
        parameters = self._scale_and_zero(activation)
        read = [self._numbers.get(name, name) for name in node.input]
        if node.op_type == "Pad":
            read = [*read[:2], parameters[1], *read[3:]]
        del node.input[:]
        node.input.extend(read)
        node.output[0] = self._numbers[activation] = numbers
        return [node, self._graph.node("DequantizeLinear", [numbers, *parameters], activation)]

    def _scale_and_zero(self, activation: str) -> tuple[str, str]:
        chosen = self._ranges[activation]
        if chosen not in self._parameters:
            self._parameters[chosen] = (
                self._graph.add_constant(f"{activation}/scale", np.array(chosen.scale, np.float32)),
                self._graph.add_constant(f"{activation}/zero", np.array(chosen.zero, np.uint8)),
            )
        return self._parameters[chosen]

    def convolution(self, node: Any, observed: Observed) -> list[Any]:
        """Make the nodes of a Conv's 8-bit weight and bias, and let the Conv read them.

        The Conv still reads the fp32 activation.
        """
        weight = self._graph.constant(node.input[1])
        assert weight is not None
        bias = self._graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        bias = np.zeros(len(weight), np.float32) if bias is None else bias
        step = self._ranges[node.input[0]].scale
        values, scales = quantise_filters(weight, np.abs(bias) / (step * _LARGEST_BIAS))
        dequantised = values.astype(np.float32) * scales.reshape(-1, *[1] * (weight.ndim - 1))
        bias = bias - mean_error(dequantised - weight, observed.means, groups(node))
        whole = np.rint(bias / (step * scales.astype(np.float64))).astype(np.int32)
        stored, width = f"{node.output[0]}/weight", f"{node.output[0]}/bias"
        names = self._graph.fresh(f"{stored}/float"), self._graph.fresh(f"{width}/float")
        new = [
            self._constant(stored, values, scales, names[0]),
            self._constant(width, whole, (scales * np.float32(step)).astype(np.float32), names[1]),
        ]
        del node.input[1:]
        node.input.extend(names)
        return new

    def _constant(self, stem: str, values: np.ndarray, scales: np.ndarray, output: str) -> Any:
        inputs = [
            self._graph.add_constant(f"{stem}/{values.dtype}", values),
            self._graph.add_constant(f"{stem}/scale", scales),
            self._graph.add_constant(f"{stem}/zero", np.zeros(len(scales), values.dtype)),
        ]
        return self._graph.node("DequantizeLinear", inputs, output, axis=0)


def quantise_filters(weight: np.ndarray, least: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Quantise a weight with one symmetric scale for each output channel.

    Args:
        weight: float (N, ...).
        least: the smallest allowed scales, (N,).

    Returns:
        int8 of the same shape and float32 scales (N,), with weight ~ int8 * scales.
    """
    rows = weight.reshape(len(weight), -1)
    scales = np.maximum(np.abs(rows).max(axis=1), _TINY) / np.float32(_MIDDLE)
    scales = np.maximum(scales, least).astype(np.float32)
    return np.clip(np.rint(rows / scales[:, None]), -_MIDDLE, _MIDDLE).astype(np.int8).reshape(weight.shape), scales


def mean_error(error: np.ndarray, means: np.ndarray, groups: int) -> np.ndarray:
    """Compute the mean error of a convolution's output channels from the `error` of its weights.

    Args:
        error: (N, C / groups, ...).
        means: of the input's channels, (C,).
        groups: of the convolution.
    """
    each = error.reshape(groups, len(error) // groups, error.shape[1], -1).sum(axis=-1)
    return np.asarray(np.einsum("gnc,gc->gn", each, means.reshape(groups, -1)).reshape(-1))
