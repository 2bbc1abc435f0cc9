"""Quantise convolutions over time to int8: products of frames with one fixed range, as those of `int8.py`.

A frame of the output is the product of k frames of the input, side by side, with a matrix:

    X (B, C, T)  ->  uint8 (B, T, C)  ->  every s-th frame with the k - 1 after it (B, T', k C)  ->  Y (B, T', N)

The result is float32 (that of `convolutions.py` has 8 bits): in recordings' models a norm or an activation function
follows, and rounding before it doubles the error. Two threads with AVX512-VNNI take, for a kernel of 3 with stride 2
from 384 to 384 channels over 3,000 frames, 12.9 ms in float32, 2.5 ms here, and 6.0 ms in QLinearConv with the rounding
before and after it; from 512 to 512 over 7,999 frames 63, 20 and 24 ms. A recogniser of wav2vec2-base's size with a
norm of each frame takes 405 ms for ten seconds instead of 618 (random weights; 8-bit scores included, see
`attention.py`).

A convolution of the waveform itself is too narrow to gain, those of groups too (positions of wav2vec 2.0), and one that
is inaccurate in one range stays float32: behind a norm over the time of a channel (wav2vec2-base), pauses have few of
the 255 steps, behind a norm of each frame (wav2vec2-large, WavLM) they have as many as speech.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.precision import balance, inner
from onnxpipe_export.precision.activations import ROWS, Activation
from onnxpipe_export.precision.convolution_plan import groups, large_convolutions
from onnxpipe_export.precision.int8 import error, quantise_columns

_DOMAIN = "com.microsoft"
_WIDEST = 16
"""The largest kernel: a wider one copies too much."""
_MOST_ERROR = 0.0125
"""The largest relative error of a convolution in 8 bits: all layers compute with it. Whisper-tiny.en's second one, with
0.015, changed a word of 93 with five beams; wav2vec 2.0's have 0.011."""
_END = 2**31 - 1


@dataclass(frozen=True)
class Convolution:
    """A Conv over time of the graph.

    Attributes:
        output, activation: what it computes, (B, N, T'), and from what, (B, C, T).
        weight: its initializer, (N, C, kernel).
        bias: its initializer, (N,), or "".
        kernel, stride: frames.
        pads: zeros before and after the activation's frames.
    """

    output: str
    activation: str
    weight: str
    bias: str
    kernel: int
    stride: int
    pads: tuple[int, int]


def find(graph: OnnxGraph) -> list[Convolution]:
    """List the convolutions over time that gain by 8 bits."""
    found, inputs = [], {value.name for value in graph.graph.input}
    for node in large_convolutions(graph):
        weight, values = graph.initializer(node.input[1]), {each.name: each for each in node.attribute}
        one = all(value == 1 for value in values["dilations"].ints) if "dilations" in values else True
        if (
            len(weight.dims) == 3
            and weight.dims[2] <= _WIDEST
            and groups(node) == 1
            and one
            and "auto_pad" not in values
            and node.input[0] not in inputs
        ):
            stride = int(values["strides"].ints[0]) if "strides" in values else 1
            before, after = values["pads"].ints if "pads" in values else (0, 0)
            bias = str(node.input[2]) if len(node.input) > 2 else ""
            found.append(
                Convolution(str(node.output[0]), str(node.input[0]), str(node.input[1]), bias,
                            int(weight.dims[2]), stride, (int(before), int(after)))
            )  # fmt: skip
    return found


def observe(path: Path, convolutions: Sequence[Convolution], feeds: Sequence[inner.Feeds]) -> dict[str, Activation]:
    """Run the fp32 graph at `path` and observe what each convolution multiplies: by its output, rows of k C numbers.

    Args:
        path: the graph, saved tidy.
        convolutions: from `find`.
        feeds: inputs to run it on.
    """
    each: dict[str, list[Activation]] = {one.output: [] for one in convolutions}
    kept = -(-ROWS // max(len(feeds), 1))
    names = list(dict.fromkeys(one.activation for one in convolutions))
    for values in inner.values(path, names, feeds) if names else ():
        for one in convolutions:
            each[one.output].append(_observed(one, values[one.activation], kept))
    return {name: Activation.joined(found) for name, found in each.items() if found}


def _observed(one: Convolution, value: np.ndarray, kept: int) -> Activation:
    padded = np.pad(value, ((0, 0), (0, 0), one.pads))
    starts = np.linspace(0, padded.shape[2] - one.kernel, kept).astype(int)
    rows = np.stack([padded[0, :, start : start + one.kernel].T.reshape(-1) for start in starts])
    low, high = value.min(axis=(0, 2)), value.max(axis=(0, 2))
    return Activation(low, high, rows, len(value) * value.shape[2] // one.stride)


def quantise(graph: OnnxGraph, convolutions: Sequence[Convolution], observed: dict[str, Activation]) -> None:
    """Rewrite `graph` in place.

    Args:
        graph: later rewriting of the graph in which `convolutions` were found must have left them alone.
        convolutions: from `find`.
        observed: from `observe`; a convolution without stays float32.
    """
    places = {node.output[0]: index for index, node in enumerate(graph.graph.node)}
    replacements: dict[int, list[Any]] = {}
    for one in convolutions:
        weight = graph.constant(one.weight)
        assert weight is not None
        seen = observed.get(one.output)
        if seen is None:
            continue
        factors = balance.smoothing(seen.peaks, np.abs(weight).max(axis=(0, 2)))
        seen = Activation(seen.low / factors, seen.high / factors, seen.rows / np.tile(factors, one.kernel), seen.count)
        matrix = (weight * factors[:, None]).transpose(2, 1, 0).reshape(-1, len(weight))
        if error(seen, matrix.T) <= _MOST_ERROR:
            replacements[places[one.output]] = _products(graph, one, matrix, factors, seen)
    graph.replace_nodes(replacements)
    if replacements:
        graph.need_domain(_DOMAIN)
    graph.tidy()


def _products(
    graph: OnnxGraph, one: Convolution, matrix: np.ndarray, factors: np.ndarray, observed: Activation
) -> list[Any]:
    """Make the nodes of a convolution whose weight is `matrix`, (k C, N), once channels are divided by `factors`."""
    values, scales = quantise_columns(matrix)
    chosen, stem = observed.range, one.output
    scale = graph.add_constant(f"{stem}/scale", np.array(chosen.scale, np.float32))
    zero = graph.add_constant(f"{stem}/zero", np.array(chosen.zero, np.uint8))
    weight, width = graph.add_constant(f"{stem}/int8", values), graph.add_constant(f"{stem}/scales", scales)
    names = ("balanced", "uint8", "frames", "product")
    balanced, rounded, frames, product = (graph.fresh(f"{stem}/{part}") for part in names)
    nodes = [
        graph.node("Mul", [one.activation, graph.add_constant(f"{stem}/balance", 1 / factors[:, None])], balanced),
        graph.node("QuantizeLinear", [balanced, scale, zero], rounded),
        graph.node("Transpose", [rounded], frames, perm=[0, 2, 1]),
    ]
    if any(one.pads):
        sizes = graph.add_constant(f"{stem}/pads", np.array([0, one.pads[0], 0, 0, one.pads[1], 0], np.int64))
        padded = graph.fresh(f"{stem}/padded")
        nodes.append(graph.node("Pad", [frames, sizes, zero], padded))
        frames = padded
    shifted = [_shifted(graph, one, frames, number, nodes) for number in range(one.kernel)]
    beside = graph.fresh(f"{stem}/beside")
    nodes.append(graph.node("Concat", shifted, beside, axis=-1))
    inputs = [beside, weight, scale, width, zero, *(["", one.bias] if one.bias else [])]
    nodes.append(graph.node("MatMulIntegerToFloat", inputs, product, domain=_DOMAIN))
    return [*nodes, graph.node("Transpose", [product], one.output, perm=[0, 2, 1])]


def _shifted(graph: OnnxGraph, one: Convolution, frames: str, number: int, nodes: list[Any]) -> str:
    """Append the node that takes the frames which this column of the kernel is multiplied with."""
    left = one.kernel - 1 - number
    bounds = (number, -left if left else _END, 1, one.stride)
    names = [graph.add_constant(f"{one.output}/bound", np.array([bound], np.int64)) for bound in bounds]
    shifted = graph.fresh(f"{one.output}/shifted")
    nodes.append(graph.node("Slice", [frames, *names], shifted))
    return shifted
