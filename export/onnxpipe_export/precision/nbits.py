"""Quantise weights to 4 or 8 bits with arithmetic in float32 or on 8-bit activations: MatMulNBits.

For every product of an activation X (..., K) with a constant weight W (K, N), each column of W is cut into blocks of 32
rows with a scale s each, and stored as unsigned numbers around a middle of 2^(bits-1):

    W ~ (q - middle) s

ONNX Runtime's kernel reads the small weights directly from memory, which takes most of the time of a single token: a
llama of 135M parameters decodes 35 tokens/s in fp32, 83 with 8 bits and 110 with 4, while the per-row MatMulInteger of
`int8.py`, better for many rows at once, is not faster than fp32 there. Accuracy level 4 lets the kernel quantise
activations to 8 bits by blocks of 32 of a row, so a row's answer depends on that row alone.

A block's scale is the one of several candidates with the least squared error: with 4 bits it may be better to clip the
largest number of a block than to round all others coarsely. Source of the format: ONNX Runtime's ContribOperators.md,
com.microsoft.MatMulNBits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.precision.int8 import constant_products, quantise_columns, read_tables

BLOCK = 32
"""Rows of a weight that share a scale. With blocks of 128 answers depended on the batch."""
_ACCURACY = 4
_TINY = np.float32(1e-30)
_SHRINKS = {4: (1.0, 0.95, 0.9, 0.85, 0.8), 8: (1.0,)}
"""Factors tried on the scale that covers a block's largest number."""
_COLUMNS_AT_ONCE = 4096
_DOMAIN = "com.microsoft"


@dataclass(frozen=True)
class Blocks:
    """A quantised weight.

    Attributes:
        values: uint8 (N, blocks, bytes of a block), the lower half of a byte first.
        scales: float32 (N, blocks).
    """

    values: np.ndarray
    scales: np.ndarray


def quantise(graph: OnnxGraph, bits: int, ready: Mapping[tuple[str, bool], Blocks] | None = None) -> None:
    """Rewrite `graph`, a tidy fp32 graph, in place; vocabularies become int8 with scales by blocks too.

    Args:
        graph: the graph.
        bits: 4 or 8.
        ready: weights that have been quantised already, by name and whether they are stored transposed.
    """
    _quantise_tables(graph)
    stored: dict[tuple[str, bool], tuple[str, str]] = {}
    replacements: dict[int, list[Any]] = {}
    for product in constant_products(graph):
        weight = graph.constant(product.weight)
        assert weight is not None
        matrix = weight if product.transposed else weight.T
        key = (product.weight, product.transposed)
        if key not in stored:
            blocks = (ready or {}).get(key) or quantise_blocks(matrix, bits)
            stored[key] = (
                graph.add_constant(f"{product.weight}_q{bits}", blocks.values),
                graph.add_constant(f"{product.weight}_scales", blocks.scales),
            )
        node = graph.graph.node[product.index]
        replacements[product.index] = _nodes(graph, node, stored[key], matrix.shape, bits)
    graph.replace_nodes(replacements)
    graph.need_domain(_DOMAIN)
    graph.tidy()


def quantise_blocks(matrix: np.ndarray, bits: int) -> Blocks:
    """Quantise a weight with one scale for each 32 numbers of a row.

    Args:
        matrix: float32 (N, K), one row an output column.
        bits: 4 or 8.
    """
    parts = [_quantise_rows(matrix[at : at + _COLUMNS_AT_ONCE], bits) for at in range(0, len(matrix), _COLUMNS_AT_ONCE)]
    return Blocks(np.concatenate([part.values for part in parts]), np.concatenate([part.scales for part in parts]))


def dequantise(blocks: Blocks, bits: int, width: int) -> np.ndarray:
    """Dequantise as the kernel does: float32 (N, `width`)."""
    values = blocks.values
    if bits == 4:
        values = np.stack([values & 15, values >> 4], axis=-1).reshape(*values.shape[:2], BLOCK)
    numbers = (values.astype(np.float32) - (1 << (bits - 1))) * blocks.scales[..., None]
    return np.asarray(numbers.reshape(len(numbers), -1)[:, :width])


def round_activation(rows: np.ndarray) -> np.ndarray:
    """Round rows (M, K) as the kernel does at accuracy level 4: to 8 bits with one scale for 32 numbers of a row."""
    count, width = rows.shape
    blocks = np.pad(rows, ((0, 0), (0, -width % BLOCK))).reshape(count, -1, BLOCK)
    scales = np.maximum(np.abs(blocks).max(axis=-1, keepdims=True) / np.float32(127), _TINY)
    return np.asarray((np.rint(blocks / scales) * scales).reshape(count, -1)[:, :width])


def pack(values: np.ndarray, scales: np.ndarray, bits: int) -> Blocks:
    """Pack whole numbers around 0, (N, blocks, 32), into bytes."""
    unsigned = (values + (1 << (bits - 1))).astype(np.uint8)
    stored = unsigned if bits == 8 else unsigned[..., ::2] | (unsigned[..., 1::2] << 4)
    return Blocks(np.asarray(stored, np.uint8), scales)


def _quantise_rows(matrix: np.ndarray, bits: int) -> Blocks:
    count, width = matrix.shape
    padded = np.pad(matrix.astype(np.float32), ((0, 0), (0, -width % BLOCK))).reshape(count, -1, BLOCK)
    scales, values = _best(padded, bits, 1 << (bits - 1))
    return pack(values, scales, bits)


def _best(blocks: np.ndarray, bits: int, middle: int) -> tuple[np.ndarray, np.ndarray]:
    """Find scales (N, blocks) and whole numbers (N, blocks, 32) in -middle..middle-1 with the least squared error."""
    at = np.abs(blocks).argmax(axis=-1, keepdims=True)
    largest = np.take_along_axis(blocks, at, axis=-1)[..., 0]
    # -8..7 reaches one further below 0, so the sign of the scale puts the largest number there.
    whole = -largest / middle if bits == 4 else np.abs(largest) / (middle - 1)
    whole = np.where(np.abs(whole) < _TINY, _TINY, whole).astype(np.float32)
    best, scales, values = None, whole, blocks
    for shrink in _SHRINKS[bits]:
        scale = whole * np.float32(shrink)
        numbers = np.clip(np.rint(blocks / scale[..., None]), -middle, middle - 1)
        error = np.square(numbers * scale[..., None] - blocks).sum(axis=-1)
        if best is None:
            best, scales, values = error, scale, numbers
            continue
        better = error < best
        best = np.where(better, error, best)
        scales = np.where(better, scale, scales)
        values = np.where(better[..., None], numbers, values)
    return scales.astype(np.float32), values


def _quantise_tables(graph: OnnxGraph) -> None:
    """Store vocabularies that Gather reads by row as int8 with a scale for each 32 numbers of a row.

    With one scale a row, as in `int8.py`, this was most of the error of stories15M at 8 bits (cosine 0.9989, not
    0.9996).
    """
    import onnx

    stored: dict[str, tuple[str, str]] = {}
    replacements: dict[int, list[Any]] = {}
    for index, table in read_tables(graph):
        node = graph.graph.node[index]
        name, ids, output = node.input[0], node.input[1], node.output[0]
        if name not in stored:
            blocks = np.pad(table, ((0, 0), (0, -table.shape[1] % BLOCK))).reshape(-1, BLOCK)
            columns, scales = quantise_columns(blocks.T)
            stored[name] = (
                graph.add_constant(f"{name}_int8", columns.T.reshape(len(table), -1, BLOCK)),
                graph.add_constant(f"{name}_scale", scales.reshape(len(table), -1, 1)),
            )
        rows, real, scale, wide, shape, whole, padded = (
            graph.fresh(f"{output}/{part}") for part in ("rows", "float", "scale", "wide", "shape", "whole", "padded")
        )
        last = graph.add_constant(f"{output}/last", np.array([-1], np.int64))
        replacements[index] = [
            graph.node("Gather", [stored[name][0], ids], rows, axis=0),
            graph.node("Cast", [rows], real, to=onnx.TensorProto.FLOAT),
            graph.node("Gather", [stored[name][1], ids], scale, axis=0),
            graph.node("Mul", [real, scale], wide),
            graph.node("Shape", [ids], shape),
            graph.node("Concat", [shape, last], whole, axis=0),
        ]
        if table.shape[1] % BLOCK == 0:
            replacements[index].append(graph.node("Reshape", [wide, whole], output))
            continue
        bounds = [graph.add_constant(f"{output}/{part}", np.array([value], np.int64))
                  for part, value in (("start", 0), ("end", table.shape[1]))]  # fmt: skip
        replacements[index] += [
            graph.node("Reshape", [wide, whole], padded),
            graph.node("Slice", [padded, *bounds, last], output),
        ]
    graph.replace_nodes(replacements)


def _nodes(graph: OnnxGraph, node: Any, stored: tuple[str, str], shape: tuple[int, ...], bits: int) -> list[Any]:
    """Make the replacement of `node`: the product, and the Add of a Gemm's bias."""
    output = node.output[0]
    bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
    product = graph.fresh(f"{output}/unbiased") if bias else output
    new = [
        graph.node(
            "MatMulNBits", [node.input[0], *stored], product, domain=_DOMAIN,
            N=shape[0], K=shape[1], bits=bits, block_size=BLOCK, accuracy_level=_ACCURACY,
        )
    ]  # fmt: skip
    return new if bias is None else [*new, graph.node("Add", [product, bias], output)]
