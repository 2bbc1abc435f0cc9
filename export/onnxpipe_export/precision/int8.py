"""Quantise to int8: 8-bit weights and activations, whose scale is fixed or that of their row.

For every product of an activation X (..., K) with a constant weight W (K, N) and a bias b:

    q = round(X / s) + z                uint8
    Y = ((q - z) Wq) * s * w + b        MatMulIntegerToFloat, exact in int32; w: one scale per output column

Where X is the output of a norm or of attention, which stay within limits whatever the input is, s and z are fixed,
found on the calibration's feeds with a tenth to spare (`ranges.py`). What an activation function computes does not: its
rows differ by a hundred times (fixed, MiniLM's embeddings have a cosine of 0.95 to fp32), so each has a scale:

    s = max|X| over K / 127,  z = 128

So has a product that is too inaccurate with a fixed range, and all of a model that is (`makers.py`). Either way an
answer does not depend on the rest of the batch; with the usual DynamicQuantizeLinear, which takes one scale for the
whole tensor, it does. Products of two activations (attention) stay in float32. Word embeddings are stored as int8 rows
with a scale each.

Before that, the columns of X are balanced with the rows of W (`balance.py`) where the range is fixed, since a few are
far larger than the rest and would use up the 255 steps. Rows of activation functions are not balanced: their columns
are not known from a few hundred rows. Cosine of all-MiniLM-L6-v2's embeddings to fp32, mean and lowest of 100 texts:
0.9985 and 0.9950; every product by rows and balanced 0.9988 and 0.9960, and 8 to 10 % slower (one thread, AVX512-VNNI,
1 x 16, 1 x 128 and 8 x 32 tokens).

QuantizeLinear takes one scale per row when the rows are an axis of their own, so X is reshaped to a matrix first and Y
gets its axes back; in one pass it does what Div, Add and Cast do in three.

Activations are uint8 and weights int8, because that is the one pair with a fast kernel in ONNX Runtime on x86 (128 x
384 x 1536, one thread, AVX512-VNNI, 1.31.1: 0.5 ms; uint8 by uint8 2 ms, int8 by int8 and int8 by uint8 14-30 ms).
x86 without VNNI adds pairs of these products in 16 bits, which can saturate: run `onnxpipe verify` on such a machine.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.optimise import Shape, symbolic_shapes
from onnxpipe_export.precision import balance
from onnxpipe_export.precision.activations import Activation
from onnxpipe_export.precision.products import Product, constant_products, read_tables
from onnxpipe_export.precision.ranges import Range

_LEVELS = 127.0
_ZERO_POINT = 128
_TINY = np.float32(1e-30)
"""Stands for the largest value of a row of zeros, so that its scale is not 0/0."""
_FEWEST_ROWS = 1 / 8
"""An activation with fewer calibration rows for each of its columns is neither balanced nor fixed, as its columns are
not known well enough. The pooled vector of resnet-50, calibrated with 16 images, changed the decision on 4 photos of
100 balanced and on 1 unbalanced."""
_MOST_ERROR = 0.05
"""The largest relative error of a product with a fixed range."""
_DOMAIN = "com.microsoft"
_NORMS = frozenset({"LayerNormalization", "SimplifiedLayerNormalization"})
_VIEWS = frozenset({"Reshape", "Transpose", "Gather", "Slice", "Split", "Concat", "Flatten", "Squeeze", "Unsqueeze"})


@dataclass(frozen=True)
class _Rounded:
    """Names of a quantised activation.

    Attributes:
        values: uint8, of the activation's shape, or (M, K) where each row has a scale.
        scale, zero: what all values have in common.
        rows: the scale of each row, (M, 1); None where the range is fixed.
        shape: the activation's axes before the last; None where the range is fixed.
    """

    values: str
    scale: str
    zero: str
    rows: str | None = None
    shape: str | None = None


@dataclass(frozen=True)
class _Frame:
    """Names of what activations of one shape share: `shape` the axes before the last, `zeros` zero points (M,)."""

    shape: str
    zeros: str


def quantise(
    graph: OnnxGraph,
    observed: Mapping[str, Activation] | None = None,
    least_gain: float = 0.0,
    *,
    fixed: bool = True,
    merge: bool = True,
) -> None:
    """Rewrite `graph`, a tidy fp32 graph, to int8 in place.

    Args:
        graph: the graph.
        observed: from `observe`, to balance columns and to fix ranges; None for one scale a row and no balance.
        least_gain: products of a smaller `Product.gain` stay float32.
        fixed: whether activations that suit it get a fixed range; if not, all are balanced and have a scale a row.
        merge: see `symbolic_shapes`.
    """
    quantise_embeddings(graph)
    known = {name: one for name, one in (observed or {}).items() if one.count >= _FEWEST_ROWS * len(one.low)}
    settled = _settled(graph) if fixed else set()
    products = _products(graph, least_gain)
    known |= _balance(graph, [one for one in products if not fixed or one.activation in settled], known)
    shapes = symbolic_shapes(graph, merge=merge)
    _quantise_products(graph, _products(graph, least_gain), known if fixed else {}, shapes)
    graph.tidy()


def _products(graph: OnnxGraph, least_gain: float) -> list[Product]:
    return [product for product in constant_products(graph) if product.gain >= least_gain]


def quantise_some(graph: OnnxGraph, activations: Collection[str]) -> None:
    """Quantise only the products of these activations, in place; all else stays float32, embeddings too."""
    products = [product for product in constant_products(graph) if product.activation in activations]
    _quantise_products(graph, products, {}, symbolic_shapes(graph))
    graph.tidy()


def quantise_columns(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantise a weight with one symmetric scale per column.

    Args:
        weight: float (K, N).

    Returns:
        int8 (K, N) and float32 scales (N,), with weight ~ int8 * scales.
    """
    scales = np.maximum(np.abs(weight).max(axis=0), _TINY).astype(np.float32) / np.float32(_LEVELS)
    return np.clip(np.rint(weight / scales), -_LEVELS, _LEVELS).astype(np.int8), scales


def _balance(graph: OnnxGraph, products: list[Product], known: Mapping[str, Activation]) -> dict[str, Activation]:
    """Balance the products in place, and return how the activations that they read now are."""
    chosen = balance.smooth(graph, products, known)
    read = balance.apply(graph, products, chosen)
    return {name: known[before].divided(chosen[before].factors) for name, before in read.items()}


def error(one: Activation, weight: np.ndarray) -> float:
    """Compute the relative error of the product with a weight (columns, K) where the activation has one range."""
    scale, zero = one.range.scale, one.range.zero
    rounded = (np.clip(np.rint(one.rows / scale) + zero, 0, 255) - zero) * scale
    stored, scales = quantise_columns(weight.T)
    exact = one.rows @ weight.T
    off = rounded @ (stored * scales) - exact
    return float(np.sqrt((np.square(off).sum(axis=1) / (np.square(exact).sum(axis=1) + _TINY)).mean()))


def _settled(graph: OnnxGraph) -> set[str]:
    """Name the tensors that hold numbers of norms, or sums of attention: within limits whatever the input is."""
    settled: set[str] = set()
    for node in graph.graph.node:
        attends = node.op_type == "MatMul" and graph.initializer(node.input[1]) is None
        scaled = node.op_type == "Mul" and any(graph.initializer(name) is not None for name in node.input)
        passes = (scaled or node.op_type in _VIEWS) and not settled.isdisjoint(node.input)
        if node.op_type in _NORMS or attends or passes:
            settled.update(node.output)
    return settled


def _quantise_products(
    graph: OnnxGraph, products: list[Product], known: Mapping[str, Activation], shapes: Mapping[str, Shape]
) -> None:
    """Replace the products; all readers of one activation share its quantised form, all users of a weight its copy."""
    fixed = _fixed(graph, products, known)
    rounded: dict[str, _Rounded] = {}
    frames: dict[Shape, _Frame] = {}
    weights: dict[tuple[str, bool], tuple[str, str]] = {}
    added = _added_biases(graph)
    replacements: dict[int, list[Any]] = {}
    for product in products:
        new: list[Any] = []
        name, key = product.activation, (product.weight, product.transposed)
        if name in fixed and name not in rounded:
            rounded[name] = _rounded(graph, name, known[name].range, new)
        elif name not in rounded:
            leading = shapes.get(name, (name,))[:-1]
            rounded[name] = _rounded_rows(graph, name, frames, leading, new)
        if key not in weights:
            weights[key] = _stored_weight(graph, product)
        node = graph.graph.node[product.index]
        output, bias = str(node.output[0]), node.input[2] if len(node.input) > 2 else ""
        if name in fixed and not bias and output in added:
            index, output, bias = added[output]
            replacements[index] = []
        _compute(graph, output, bias, rounded[name], weights[key], new)
        replacements[product.index] = new
    graph.replace_nodes(replacements)
    if products:
        graph.need_domain(_DOMAIN)


def _fixed(graph: OnnxGraph, products: list[Product], known: Mapping[str, Activation]) -> set[str]:
    """Name the activations that get one fixed range: all their products must be good with it."""
    fixed = _settled(graph) & known.keys()
    for product in products:
        if product.activation in fixed:
            weight = balance.some_columns(graph, product)
            if error(known[product.activation], weight) > _MOST_ERROR:
                fixed.remove(product.activation)
    return fixed


def _added_biases(graph: OnnxGraph) -> dict[str, tuple[int, str, str]]:
    """Map each tensor that nothing but the Add of a constant vector reads to that node's index, output and vector."""
    consumers, outputs = graph.consumers(), graph.outputs()
    added = {}
    for index, node in enumerate(graph.graph.node):
        for name, other in (node.input, node.input[::-1]) if node.op_type == "Add" else ():
            vector = graph.initializer(other)
            if vector is not None and len(vector.dims) == 1 and len(consumers[name]) == 1 and name not in outputs:
                added[name] = index, str(node.output[0]), other
    return added


def _rounded(graph: OnnxGraph, name: str, chosen: Range, new: list[Any]) -> _Rounded:
    """Append the node that quantises the activation `name` with a fixed range."""
    scale = graph.add_constant(f"{name}/scale", np.array(chosen.scale, np.float32))
    zero = graph.add_constant(f"{name}/zero", np.array(chosen.zero, np.uint8))
    quantised = graph.fresh(f"{name}/uint8")
    new.append(graph.node("QuantizeLinear", [name, scale, zero], quantised))
    return _Rounded(quantised, scale, zero)


def _rounded_rows(graph: OnnxGraph, name: str, frames: dict[Shape, _Frame], leading: Shape, new: list[Any]) -> _Rounded:
    """Append nodes that quantise the rows of the activation `name`, whose shape without the last axis is `leading`.

    Nodes that depend on that shape alone are made once for all activations that have it.
    """
    last = graph.add_constant(f"{name}/axis", np.array([-1], np.int64))
    tiny = graph.add_constant(f"{name}/tiny", np.array(_TINY))
    levels = graph.add_constant(f"{name}/levels", np.array(_LEVELS, np.float32))
    matrix, magnitude, largest, safe, rows, scales, quantised = (
        graph.fresh(f"{name}/{part}") for part in ("matrix", "abs", "largest", "safe", "rows", "scales", "uint8")
    )
    new += [
        graph.node("Flatten", [name], matrix, axis=-1),
        graph.node("Abs", [matrix], magnitude),
        graph.node("ReduceMax", [magnitude, last], largest, keepdims=1),
        graph.node("Max", [largest, tiny], safe),
        graph.node("Div", [safe, levels], rows),
        graph.node("Squeeze", [rows, last], scales),
    ]
    if not leading or leading not in frames:
        frames[leading] = _frame(graph, name, scales, new)
    frame = frames[leading]
    new.append(graph.node("QuantizeLinear", [matrix, scales, frame.zeros], quantised, axis=0))
    one = graph.add_constant(f"{name}/scale", np.array(1, np.float32))
    zero = graph.add_constant(f"{name}/zero", np.array(_ZERO_POINT, np.uint8))
    return _Rounded(quantised, one, zero, rows, frame.shape)


def _frame(graph: OnnxGraph, name: str, scales: str, new: list[Any]) -> _Frame:
    import onnx

    zero = onnx.helper.make_tensor("zero", onnx.TensorProto.UINT8, [1], [_ZERO_POINT])
    shape, count, zeros = (graph.fresh(f"{name}/{part}") for part in ("shape", "count", "zeros"))
    new += [
        graph.node("Shape", [name], shape, end=-1),
        graph.node("Shape", [scales], count),
        graph.node("ConstantOfShape", [count], zeros, value=zero),
    ]
    return _Frame(shape, zeros)


def _stored_weight(graph: OnnxGraph, product: Product) -> tuple[str, str]:
    """Add the int8 weight, (K, N), and its scales, and return their names."""
    weight = graph.constant(product.weight)
    assert weight is not None
    quantised, scales = quantise_columns(weight.T if product.transposed else weight)
    return (
        graph.add_constant(f"{product.weight}_int8", quantised),
        graph.add_constant(f"{product.weight}_scale", scales),
    )


def _compute(
    graph: OnnxGraph, output: str, bias: str, rounded: _Rounded, weight: tuple[str, str], new: list[Any]
) -> None:
    """Append nodes that compute `output` from 8-bit numbers."""
    values, scales = weight
    inputs = [rounded.values, values, rounded.scale, scales, rounded.zero]
    if rounded.rows is None or rounded.shape is None:
        inputs += ["", bias] if bias else []
        new.append(graph.node("MatMulIntegerToFloat", inputs, output, domain=_DOMAIN))
        return
    unscaled, matrix, shape = (graph.fresh(f"{output}/{part}") for part in ("unscaled", "matrix", "shape"))
    unbiased = graph.fresh(f"{output}/unbiased") if bias else output
    width = graph.add_constant(f"{output}/width", np.array(graph.initializer(scales).dims, np.int64))
    new += [
        graph.node("MatMulIntegerToFloat", inputs, unscaled, domain=_DOMAIN),
        graph.node("Mul", [unscaled, rounded.rows], matrix),
        graph.node("Concat", [rounded.shape, width], shape, axis=0),
        graph.node("Reshape", [matrix, shape], unbiased),
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


def _onnx_type(name: str) -> int:
    import onnx

    return int(getattr(onnx.TensorProto, name))
