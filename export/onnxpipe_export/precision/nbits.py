"""Quantise weights to 4 or 8 bits with arithmetic in float32 or on 8-bit activations: MatMulNBits.

For every product of an activation X (..., K) with a constant weight W (K, N), each column of W is cut into blocks of
rows with a scale s each, and stored as unsigned numbers around a middle of 2^(bits-1):

    W ~ (q - middle) s

ONNX Runtime's kernel reads the small weights directly from memory, which takes most of the time of a single token: a
llama of 135M parameters decodes 35 tokens/s in fp32, 83 with 8 bits and 110 with 4, while the per-row MatMulInteger of
`int8.py`, better for many rows at once, is not faster than fp32 there. Accuracy level 4 lets the kernel quantise
activations to 8 bits by the same blocks of a row, so a row's answer depends on that row alone.

A scale is stored in half precision and cast when the graph is loaded, so that a weight of 4 bits takes 4.5. A
vocabulary whose embeddings are the weight of the last product too is stored once, in the product's blocks.

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
from onnxpipe_export.precision.products import Product, constant_products, read_tables

BLOCK = 32
"""Rows of a weight that share a scale with 4 bits, and with 8 where it cannot be cut into wide blocks."""
_WIDE_BLOCK = 64
"""Rows of a weight of 8 bits that share a scale. Beside blocks of 32 a step of SmolLM2-135M-Instruct takes 0.93 of the
time, one of eight rows 0.89, a prompt of 512 tokens 0.90, and of 604 tokens it chooses 97.0 % as the original does, not
97.4 % (divergence 0.0039, not 0.0024). With blocks of 128, or of 64 with 4 bits, answers depended on the batch."""
_ACCURACY = 4
_TINY = np.float32(1e-30)
_LEAST = np.float16(6e-8)
"""The smallest positive number of half precision."""
_SHRINKS = {4: (1.0, 0.95, 0.9, 0.85, 0.8), 8: (1.0,)}
"""Factors tried on the scale that covers a block's largest number."""
_COLUMNS_AT_ONCE = 4096
_DOMAIN = "com.microsoft"
_FLOAT = 1
"""ONNX's number of float32."""
_SAME = 1e-5
"""The relative difference of float32 numbers that were multiplied and divided by the same factor."""


@dataclass(frozen=True)
class Blocks:
    """A quantised weight.

    Attributes:
        values: uint8 (N, blocks, bytes of a block), the lower half of a byte first.
        scales: float16 (N, blocks).
    """

    values: np.ndarray
    scales: np.ndarray


@dataclass(frozen=True)
class _Stored:
    """A quantised weight in a graph: its initializers, the bits of a number, and the numbers of a block."""

    values: str
    scales: str
    bits: int
    block: int


def quantise(graph: OnnxGraph, bits: int, ready: Mapping[tuple[str, bool], Blocks] | None = None) -> None:
    """Rewrite `graph`, a tidy fp32 graph, in place.

    Vocabularies have 8 bits, and so has the last product where its weight is one.

    Args:
        graph: the graph.
        bits: 4 or 8.
        ready: weights that have been quantised already, by name and whether they are stored transposed.
    """
    stored: dict[tuple[str, bool], _Stored] = {}
    wide: dict[tuple[str, bool], str] = {}
    vocabularies = {graph.graph.node[index].input[0]: table for index, table in read_tables(graph)}
    shared: dict[str, tuple[_Stored, np.ndarray | None]] = {}
    replacements: dict[int, list[Any]] = {}
    for product in constant_products(graph):
        replacements[product.index] = new = []
        key = (product.weight, product.transposed)
        if key not in stored:
            matrix = _matrix(graph, *key)
            tied = {name: columns for name, table in vocabularies.items()
                    if (columns := _columns_between(matrix, table)) is not None}  # fmt: skip
            blocks = quantise_blocks(matrix, 8) if tied else (ready or {}).get(key) or quantise_blocks(matrix, bits)
            stored[key] = _store(graph, product.weight, blocks, 8 if tied else bits)
            shared.update({name: (stored[key], columns) for name, columns in tied.items()})
            wide[key] = graph.fresh(f"{stored[key].scales}/float")
            new.append(graph.node("Cast", [stored[key].scales], wide[key], to=_FLOAT))
        new += _product(graph, product, stored[key], wide[key])
    graph.replace_nodes(replacements)
    _quantise_tables(graph, shared)
    graph.need_domain(_DOMAIN)
    graph.tidy()


def _matrix(graph: OnnxGraph, weight: str, transposed: bool) -> np.ndarray:
    """Read a product's weight as float32 (N, K)."""
    value = graph.constant(weight)
    assert value is not None
    return value if transposed else value.T


def _store(graph: OnnxGraph, name: str, blocks: Blocks, bits: int) -> _Stored:
    values = graph.add_constant(f"{name}_q{bits}", blocks.values)
    block = blocks.values.shape[-1] * 8 // bits
    return _Stored(values, graph.add_constant(f"{name}_scales", blocks.scales), bits, block)


def block_size(bits: int, width: int) -> int:
    """Return how many rows of a weight of `width` rows share a scale."""
    return BLOCK if bits == 4 or width % _WIDE_BLOCK else _WIDE_BLOCK


def quantise_blocks(matrix: np.ndarray, bits: int) -> Blocks:
    """Quantise a weight with one scale for each block of a row.

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
        values = np.stack([values & 15, values >> 4], axis=-1).reshape(*values.shape[:2], -1)
    numbers = (values.astype(np.float32) - (1 << (bits - 1))) * blocks.scales[..., None].astype(np.float32)
    return np.asarray(numbers.reshape(len(numbers), -1)[:, :width])


def round_activation(rows: np.ndarray, block: int) -> np.ndarray:
    """Round rows (M, K) as the kernel does at accuracy level 4: to 8 bits with one scale for each block of a row."""
    count, width = rows.shape
    blocks = np.pad(rows, ((0, 0), (0, -width % block))).reshape(count, -1, block)
    scales = np.maximum(np.abs(blocks).max(axis=-1, keepdims=True) / np.float32(127), _TINY)
    return np.asarray((np.rint(blocks / scales) * scales).reshape(count, -1)[:, :width])


def pack(values: np.ndarray, scales: np.ndarray, bits: int) -> Blocks:
    """Pack whole numbers around 0, (N, blocks, numbers of a block), into bytes."""
    unsigned = (values + (1 << (bits - 1))).astype(np.uint8)
    stored = unsigned if bits == 8 else unsigned[..., ::2] | (unsigned[..., 1::2] << 4)
    return Blocks(np.asarray(stored, np.uint8), scales.astype(np.float16))


def half(scales: np.ndarray) -> np.ndarray:
    """Round scales to the nearest that half precision has, but not to 0."""
    rounded = scales.astype(np.float16)
    return np.where(rounded == 0, np.copysign(_LEAST, scales), rounded).astype(np.float32)


def _quantise_rows(matrix: np.ndarray, bits: int) -> Blocks:
    count, width = matrix.shape
    block = block_size(bits, width)
    padded = np.pad(matrix.astype(np.float32), ((0, 0), (0, -width % block))).reshape(count, -1, block)
    scales, values = _best(padded, bits, 1 << (bits - 1))
    return pack(values, scales, bits)


def _best(blocks: np.ndarray, bits: int, middle: int) -> tuple[np.ndarray, np.ndarray]:
    """Find scales (N, blocks) and whole numbers in -middle..middle-1, as `blocks`, with the least squared error."""
    at = np.abs(blocks).argmax(axis=-1, keepdims=True)
    largest = np.take_along_axis(blocks, at, axis=-1)[..., 0]
    # -8..7 reaches one further below 0, so the sign of the scale puts the largest number there.
    whole = -largest / middle if bits == 4 else np.abs(largest) / (middle - 1)
    whole = np.where(np.abs(whole) < _TINY, _TINY, whole).astype(np.float32)
    best, scales = np.full(whole.shape, np.inf, np.float32), half(whole)
    exact, rounded = np.empty_like(blocks), np.empty_like(blocks)
    for shrink in _SHRINKS[bits] if len(_SHRINKS[bits]) > 1 else ():
        scale = half(whole * np.float32(shrink))
        np.divide(blocks, scale[..., None], out=exact)
        np.clip(np.rint(exact, out=rounded), -middle, middle - 1, out=rounded)
        rounded -= exact
        error = np.einsum("nbi,nbi->nb", rounded, rounded) * np.square(scale)
        better = error < best
        best, scales = np.where(better, error, best), np.where(better, scale, scales)
    np.clip(np.rint(np.divide(blocks, scales[..., None], out=exact), out=rounded), -middle, middle - 1, out=rounded)
    return scales, rounded


def _quantise_tables(graph: OnnxGraph, shared: Mapping[str, tuple[_Stored, np.ndarray | None]]) -> None:
    """Store vocabularies that Gather reads by row in blocks of 8 bits, those of a product where they are `shared`.

    With one scale a row, as in `int8.py`, this was most of the error of stories15M at 8 bits (cosine 0.9989, not
    0.9996).
    """
    stored = dict(shared)
    replacements: dict[int, list[Any]] = {}
    for index, table in read_tables(graph):
        node = graph.graph.node[index]
        name = node.input[0]
        if name not in stored:
            stored[name] = _store(graph, name, quantise_blocks(table, 8), 8), None
        replacements[index] = _rows(graph, node, *stored[name], table.shape[1])
    graph.replace_nodes(replacements)


def _columns_between(matrix: np.ndarray, table: np.ndarray) -> np.ndarray | None:
    """Find the factor of each column, float32 (K,), by which a product's weight is a vocabulary (see `balance`).

    Returns:
        None if it is another weight.
    """
    if matrix.shape != table.shape:
        return None
    at = (np.abs(table).argmax(axis=0), np.arange(table.shape[1]))
    columns = np.divide(matrix[at], table[at], out=np.ones_like(table[0]), where=table[at] != 0)
    return columns if columns.all() and np.allclose(matrix, table * columns, rtol=_SAME, atol=0) else None


def _rows(graph: OnnxGraph, node: Any, stored: _Stored, columns: np.ndarray | None, width: int) -> list[Any]:
    """Make the replacement of a Gather of a vocabulary's rows: numbers and scales are gathered, and multiplied."""
    ids, output = node.input[1], node.output[0]
    new: list[Any] = []

    def made(kind: str, *inputs: str, **attributes: Any) -> str:
        name = graph.fresh(f"{output}/{kind.lower()}")
        new.append(graph.node(kind, inputs, name, **attributes))
        return name

    def constant(value: Any, dtype: Any = np.int64) -> str:
        return graph.add_constant(f"{output}/constant", np.asarray(value, dtype))

    numbers = made("Cast", made("Gather", stored.values, ids, axis=0), to=_FLOAT)
    numbers = made("Sub", numbers, constant(1 << (stored.bits - 1), np.float32))
    scales = made("Cast", made("Gather", stored.scales, ids, axis=0), to=_FLOAT)
    blocks = made("Mul", numbers, made("Unsqueeze", scales, constant([-1])))
    row = made("Reshape", blocks, made("Concat", made("Shape", ids), constant([-1]), axis=0))
    if width % stored.block:
        row = made("Slice", row, constant([0]), constant([width]), constant([-1]))
    if columns is not None and (columns != 1).any():
        made("Mul", row, constant(1 / columns, np.float32))
    new[-1].output[0] = output
    return new


def _product(graph: OnnxGraph, product: Product, weight: _Stored, scales: str) -> list[Any]:
    """Make the replacement of a product: itself, and the Add of a Gemm's bias."""
    node = graph.graph.node[product.index]
    columns, rows = product.shape if product.transposed else product.shape[::-1]
    output = node.output[0]
    bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
    result = graph.fresh(f"{output}/unbiased") if bias else output
    new = [
        graph.node(
            "MatMulNBits", [node.input[0], weight.values, scales], result, domain=_DOMAIN,
            N=columns, K=rows, bits=weight.bits, block_size=weight.block, accuracy_level=_ACCURACY,
        )
    ]  # fmt: skip
    return new if bias is None else [*new, graph.node("Add", [result, bias], output)]


def error(rows: np.ndarray, weight: np.ndarray, factors: np.ndarray, bits: int) -> float:
    """Measure the relative squared error of the product of rows (rows, K) with a weight (columns, K), mean over rows.

    Args:
        rows: of the activation.
        weight: columns of the weight.
        factors: what the activation's columns are divided and the weight's are multiplied by, float32 (K,).
        bits: the weight's.
    """
    exact = rows @ weight.T
    width = weight.shape[1]
    rounded = dequantise(quantise_blocks(weight * factors, bits), bits, width)
    off = round_activation(rows / factors, block_size(bits, width)) @ rounded.T - exact
    return float((np.square(off).sum(axis=1) / (np.square(exact).sum(axis=1) + _TINY)).mean())
