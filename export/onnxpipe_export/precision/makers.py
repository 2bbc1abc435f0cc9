"""Make the file of each precision from the fp32 file, for each kind of graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from onnxpipe.bundle import proof
from onnxpipe_export.graphs.graph import Feeds, Maker
from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.precision import (
    attention,
    balance,
    convolution_plan,
    convolution_weights,
    convolutions,
    fp16,
    frame_convolutions,
    gptq,
    inner,
    int8,
    nbits,
    ranges,
)
from onnxpipe_export.precision.activations import observe
from onnxpipe_export.precision.products import Product, constant_products

_LEAST_GAIN = 80.0
"""The smallest gain of products of images, which have many rows, that are quantised. Time relative to float32, one
thread, AVX512-VNNI, 4,096 rows: 64 x 64 (32) 1.7, 128 x 128 (64) 1.3, 160 x 160 (80) 1.1, 256 x 256 (128) 0.6."""

_LEAST_COSINE = 0.995
"""The smallest mean cosine to fp32 of a graph with fixed ranges; below, each row has a scale. The certificate allows
0.99."""


def keep(full: Path, path: Path, calibration: Sequence[Feeds]) -> None:
    """Do nothing: the fp32 file is there already."""


def to_fp16(full: Path, path: Path, calibration: Sequence[Feeds]) -> None:
    """Make fp16: float16 inside, inputs and outputs float32."""
    fp16.convert(OnnxGraph.load(full)).save(path)


def to_fp16_with_caches(full: Path, path: Path, calibration: Sequence[Feeds]) -> None:
    """Make fp16 with float16 caches, which are most of the memory of a long row; other outputs are float32."""
    graph = OnnxGraph.load(full)
    values = (*graph.graph.input, *graph.graph.output)
    caches = {value.name for value in values if value.name.startswith(("past_key_values.", "present."))}
    fp16.convert(graph, caches).save(path)


def to_fp16_of_waves(full: Path, path: Path, calibration: Sequence[Feeds]) -> None:
    """Make fp16 in which sines and cosines, and what they are computed from, stay float32."""
    fp16.convert(OnnxGraph.load(full), waves=True).save(path)


def to_int8(full: Path, path: Path, calibration: Sequence[Feeds], fixed: bool = True) -> None:
    """Make int8 weights and activations: for graphs that run many rows at once. `fixed`: see `_with_int8_products`."""
    _with_int8_products(full, path, calibration, 0.0, fixed).save(path)


def _with_int8_products(
    full: Path, path: Path, calibration: Sequence[Feeds], least_gain: float, fixed: bool
) -> OnnxGraph:
    """Load the fp32 graph with its products in int8.

    Args:
        full: the fp32 graph.
        path: where the result will be saved; what is tried is saved there too.
        calibration: the feeds.
        least_gain: see `int8.quantise`.
        fixed: fix ranges where that can be, if the graph's answers to the calibration's feeds allow it.
    """
    observed = observe(full, calibration)
    if fixed and observed:
        graph = OnnxGraph.load(full)
        int8.quantise(graph, observed, least_gain, fixed=True)
        graph.save(path)
        if _cosine(full, path, calibration) >= _LEAST_COSINE:
            return graph
    graph = OnnxGraph.load(full)
    int8.quantise(graph, observed, least_gain, fixed=False)
    return graph


def _cosine(full: Path, path: Path, feeds: Sequence[Feeds]) -> float:
    """Compute the mean cosine of a graph's outputs to those of the fp32 graph."""
    names = [value.name for value in OnnxGraph.load(full).graph.output]
    answers = (inner.values(each, names, feeds) for each in (full, path))
    return proof.Difference.worst(proof.compare(*pair) for pair in zip(*answers, strict=True)).cosine_mean


def to_int8_large(full: Path, path: Path, calibration: Sequence[Feeds], fixed: bool = True) -> None:
    """Make int8 of the products that gain by it where there are thousands of rows; as `to_int8`."""
    _with_int8_products(full, path, calibration, _LEAST_GAIN, fixed).save(path)


def to_int8_of_recordings(full: Path, path: Path, calibration: Sequence[Feeds]) -> None:
    """Make int8 of products as `to_int8_unbalanced`; with fixed ranges of convolutions over time and queries with keys.

    Without feeds, or if the graph's answers to them do not allow it: products alone. With fixed ranges of these too
    whisper-tiny.en gains 2 % of its time, and of 93 words in six recordings 4 are wrong instead of 2 (greedily).
    """
    graph = OnnxGraph.load(full)
    scores, frames = attention.find(graph), frame_convolutions.find(graph)
    if calibration:
        names = dict.fromkeys(name for each in scores for name in (each.queries, each.keys))
        pairs = ranges.observe(full, list(names), calibration)
        rows = frame_convolutions.observe(full, frames, calibration)
        int8.quantise(graph, merge=False)
        attention.quantise(graph, scores, pairs)
        frame_convolutions.quantise(graph, frames, rows)
        graph.save(path)
        if _cosine(full, path, calibration) >= _LEAST_COSINE:
            return
    to_int8_unbalanced(full, path, calibration)


def to_int8_unbalanced(full: Path, path: Path, calibration: Sequence[Feeds]) -> None:
    """Make int8 of products with a scale a row, and without balancing columns (see `seq2seq` for the reason).

    A recording's frames may be added to the distances between them, twice as many, so free dimensions are not merged.
    """
    graph = OnnxGraph.load(full)
    int8.quantise(graph, merge=False)
    graph.save(path)


def to_int8_weights(full: Path, path: Path, calibration: Sequence[Feeds]) -> None:
    """Make int8 weights in blocks: for graphs that run one row at a time."""
    graph, _ = _balanced(full, calibration, 8)
    nbits.quantise(graph, 8)
    graph.save(path)


def to_q4(full: Path, path: Path, calibration: Sequence[Feeds]) -> None:
    """Make 4-bit weights in blocks."""
    graph, read = _balanced(full, calibration, 4)
    by_activation: dict[str, list[Product]] = {}
    for product in constant_products(graph):
        by_activation.setdefault(read.get(product.activation, (product.activation, None))[0], []).append(product)
    ready: dict[tuple[str, bool], nbits.Blocks] = {}
    for activation, correlation in gptq.correlations(full, calibration):
        products = by_activation[activation]
        factors = read.get(products[0].activation, (activation, None))[1]
        factor = gptq.factor_of(correlation if factors is None else correlation / np.outer(factors, factors))
        for product in products:
            weight = graph.constant(product.weight)
            assert weight is not None
            matrix = weight if product.transposed else weight.T
            ready[product.weight, product.transposed] = gptq.quantise_blocks(matrix, factor)
    nbits.quantise(graph, 4, ready)
    graph.save(path)


_Read = Mapping[str, tuple[str, np.ndarray]]


def _balanced(full: Path, calibration: Sequence[Feeds], bits: int) -> tuple[OnnxGraph, _Read]:
    """Load the fp32 graph with its activations balanced for weights of so many bits.

    Returns:
        The graph; and what its products read -> the activation that it was, and what its columns are divided by,
        float32 (K,), for those that are balanced.
    """
    observed = observe(full, calibration)
    graph = OnnxGraph.load(full)
    products = constant_products(graph)

    def error(name: str, weight: np.ndarray, factors: np.ndarray) -> float:
        return nbits.error(observed[name].rows, weight, factors, bits)

    balances = balance.choose(graph, products, observed, error)
    read = balance.apply(graph, products, balances)
    return graph, {now: (name, balances[name].factors) for now, name in read.items()}


def to_int8_with_convolutions(full: Path, path: Path, calibration: Sequence[Feeds], fixed: bool = True) -> None:
    """Make int8 convolutions, with scales found on the calibration's feeds, and products as in `to_int8_large`.

    Without feeds convolutions stay float32.
    """
    original = OnnxGraph.load(full)
    plan = convolution_plan.plan(original) if calibration else convolution_plan.NOTHING
    observed = ranges.observe(full, plan.activations, calibration)
    graph = _with_int8_products(full, path, calibration, _LEAST_GAIN, fixed)
    convolutions.quantise(graph, plan, observed)
    graph.save(path)


def to_int8_of_denoiser(full: Path, path: Path, calibration: Sequence[Feeds]) -> None:
    """Make int8 of large convolutions, each by itself, and of products that gain by it; one pass over all feeds.

    Activations drift from step to step, so the feeds are of steps from the first to the last, and products have a scale
    a row.
    """
    plan = convolution_plan.alone(OnnxGraph.load(full))
    observed = ranges.observe(full, plan.activations, calibration, at_once=len(plan.activations))
    graph = _with_int8_products(full, path, calibration, _LEAST_GAIN, fixed=False)
    convolutions.quantise(graph, plan, observed)
    graph.save(path)


def to_int8_for_waveforms(full: Path, path: Path, calibration: Sequence[Feeds], fixed: bool = True) -> None:
    """Make int8 weights of convolutions; products as in `to_int8_large`."""
    graph = _with_int8_products(full, path, calibration, _LEAST_GAIN, fixed)
    convolution_weights.quantise(graph)
    graph.save(path)


BY_ROWS: Mapping[Maker, Maker] = {
    maker: partial(maker, fixed=False)
    for maker in (to_int8, to_int8_large, to_int8_with_convolutions, to_int8_for_waveforms)
} | {to_int8_of_recordings: to_int8_unbalanced}
"""What makes int8 with fixed ranges -> what gives each row a scale, for models whose certificate refuses them."""


ENCODER: Mapping[str, Maker] = {"fp32": keep, "fp16": to_fp16, "int8": to_int8}
"""For graphs that take a whole text at once."""

DECODER: Mapping[str, Maker] = {"fp32": keep, "fp16": to_fp16_with_caches, "int8": to_int8_weights, "q4": to_q4}
"""For graphs that take one token at a time."""

RECORDING: Mapping[str, Maker] = {"fp32": keep, "fp16": to_fp16, "int8": to_int8_of_recordings}
"""For graphs that take a whole recording at once."""

SPECTROGRAM: Mapping[str, Maker] = {"fp32": keep, "fp16": to_fp16, "int8": to_int8_large}
"""For graphs that take a spectrogram as an image: few convolutions, and narrow products at its many places."""

VISION: Mapping[str, Maker] = {"fp32": keep, "fp16": to_fp16, "int8": to_int8_with_convolutions}
"""For graphs that take images."""

WAVEFORM: Mapping[str, Maker] = {"fp32": keep, "fp16": to_fp16, "int8": to_int8_for_waveforms}
"""For graphs whose convolutions compute a waveform."""

VISION_ENCODER: Mapping[str, Maker] = {**VISION, "q4": to_int8_with_convolutions}
"""For the images of a model that generates: 4-bit weights are slow with many rows, so a q4 bundle has an int8 one."""

EMBEDDING: Mapping[str, Maker] = {"fp32": keep, "fp16": to_fp16, "int8": to_int8_weights, "q4": to_int8_weights}
"""For a vocabulary's embeddings: rows that are looked up, in blocks with 8 bits."""

FULL: Mapping[str, Maker] = {"fp32": keep}
"""For graphs that decide by a threshold and take no time."""

IMAGE_CODER: Mapping[str, Maker] = {"fp32": keep, "fp16": to_fp16}
"""For a VAE, whose rounding would be seen in the image, and which is convolutions for the most part."""

DENOISER: Mapping[str, Maker] = {"fp32": keep, "fp16": to_fp16_of_waves, "int8": to_int8_of_denoiser}
"""For graphs that run once a step on thousands of places, and take the step as sines of it."""
