"""Plan which convolutions become 8 bits, with the operators between them; `convolutions.py` writes them.

For accurate answers:

- The last convolutions before an output stay float32: they are small, and decide the answer.
- So do those of one pixel, after global pooling: they take no time, and their output affects every pixel.
- ReLU and ReLU6 are the cut at 0 and at the range's end, so they cost neither time nor a rounding of their own.
- An activation computed by float32 operators (LayerNorm) is rounded for convolutions only, and a sum with one is
  float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe_export.onnx_graph import OnnxGraph

_CUTTING = frozenset({"Relu", "Clip"})
_JOINING = frozenset({"Add", "Mul", "Concat", "AveragePool", "Sigmoid", "LeakyRelu"})
"""Operators that ONNX Runtime has for uint8 with ranges of their own, provided that no input is constant."""
_MOVING = frozenset(
    {"MaxPool", "Pad", "Resize", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "DepthToSpace"}
)
"""Operators that return their input's numbers, or some between them, and work on uint8 as they are: the range stays."""
_POOLING = frozenset({"GlobalAveragePool", "GlobalMaxPool"})
_PIXELWISE = frozenset({"Conv", "Relu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Mul", "Add", "Div"})
"""Operators that compute one pixel from one pixel."""
_LEAST_GAIN = 100.0
"""The smallest gain of a convolution that becomes 8 bits by itself. Time of float32 relative to 8 bits with the
rounding before and after, two images, one thread, AVX512-VNNI: 320 to 320 channels, 3 x 3 (1,440) over 32 x 32 3.2;
1,280 to 1,280 (5,760) over 8 x 8 3.4; 320 to 320, 1 x 1 (160) over 32 x 32 2.4."""
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})


@dataclass(frozen=True)
class Plan:
    """The operators that become 8 bits.

    Attributes:
        convolutions: output of each Conv that does -> the activation that it reads.
        ends: output of each 8-bit operator -> the activation that it computes: the same, or that of the ReLU after it.
        ranges: rounded activation -> the one whose range it takes, mostly itself. Those that are not among the ends are
            computed by float32 operators and rounded for 8-bit ones only.
        bounds: activation -> its upper bound, where that is known: the cut of a ReLU6, the largest sigmoid.
    """

    convolutions: Mapping[str, str]
    ends: Mapping[str, str]
    ranges: Mapping[str, str]
    bounds: Mapping[str, float]

    @property
    def activations(self) -> list[str]:
        """The activations that have to be observed."""
        return list(dict.fromkeys([*map(self.source, self.ranges), *self.convolutions.values()]))

    @property
    def taken(self) -> list[str]:
        """Activations that float32 operators compute and 8-bit ones read."""
        computed = set(self.ends.values())
        return [name for name in self.ranges if name not in computed]

    def source(self, name: str) -> str:
        """Find the activation whose range `name` takes in the end."""
        while self.ranges[name] != name:
            name = self.ranges[name]
        return name


NOTHING = Plan({}, {}, {}, {})
"""Everything stays float32."""


def plan(graph: OnnxGraph) -> Plan:
    """Plan which convolutions of `graph`, a tidy fp32 graph, become 8 bits: those that pass 8-bit numbers on.

    A single one gains less than rounding its input and reading its output back costs; a depthwise one, all memory and
    no arithmetic, needs such neighbours on both sides (ConvNeXt's 7 x 7: 10 ms in float32, 13 and the rounding in 8
    bits).
    """
    candidates = {str(node.output[0]): node for node in _convolutions(graph)}
    while True:
        draft = _plan(graph, {name: str(node.input[0]) for name, node in candidates.items()})
        rounded = set(draft.ends.values())
        read = {name for node in graph.graph.node if node.output[0] in draft.ends for name in node.input}
        for name, node in list(candidates.items()):
            neighbours = (node.input[0] in rounded) + (draft.ends[name] in read)
            if neighbours < (2 if _is_depthwise(graph, node) else 1):
                del candidates[name]
        if len(candidates) == len(draft.convolutions):
            return draft


def alone(graph: OnnxGraph) -> Plan:
    """Plan each large convolution of `graph`, a tidy fp32 graph, by itself: what lies between them stays float32.

    For a denoiser, whose convolutions have a norm before them and a float32 residual stream behind: sums and
    concatenations of the stream in 8 bits would add up their roundings over the blocks and the steps.
    """
    convolutions = {str(node.output[0]): str(node.input[0]) for node in large_convolutions(graph)}
    names = dict.fromkeys([*convolutions.values(), *convolutions])
    return Plan(
        convolutions,
        {name: name for name in convolutions},
        {name: name for name in names},
        dict.fromkeys(names, math.inf),
    )


def large_convolutions(graph: OnnxGraph) -> list[Any]:
    """List the convolutions that gain by 8 bits though what lies before and after them stays float32."""
    return [node for node in _convolutions(graph) if _gain(graph, node) >= _LEAST_GAIN]


def _gain(graph: OnnxGraph, node: Any) -> float:
    """Return the multiplications of a convolution at a place for each of the numbers that are converted there."""
    weight = graph.constant(node.input[1])
    assert weight is not None
    return float(weight.size / (weight.shape[0] + weight.shape[1] * groups(node)))


def _plan(graph: OnnxGraph, convolutions: Mapping[str, str]) -> Plan:
    consumers, producers, outputs = graph.consumers(), graph.producers(), graph.outputs()
    wanted = _wanted(graph, convolutions)
    ends: dict[str, str] = {}
    ranges: dict[str, str] = {}
    rounded: set[str] = set()
    for node in graph.graph.node:
        name, end = str(node.output[0]), _end(graph, node, consumers, outputs)
        joins = end in wanted and _joins(graph, node, rounded)
        if name in wanted and node.input[0] in rounded and _moves(graph, node):
            ends[name], ranges[name] = name, node.input[0]
        elif name in convolutions or joins:
            ends[name] = ranges[end] = end
            reads = list(node.input if joins else node.input[:1])
            ranges |= {read: ranges.get(read, read) for read in reads}
            if node.op_type == "Concat" and len({_cut(graph, producers.get(read)) for read in reads}) == 1:
                # One range where all parts end in the same cut: then it copies, and rounds nothing a second time.
                ranges |= {read: end for read in reads if len(consumers[read]) == 1 and ranges[read] == read}
        if name in ends:
            rounded.add(ends[name])
    bounds = {name: _bound(graph, name, producers) for name in ranges}
    return Plan(convolutions, ends, ranges, bounds)


def _joins(graph: OnnxGraph, node: Any, rounded: set[str]) -> bool:
    """Tell whether `node` may work on 8 bits; a sum only if both terms are: else it is a float32 residual stream."""
    if node.op_type not in _JOINING or any(graph.initializer(name) is not None for name in node.input):
        return False
    return rounded.issuperset(node.input) if node.op_type == "Add" else not rounded.isdisjoint(node.input)


def _moves(graph: OnnxGraph, node: Any) -> bool:
    if node.op_type == "Resize":
        mode = next((attribute.s for attribute in node.attribute if attribute.name == "mode"), b"nearest")
        return mode in (b"nearest", b"linear")
    if node.op_type == "Pad" and len(node.input) > 2 and node.input[2]:
        fill = graph.constant(node.input[2])
        return fill is not None and not fill.any()
    return node.op_type in _MOVING and len(node.output) == 1


def _is_depthwise(graph: OnnxGraph, node: Any) -> bool:
    weight = graph.constant(node.input[1])
    return weight is not None and weight.shape[1] == 1 and groups(node) > 1


def groups(node: Any) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "group"), 1)


def _convolutions(graph: OnnxGraph) -> list[Any]:
    """List every Conv with a constant float32 weight, except the last before an output and those of one pixel."""
    kept = _last_products(graph) | _single_pixels(graph)
    convolutions = []
    for node in graph.graph.node:
        weight = graph.constant(node.input[1]) if node.op_type == "Conv" else None
        constant_bias = len(node.input) < 3 or not node.input[2] or graph.constant(node.input[2]) is not None
        if weight is not None and weight.dtype == np.float32 and constant_bias and node.output[0] not in kept:
            convolutions.append(node)
    return convolutions


def _last_products(graph: OnnxGraph) -> set[str]:
    """Name the outputs of the last products: between them and an output is no other product or sum of activations."""
    producers = graph.producers()
    waiting, seen, last = list(graph.outputs()), set(), set()
    while waiting:
        name = waiting.pop()
        node = producers.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type in _PRODUCTS:
            last.add(name)
        elif node.op_type != "Add" or any(graph.initializer(read) is not None for read in node.input):
            waiting.extend(node.input)
    return last


def _single_pixels(graph: OnnxGraph) -> set[str]:
    """Name the activations (B, C, 1, 1) that come from global pooling alone."""
    single: set[str] = set()
    for node in graph.graph.node:
        variable = [name for name in node.input if name and graph.initializer(name) is None]
        if (
            node.op_type in _POOLING
            or (node.op_type == "ReduceMean" and _over_pixels(graph, node))
            or (variable and node.op_type in _PIXELWISE and single.issuperset(variable))
        ):
            single.add(node.output[0])
    return single


def _over_pixels(graph: OnnxGraph, node: Any) -> bool:
    axes = graph.constant(node.input[1]) if len(node.input) > 1 else None
    kept = all(attribute.i for attribute in node.attribute if attribute.name == "keepdims")
    return kept and axes is not None and sorted(int(axis) for axis in axes) in ([2, 3], [-2, -1])


def _wanted(graph: OnnxGraph, convolutions: Mapping[str, str]) -> set[str]:
    """Name the activations that one of the convolutions reads, itself or through operators that can work on 8 bits."""
    wanted: set[str] = set()
    for node in reversed(graph.graph.node):
        if not node.output:
            continue
        passes = node.op_type in _JOINING | _MOVING | _CUTTING and node.output[0] in wanted
        if node.output[0] in convolutions:
            wanted.add(node.input[0])
        elif passes:
            wanted.update(node.input if node.op_type in _JOINING else node.input[:1])
    return wanted


def _end(graph: OnnxGraph, node: Any, consumers: Mapping[str, list[Any]], outputs: set[str]) -> str:
    """Name the output of `node`, or that of the ReLU or ReLU6 that alone reads it."""
    name = str(node.output[0])
    readers = consumers.get(name, [])
    if len(readers) != 1 or name in outputs or readers[0].op_type not in _CUTTING:
        return name
    return name if _cut(graph, readers[0]) is None else str(readers[0].output[0])


def _bound(graph: OnnxGraph, name: str, producers: Mapping[str, Any]) -> float:
    """Return the upper bound of the activation `name`."""
    node = producers.get(name)
    if node is None:
        return math.inf
    if node.op_type == "Concat":
        return max(_bound(graph, part, producers) for part in node.input)
    if node.op_type in ("Sigmoid", "HardSigmoid", "Softmax"):
        return 1.0
    cut = _cut(graph, node)
    return math.inf if cut is None else cut


def _cut(graph: OnnxGraph, node: Any) -> float | None:
    """Return the upper limit of a ReLU, or of a Clip that begins at 0; None for other operators."""
    if node is None or node.op_type not in _CUTTING:
        return None
    if node.op_type == "Relu":
        return math.inf
    low, high = (graph.constant(name) if name else None for name in (*node.input[1:3], "", "")[:2])
    if low is None or float(low) != 0.0 or (len(node.input) > 2 and node.input[2] and high is None):
        return None
    return math.inf if high is None else float(high)


def in_one_range(plan: Plan, node: Any) -> bool:
    """Tell whether `node`, one of the plan's ends, can work on uint8 as it is."""
    if node.op_type == "Concat":
        return {plan.source(name) for name in node.input} == {plan.source(node.output[0])}
    return node.op_type in _MOVING
