"""Quantise convolutions to 8-bit weights with float32 arithmetic: a quarter of the file, the same time.

For graphs that compute waveforms, where rounding is audible: with 8-bit activations a HiFi-GAN's waveform had a cosine
of 0.72 to the original's, with 8-bit weights alone, one scale an output channel, 0.9967, and if the first convolution,
whose input are logarithms far from 0, stays float32, 0.9993 (a second of speech).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxpipe_export.onnx_graph import OnnxGraph

_LEAST = 1024
"""The fewest numbers in a weight that is quantised: below, scales and nodes cost as much as they save."""
_LEARNT = frozenset({"Conv", "ConvTranspose", "Gather", "Gemm", "MatMul"})
"""Operators after which activations have a learnt range, not the input's."""
_OUTPUT_AXIS = {"Conv": 0, "ConvTranspose": 1}


def quantise(graph: OnnxGraph) -> None:
    """Rewrite `graph`, a tidy fp32 graph, in place."""
    replacements: dict[int, list[Any]] = {}
    stored: dict[str, str] = {}
    learnt: set[str] = set()
    for index, node in enumerate(graph.graph.node):
        first = not learnt.intersection(node.input)
        if not first or node.op_type in _LEARNT:
            learnt.update(node.output)
        weight = graph.constant(node.input[1]) if node.op_type in _OUTPUT_AXIS else None
        if first or weight is None or weight.size < _LEAST or weight.dtype != np.float32:
            continue
        axis = _axis(node, weight)
        name = str(node.input[1])
        before = []
        if name not in stored:
            values, scales = _rounded(weight, axis)
            stored[name] = graph.fresh(f"{name}_dequantised")
            inputs = [graph.add_constant(f"{name}_int8", values), graph.add_constant(f"{name}_scales", scales)]
            before = [graph.node("DequantizeLinear", inputs, stored[name], axis=axis)]
        node.input[1] = stored[name]
        replacements[index] = [*before, node]
    graph.replace_nodes(replacements)
    graph.tidy()


def _axis(node: Any, weight: np.ndarray) -> int:
    """Choose the axis that has a scale each: output channels; input channels for grouped transposed convolutions.

    There an output channel's index is that within its group.
    """
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    return 0 if groups > 1 else _OUTPUT_AXIS[node.op_type]


def _rounded(weight: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Round a weight to int8 of the same shape, and return float32 scales (size of `axis`,)."""
    others = tuple(number for number in range(weight.ndim) if number != axis)
    scales = np.maximum(np.abs(weight).max(axis=others) / 127, np.float32(1e-12)).astype(np.float32)
    shape = [-1 if number == axis else 1 for number in range(weight.ndim)]
    return np.rint(weight / scales.reshape(shape)).clip(-127, 127).astype(np.int8), scales
