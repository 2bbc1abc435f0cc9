"""Quantise to int8 dynamically with one scale per row, from standard operators only.

For every product of an activation X (..., K) with a constant weight W (K, N):

    s = max|X| over K / 127             one scale per row (token)
    q = round(X / s) + 128              uint8, zero point 128
    Y = ((q - 128) Wq) * s * w          MatMulInteger, exact in int32; w: one scale per output column

QuantizeLinear and DequantizeLinear take one scale per row when the rows are an axis of their own, so X is reshaped to a
matrix first and Y gets its axes back; in one pass each they do what Div, Add, Cast and Cast, Mul do in five (12 % of
the time of all-MiniLM-L6-v2 at 128 tokens).

A row's scale depends on that row alone, so an answer does not depend on the rest of the batch; with the usual
DynamicQuantizeLinear, which takes one scale for the whole tensor, it does. Products of two activations (attention) stay
in float32. Word embeddings are stored as int8 rows with a scale each.

Before that, the columns of X and the rows of W are balanced (SmoothQuant, Xiao et al. 2022, with exponent 0.5), since a
few columns of X are far larger than the rest and would use up the 127 steps: on all-MiniLM-L6-v2 the mean cosine of
sentence embeddings to fp32 is 0.9986 with it and 0.9965 without.

Activations are uint8 and weights int8, because that is the one pair with a fast kernel in ONNX Runtime on x86 (128 x
384 x 1536, one thread, AVX512-VNNI, 1.31.1: 0.5 ms; uint8 by uint8 2 ms, int8 by int8 and int8 by uint8 14-30 ms).
x86 without VNNI adds pairs of these products in 16 bits, which can saturate: run `onnxpipe verify` on such a machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.optimise import Shape, symbolic_shapes
from onnxpipe_export.precision import inner

_LEVELS = 127.0
_ZERO_POINT = 128
_TINY = np.float32(1e-30)
"""Stands for the largest value of a row of zeros, so that its scale is not 0/0."""
_FEWEST_COLUMNS = 32
"""Weights with fewer columns (a classifier's last layer) stay float32: no time to gain, and they decide the answer."""
_LARGE_TABLE = 1000
"""The fewest rows of a table that is a vocabulary, and is stored as int8."""
_MOST_BALANCE = 64.0
"""A column is scaled at most by this factor, so that one that is 0 in the calibration does not ruin the others."""

_FEWEST_ROWS = 1 / 8
"""An activation with fewer calibration rows for each of its columns is not balanced, as its columns are not known well
enough. The pooled vector of resnet-50, calibrated with 16 images, changed the decision on 4 photos of 100 balanced and
on 1 unbalanced."""

Peaks = Mapping[str, np.ndarray]
"""Activation -> largest magnitude in each of its columns, float32 (K,)."""


@dataclass(frozen=True)
class _Rows:
    """Names of a quantised activation: `values` uint8 (M, K), `scales` (M,), `shape` its axes before the last."""

    values: str
    scales: str
    shape: str


@dataclass(frozen=True)
class _Frame:
    """Names of what activations of one shape share: `shape` the axes before the last, `zeros` zero points (M,)."""

    shape: str
    zeros: str


@dataclass(frozen=True)
class _Weight:
    """Names of a quantised weight: `values` int8 (K, N), `scales` (N,), `width` the vector [N]."""

    values: str
    scales: str
    width: str


@dataclass(frozen=True)
class Product:
    """A MatMul or Gemm to quantise: its index, and its weight as stored (`transposed`: as (N, K)), of this shape."""

    index: int
    activation: str
    weight: str
    transposed: bool
    shape: tuple[int, ...]

    @property
    def gain(self) -> float:
        """Multiplications, K N a row, for each of the K + N numbers that have to be converted to or from 8 bits."""
        return self.shape[0] * self.shape[1] / (self.shape[0] + self.shape[1])


def quantise(graph: OnnxGraph, peaks: Peaks | None = None, least_gain: float = 0.0, *, merge: bool = True) -> None:
    """Rewrite `graph`, a tidy fp32 graph, to int8 in place.

    Args:
        graph: the graph.
        peaks: from `measure_peaks`, to balance columns; None to leave them unbalanced.
        least_gain: products of a smaller `Product.gain` stay float32.
        merge: see `symbolic_shapes`.
    """
    shapes = symbolic_shapes(graph, merge=merge)
    quantise_embeddings(graph)
    products = [product for product in constant_products(graph) if product.gain >= least_gain]
    _quantise_products(graph, products, peaks or {}, shapes)
    graph.tidy()


def quantise_some(graph: OnnxGraph, activations: Collection[str]) -> None:
    """Quantise only the products of these activations, in place; all else stays float32, embeddings too."""
    products = [product for product in constant_products(graph) if product.activation in activations]
    _quantise_products(graph, products, {}, symbolic_shapes(graph))
    graph.tidy()


def measure_peaks(path: Path, feeds: Iterable[Mapping[str, np.ndarray]], scratch: Path) -> dict[str, np.ndarray]:
    """Run the fp32 graph at `path` and note the largest magnitudes of the activations that will be quantised.

    Args:
        path: the graph, saved tidy, so that names are those that `quantise` will find.
        feeds: inputs to run it on; without padding.
        scratch: an empty folder for the graph with these activations as outputs.
    """
    names = list(dict.fromkeys(product.activation for product in constant_products(OnnxGraph.load(path))))
    if not names:
        return {}
    peaks: dict[str, np.ndarray] = {}
    rows: Counter[str] = Counter()
    for values in inner.values(path, names, feeds, scratch):
        for name, value in values.items():
            matrix = np.abs(value).reshape(-1, value.shape[-1])
            largest = matrix.max(axis=0)
            peaks[name] = np.maximum(peaks.get(name, largest), largest)
            rows[name] += len(matrix)
    return {name: largest for name, largest in peaks.items() if rows[name] >= _FEWEST_ROWS * len(largest)}


def quantise_columns(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantise a weight with one symmetric scale per column.

    Args:
        weight: float (K, N).

    Returns:
        int8 (K, N) and float32 scales (N,), with weight ~ int8 * scales.
    """
    scales = np.maximum(np.abs(weight).max(axis=0), _TINY).astype(np.float32) / np.float32(_LEVELS)
    return np.clip(np.rint(weight / scales), -_LEVELS, _LEVELS).astype(np.int8), scales


def constant_products(graph: OnnxGraph) -> list[Product]:
    """List every MatMul and Gemm with a constant float32 matrix worth quantising, in order."""
    products = []
    for index, node in enumerate(graph.graph.node):
        if node.op_type not in ("MatMul", "Gemm"):
            continue
        weight = graph.constant(node.input[1])
        if weight is None or weight.ndim != 2 or weight.dtype != np.float32:
            continue
        attributes = {attribute.name: attribute for attribute in node.attribute}
        plain = all(attributes[name].f == 1.0 for name in ("alpha", "beta") if name in attributes)
        if plain and not ("transA" in attributes and attributes["transA"].i):
            transposed = "transB" in attributes and bool(attributes["transB"].i)
            if weight.shape[0 if transposed else 1] >= _FEWEST_COLUMNS:
                products.append(Product(index, node.input[0], node.input[1], transposed, weight.shape))
    return products


def _quantise_products(graph: OnnxGraph, products: list[Product], peaks: Peaks, shapes: Mapping[str, Shape]) -> None:
    """Replace the products; all readers of one activation share its quantised form, all users of a weight its copy."""
    balances = _balances(graph, products, peaks)
    rows: dict[str, _Rows] = {}
    frames: dict[Shape, _Frame] = {}
    weights: dict[tuple[str, bool], _Weight] = {}
    replacements: dict[int, list[Any]] = {}
    for product in products:
        new: list[Any] = []
        balance = balances.get(product.activation)
        if product.activation not in rows:
            leading = shapes.get(product.activation, (product.activation,))[:-1]
            rows[product.activation] = _quantised_rows(graph, product.activation, balance, frames, leading, new)
        key = (product.weight, product.transposed)
        if key not in weights:
            weights[key] = _stored_weight(graph, product, balance)
        _compute(graph, graph.graph.node[product.index], rows[product.activation], weights[key], new)
        replacements[product.index] = new
    graph.replace_nodes(replacements)


def _balances(graph: OnnxGraph, products: list[Product], peaks: Peaks) -> dict[str, np.ndarray]:
    """Compute each activation's balance: its columns are divided and its weights' rows multiplied by it, float32 (K,).

    Activations that share a weight (ALBERT's layers) get the same balance, so that the weight is stored once.
    """
    groups: dict[str, set[str]] = {product.activation: {product.activation} for product in products}
    by_weight: dict[str, str] = {}
    for product in products:
        first = by_weight.setdefault(product.weight, product.activation)
        if groups[first] is not groups[product.activation]:
            groups[first] |= groups[product.activation]
            for name in groups[product.activation]:
                groups[name] = groups[first]
    balances: dict[str, np.ndarray] = {}
    for product in products:
        group = groups[product.activation]
        if product.activation in balances or not group <= peaks.keys():
            continue
        matrices = {
            (other.weight, other.transposed): _matrix(graph, other) for other in products if other.activation in group
        }
        column = np.maximum.reduce([peaks[name] for name in group])
        row = np.maximum.reduce([np.abs(matrix).max(axis=1) for matrix in matrices.values()])
        balances.update(dict.fromkeys(group, balance(column, row)))
    return balances


def balance(column: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Compute sqrt(activation column's largest / weight row's largest) with geometric mean 1; float32 (K,)."""
    column = np.maximum(column, column.max() * 1e-6 + _TINY)
    row = np.maximum(row, row.max() * 1e-6 + _TINY)
    logarithm = 0.5 * (np.log(column) - np.log(row))
    logarithm -= logarithm.mean()
    limited = np.clip(logarithm, -np.log(_MOST_BALANCE), np.log(_MOST_BALANCE))
    return np.asarray(np.exp(limited), np.float32)


def _matrix(graph: OnnxGraph, product: Product) -> np.ndarray:
    """Return the weight as (K, N)."""
    weight = graph.constant(product.weight)
    assert weight is not None
    return np.asarray(weight.T if product.transposed else weight)


def _quantised_rows(
    graph: OnnxGraph,
    name: str,
    balance: np.ndarray | None,
    frames: dict[Shape, _Frame],
    leading: Shape,
    new: list[Any],
) -> _Rows:
    """Append nodes that quantise the rows of the activation `name`, whose shape without the last axis is `leading`.

    Nodes that depend on that shape alone are made once for all activations that have it.
    """
    source = name
    if balance is not None:
        source = graph.fresh(f"{name}/balanced")
        new.append(graph.node("Mul", [name, graph.add_constant(f"{name}/balance", 1 / balance)], source))
    last = graph.add_constant(f"{name}/axis", np.array([-1], np.int64))
    tiny = graph.add_constant(f"{name}/tiny", np.array(_TINY))
    levels = graph.add_constant(f"{name}/levels", np.array(_LEVELS, np.float32))
    matrix, magnitude, largest, safe, scale, quantised = (
        graph.fresh(f"{name}/{part}") for part in ("matrix", "abs", "largest", "safe", "scale", "uint8")
    )
    new += [
        graph.node("Flatten", [source], matrix, axis=-1),
        graph.node("Abs", [matrix], magnitude),
        graph.node("ReduceMax", [magnitude, last], largest, keepdims=0),
        graph.node("Max", [largest, tiny], safe),
        graph.node("Div", [safe, levels], scale),
    ]
    if not leading or leading not in frames:
        frames[leading] = _frame(graph, name, scale, new)
    frame = frames[leading]
    new.append(graph.node("QuantizeLinear", [matrix, scale, frame.zeros], quantised, axis=0))
    return _Rows(quantised, scale, frame.shape)


def _frame(graph: OnnxGraph, name: str, scale: str, new: list[Any]) -> _Frame:
    import onnx

    zero = onnx.helper.make_tensor("zero", onnx.TensorProto.UINT8, [1], [_ZERO_POINT])
    shape, count, zeros = (graph.fresh(f"{name}/{part}") for part in ("shape", "count", "zeros"))
    new += [
        graph.node("Shape", [name], shape, end=-1),
        graph.node("Shape", [scale], count),
        graph.node("ConstantOfShape", [count], zeros, value=zero),
    ]
    return _Frame(shape, zeros)


def _stored_weight(graph: OnnxGraph, product: Product, balance: np.ndarray | None) -> _Weight:
    """Add the int8 weight and its scales."""
    matrix = _matrix(graph, product)
    quantised, scales = quantise_columns(matrix if balance is None else matrix * balance[:, None])
    return _Weight(
        graph.add_constant(f"{product.weight}_int8", quantised),
        graph.add_constant(f"{product.weight}_scale", scales),
        graph.add_constant(f"{product.weight}_width", np.array(scales.shape, np.int64)),
    )


def _compute(graph: OnnxGraph, node: Any, rows: _Rows, weight: _Weight, new: list[Any]) -> None:
    """Append nodes that compute the output of `node` from 8-bit numbers."""
    output = node.output[0]
    bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
    zero = graph.add_constant(f"{output}/zero", np.array(_ZERO_POINT, np.uint8))
    total, by_row, by_column, shape = (
        graph.fresh(f"{output}/{part}") for part in ("int32", "by_row", "by_column", "shape")
    )
    unbiased = graph.fresh(f"{output}/unbiased") if bias else output
    new += [
        graph.node("MatMulInteger", [rows.values, weight.values, zero], total),
        graph.node("DequantizeLinear", [total, rows.scales], by_row, axis=0),
        graph.node("Mul", [by_row, weight.scales], by_column),
        graph.node("Concat", [rows.shape, weight.width], shape, axis=0),
        graph.node("Reshape", [by_column, shape], unbiased),
    ]
    if bias:
        new.append(graph.node("Add", [unbiased, bias], output))


def quantise_embeddings(graph: OnnxGraph) -> None:
    """Store the large tables that Gather reads by row as int8 rows with a scale each."""
    replacements: dict[int, list[Any]] = {}
    tables: dict[str, tuple[str, str]] = {}
    for index, table in read_tables(graph):
        node = graph.graph.node[index]
        if node.input[0] not in tables:
            columns, scales = quantise_columns(table.T)
            tables[node.input[0]] = (
                graph.add_constant(f"{node.input[0]}_int8", columns.T),
                graph.add_constant(f"{node.input[0]}_scale", scales[:, None]),
            )
        stored, scales_name = tables[node.input[0]]
        output, ids = node.output[0], node.input[1]
        rows, real, scale = (graph.fresh(f"{output}/{part}") for part in ("rows", "float", "scale"))
        replacements[index] = [
            graph.node("Gather", [stored, ids], rows, axis=0),
            graph.node("Cast", [rows], real, to=_onnx_type("FLOAT")),
            graph.node("Gather", [scales_name, ids], scale, axis=0),
            graph.node("Mul", [real, scale], output),
        ]
    graph.replace_nodes(replacements)


def read_tables(graph: OnnxGraph) -> list[tuple[int, np.ndarray]]:
    """List every Gather of rows of a large constant table: the node's index and the table, float32 (rows, width)."""
    tables = []
    for index, node in enumerate(graph.graph.node):
        if node.op_type != "Gather" or any(attribute.name == "axis" and attribute.i for attribute in node.attribute):
            continue
        table = graph.constant(node.input[0])
        if table is not None and table.ndim == 2 and table.dtype == np.float32 and len(table) >= _LARGE_TABLE:
            tables.append((index, table))
    return tables


def _onnx_type(name: str) -> int:
    import onnx

    return int(getattr(onnx.TensorProto, name))
