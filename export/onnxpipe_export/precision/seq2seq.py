"""Make the precisions of encoder-decoder models: 8-bit products by rows for both graphs.

A decoder of beams runs many rows at once, where 8-bit weights in blocks (`nbits.py`) are slow. One thread, AVX512-VNNI,
ms for 1, 4, 16 and 64 rows: Marian's output layer (512 x 59514) 3.0, 5.7, 17.7, 56.6 in blocks, 2.5, 2.6, 4.0, 15.0 by
rows, 14.5, 17.2, 24.8, 52.9 in fp32; its largest other product (2048 x 512) 0.05, 0.13, 0.47, 1.72 and 0.06, 0.07,
0.10, 0.31.

Decoders of speech are more sensitive to rounding than translators, and have fewer beams. Of whisper-tiny.en, over the
words of five sentences read aloud, mean Kullback-Leibler divergence from fp32, milliseconds a step with 1, 5 and 8
rows, and for the first call with 1,500 states (one thread): by rows 0.0017, 2.6, 10, 15, 20; in blocks 0.0003, 2.6, 12,
19, 43; in blocks except for the keys and values of cross attention, which are computed from all states at once and
quantised by rows, 0.0003, 2.6, 12, 18, 21; fp32 10, 17, 23, 44. So the last is used.

Balancing (`int8.py`) harms encoders of speech where each row has its scale: a few of whisper's columns are a thousand
times the others, and the weights' rows, scaled up as much, use up the steps of the rest. Cosine of whisper-tiny.en's
states to fp32's over six recordings, calibrated with synthetic audio: by rows 0.9995 (0.9967 balanced), fixed ranges
0.9993 and 0.9995 balanced; yet with these two words more are wrong, so rows keep their scales.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe_export.graphs.graph import Feeds, Maker
from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.precision import int8, makers
from onnxpipe_export.precision.activations import observe

_BETWEEN = frozenset({"Abs", "Flatten", "Mul"})


def to_int8(full: Path, path: Path, calibration: Sequence[Feeds]) -> None:
    """Make int8 with a scale a row, and allow that the encoder's states are cut to no rows.

    With fixed ranges the logits of opus-mt-en-fr have a cosine of 0.977 to fp32's where texts are not those of the
    calibration.
    """
    graph = OnnxGraph.load(full)
    int8.quantise(graph, observe(full, calibration), fixed=False)
    _allow_no_rows(graph)
    graph.save(path)


def _with_states_by_rows(maker: Maker) -> Maker:
    """Change `maker` so that products of all the encoder's states at once are quantised by rows."""

    def make(full: Path, path: Path, calibration: Sequence[Feeds]) -> None:
        graph = OnnxGraph.load(full)
        states = {node.output[0] for node in graph.graph.node
                  if node.op_type == "Slice" and node.input[0] == "encoder_hidden_states"}  # fmt: skip
        int8.quantise_some(graph, states)
        _allow_no_rows(graph)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".states") as scratch:
            graph.save(Path(scratch) / full.name)
            maker(Path(scratch) / full.name, path, calibration)

    return make


def _allow_no_rows(graph: OnnxGraph) -> None:
    """Rewrite two kinds of nodes for an activation without rows, made by Slice.

    ONNX Runtime 1.31 does not reduce an empty tensor, so the first column of what it returns is taken.
    And where a product gets its axes back, 0 is a size, not "as in the input".
    """
    producers = graph.producers()
    replacements: dict[int, list[Any]] = {}
    for index, node in enumerate(graph.graph.node):
        if node.op_type != "ReduceMax" or not _is_of_slice(node, producers):
            continue
        kept = graph.fresh(f"{node.output[0]}/kept")
        first = graph.add_constant(f"{node.output[0]}/first", np.array([0], np.int64))
        replacements[index] = [
            graph.node("ReduceMax", list(node.input), kept, keepdims=1),
            graph.node("Gather", [kept, first], node.output[0], axis=1),
        ]
        for reshape in graph.graph.node:
            maker = producers.get(reshape.input[1]) if reshape.op_type == "Reshape" else None
            if maker is not None and maker.op_type == "Concat" and graph.constant(maker.input[-1]) is not None:
                del reshape.attribute[:]
                reshape.attribute.append(_allow_zero())
    graph.replace_nodes(replacements)


def _allow_zero() -> Any:
    import onnx

    return onnx.helper.make_attribute("allowzero", 1)


def _is_of_slice(node: Any, producers: Mapping[str, Any]) -> bool:
    """Tell whether the reduced activation comes from a Slice through the steps of quantising."""
    before = producers.get(node.input[0])
    while before is not None and before.op_type in _BETWEEN:
        before = producers.get(before.input[0])
    return before is not None and before.op_type == "Slice"


ENCODER: Mapping[str, Maker] = {**makers.ENCODER, "q4": makers.to_int8}
"""4-bit weights are slow with many rows (and lose most of an encoder's accuracy): a q4 bundle has an int8 encoder."""

DECODER: Mapping[str, Maker] = {**makers.DECODER, "int8": to_int8}
"""For beams, one token at a time."""

SPEECH_ENCODER: Mapping[str, Maker] = {**makers.RECORDING, "q4": makers.to_int8_of_recordings}
"""For whole recordings."""

MEDIA_DECODER: Mapping[str, Maker] = {
    **makers.DECODER,
    "int8": _with_states_by_rows(makers.to_int8_weights),
    "q4": _with_states_by_rows(makers.to_q4),
}
"""For one token at a time, of speech or an image."""
