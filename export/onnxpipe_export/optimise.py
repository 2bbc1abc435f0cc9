"""Rewrite a traced graph to fewer nodes with the same numbers.

For one short text a graph's time depends on the number of its nodes as much as on its arithmetic, so

- products of one activation (queries, keys and values) become one product and a Split;
- what depends on constants alone (paddings) is computed here;
- zeros padded before a convolution become its own padding;
- a mask is not expanded before an addition that does so anyway;
- shapes that tracing computes (Shape, Gather, Concat for each `view`) become constants, with 0 for a dimension that is
  the input's own. Which one that is comes from symbolic shape inference, not from a guess.

Each value is the same sum of the same products as before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe_export import stored_weights
from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.tracing import quiet

Shape = tuple[int | str, ...]

_SMALL = 4096
"""The most bytes of a constant that is folded: sizes and paddings, no weights."""


def optimise(graph: OnnxGraph, *, merge: bool = True) -> None:
    """Rewrite `graph`, as traced, in place. `merge`: see `symbolic_shapes`."""
    graph.tidy()
    _fold_constants(graph)
    shapes = symbolic_shapes(graph, merge=merge)
    _constant_reshapes(graph, shapes)
    _drop_expanded_masks(graph, shapes)
    _fold_padding(graph)
    _merge_products(graph)
    graph.tidy()


def symbolic_shapes(graph: OnnxGraph, *, merge: bool = True) -> Mapping[str, Shape]:
    """Infer the shape of every tensor by its name, free dimensions by name; equal names are equal sizes.

    Empty where inference fails: then nothing that needs shapes is rewritten.

    Args:
        graph: the graph.
        merge: whether two free dimensions that meet in an addition are taken for one: a position's embedding is as
            long as the text. False where a tensor was cut to size in a way that inference does not follow (scores for
            every distance, shifted). If one of the two were 1, the certificate would fail.
    """
    from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference

    class Inference(SymbolicShapeInference):  # type: ignore[misc]
        """Reads no weights that are in a file, which onnx looks for elsewhere; no shape depends on them."""

        def _try_get_value(self, node: Any, idx: int) -> Any:
            name = node.input[idx] if idx < len(node.input) else ""
            tensor = None if name in self.sympy_data_ else self.initializers_.get(name)
            stored = tensor is not None and stored_weights.is_stored(tensor)
            return None if stored else super()._try_get_value(node, idx)

    # Step by step, since the one call `infer_shapes` writes the graph into the working directory when a shape stays
    # unknown; the shapes inferred up to there are as good.
    inference = Inference(int_max=2**31 - 1, auto_merge=merge, guess_output_rank=False, verbose=0)
    try:
        inference._preprocess(graph.model)
        with quiet():
            while inference.run_:
                inference._infer_impl()
        inference._update_output_from_vi()
    except Exception:  # it gives up with whatever sympy or its own assertions raise
        return {}
    inferred = inference.out_mp_.graph
    return {
        value.name: tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for values in (inferred.input, inferred.value_info, inferred.output)
        for value in values
    }


def _fold_constants(graph: OnnxGraph) -> None:
    """Fold small constants (sizes, paddings) that nodes compute from constants alone."""
    replacements: dict[int, list[Any]] = {}
    outputs = graph.outputs()
    for index, node in enumerate(graph.graph.node):
        known = [graph.initializer(name) for name in node.input if name]
        if not known or None in known or any(graph.size(name) > _SMALL for name in node.input):
            continue
        if all(node.output) and outputs.isdisjoint(node.output) and _is_function_of_inputs(node):
            values = _evaluate(graph, node)
            if values is not None and all(value.nbytes <= _SMALL for value in values):
                for name, value in zip(node.output, values, strict=True):
                    graph.name_constant(name, value)
                replacements[index] = []
    graph.replace_nodes(replacements)


def _is_function_of_inputs(node: Any) -> bool:
    inner = any(attribute.HasField("g") for attribute in node.attribute)
    rounding = node.op_type in ("QuantizeLinear", "DequantizeLinear")
    return not (node.domain or inner or rounding or "Random" in node.op_type or node.op_type == "Bernoulli")


def _evaluate(graph: OnnxGraph, node: Any) -> list[np.ndarray] | None:
    """Evaluate `node` on its constant inputs; None where the reference implementation fails."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    feeds = {name: graph.constant(name) for name in node.input if name}
    inputs = [onnx.helper.make_tensor_value_info(name, graph.initializer(name).data_type, None) for name in feeds]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output]
    single = onnx.helper.make_graph([node], "single", inputs, outputs)
    try:
        model = onnx.helper.make_model(single, opset_imports=graph.model.opset_import)
        return [np.asarray(value) for value in ReferenceEvaluator(model).run(None, feeds)]
    except Exception:  # each operator's reference fails in its own way; then the node stays as it is
        return None


def _constant_reshapes(graph: OnnxGraph, shapes: Mapping[str, Shape]) -> None:
    for node in graph.graph.node:
        literal = any(attribute.name == "allowzero" and attribute.i for attribute in node.attribute)
        if node.op_type != "Reshape" or literal or graph.constant(node.input[1]) is not None:
            continue
        target = constant_target(shapes.get(node.input[0], ()), shapes.get(node.output[0], ()))
        if target is not None:
            node.input[1] = graph.add_constant(f"{node.output[0]}/shape", np.array(target, np.int64))


def constant_target(before: Shape, after: Shape) -> list[int] | None:
    """Find the constant shape that turns `before` into `after`: 0 where a free dimension stays in place, -1 once."""
    target = []
    for axis, size in enumerate(after):
        if isinstance(size, int):
            target.append(size)
        else:
            target.append(0 if axis < len(before) and before[axis] == size else -1)
    return target if target and target.count(-1) <= 1 and 0 not in after else None


def _drop_expanded_masks(graph: OnnxGraph, shapes: Mapping[str, Shape]) -> None:
    """Drop the Expand of a mask that chooses between two numbers, if what these are added to has the size already."""
    consumers, outputs = graph.consumers(), graph.outputs()
    for node in graph.graph.node:
        chosen = consumers.get(node.output[0], []) if node.op_type == "Expand" else []
        if not chosen or node.output[0] in outputs or not all(_chooses_numbers(graph, where) for where in chosen):
            continue
        added = [reader for where in chosen for reader in consumers.get(where.output[0], [])]
        masks = {str(where.output[0]) for where in chosen}
        if masks.isdisjoint(outputs) and all(_keeps_shape(add, masks, shapes) for add in added):
            for where in chosen:
                where.input[0] = node.input[0]


def _chooses_numbers(graph: OnnxGraph, node: Any) -> bool:
    values = [graph.initializer(name) for name in node.input[1:]]
    return node.op_type == "Where" and all(value is not None and len(value.dims) == 0 for value in values)


def _keeps_shape(node: Any, masks: Collection[str], shapes: Mapping[str, Shape]) -> bool:
    """Tell whether `node` adds one of the masks to a tensor of the sum's shape."""
    others = [name for name in node.input if name not in masks]
    return node.op_type == "Add" and len(others) == 1 and shapes.get(others[0], ()) == shapes.get(node.output[0])


def _fold_padding(graph: OnnxGraph) -> None:
    """Fold a Pad of constant zeros along the pixels' axes into the Conv that alone reads it.

    TensorFlow's padding is uneven, so PyTorch pads beforehand.
    """
    consumers, producers, outputs = graph.consumers(), graph.producers(), graph.outputs()
    for node in graph.graph.node:
        pad = producers.get(node.input[0]) if node.op_type == "Conv" else None
        if pad is None or pad.op_type != "Pad" or len(consumers[node.input[0]]) > 1 or node.input[0] in outputs:
            continue
        added = _zeros_added(graph, pad)
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if added is None or "auto_pad" in attributes:
            continue
        if "pads" in attributes:
            added = added + np.array(attributes["pads"].ints)
            node.attribute.remove(attributes["pads"])
        node.attribute.append(_attribute("pads", [int(size) for size in added]))
        node.input[0] = pad.input[0]


def _zeros_added(graph: OnnxGraph, pad: Any) -> np.ndarray | None:
    """Count the zeros that `pad` adds along the axes from the third on, first at their begins, then at their ends.

    None if it does anything else.
    """
    sizes = graph.constant(pad.input[1])
    fill = graph.constant(pad.input[2]) if len(pad.input) > 2 and pad.input[2] else np.zeros(())
    other_axes = len(pad.input) > 3 and pad.input[3]
    mode = next((attribute.s for attribute in pad.attribute if attribute.name == "mode"), b"constant")
    if sizes is None or fill is None or other_axes or mode != b"constant" or fill.any():
        return None
    begins, ends = np.split(sizes, 2)
    if (sizes < 0).any() or begins[:2].any() or ends[:2].any():
        return None
    return np.concatenate([begins[2:], ends[2:]])


def _attribute(name: str, value: Any) -> Any:
    """Make an attribute of a node."""
    import onnx

    return onnx.helper.make_attribute(name, value)


@dataclass(frozen=True)
class _Linear:
    """A product with a constant matrix (K, N), and the Add of a constant bias (N,) that follows it, if one does."""

    product: Any
    weight: np.ndarray
    add: Any = None
    bias: np.ndarray | None = None

    @property
    def output(self) -> str:
        return str((self.product if self.add is None else self.add).output[0])


def _merge_products(graph: OnnxGraph) -> None:
    groups: dict[tuple[str, bool], list[_Linear]] = {}
    for linear in _linears(graph):
        groups.setdefault((linear.product.input[0], linear.bias is None), []).append(linear)
    places = {node.output[0]: index for index, node in enumerate(graph.graph.node)}
    replacements: dict[int, list[Any]] = {}
    for members in groups.values():
        if len(members) > 1:
            nodes = [node for m in members for node in (m.product, m.add) if node is not None]
            indices = sorted(places[node.output[0]] for node in nodes)
            replacements.update((index, []) for index in indices)
            replacements[indices[0]] = _merged(graph, members)
    graph.replace_nodes(replacements)


def _linears(graph: OnnxGraph) -> list[_Linear]:
    """List products whose weight no other node reads (a shared one would be stored twice)."""
    consumers = graph.consumers()
    outputs = graph.outputs()
    linears = []
    for node in graph.graph.node:
        weight = graph.constant(node.input[1]) if node.op_type == "MatMul" else None
        if weight is None or weight.ndim != 2 or len(consumers[node.input[1]]) > 1 or node.output[0] in outputs:
            continue
        readers = consumers.get(node.output[0], [])
        linear = _Linear(node, weight)
        if len(readers) == 1 and readers[0].op_type == "Add":
            other = [name for name in readers[0].input if name != node.output[0]]
            bias = graph.constant(other[0]) if other else None
            if bias is not None and bias.shape == weight.shape[1:] and readers[0].output[0] not in outputs:
                linear = _Linear(node, weight, readers[0], bias)
        linears.append(linear)
    return linears


def _merged(graph: OnnxGraph, members: list[_Linear]) -> list[Any]:
    stem = members[0].product.output[0]
    weight = graph.add_constant(f"{stem}/merged_weight", np.concatenate([m.weight for m in members], axis=1))
    sizes = graph.add_constant(f"{stem}/sizes", np.array([m.weight.shape[1] for m in members], np.int64))
    product = graph.fresh(f"{stem}/merged")
    nodes = [graph.node("MatMul", [members[0].product.input[0], weight], product)]
    biases = [m.bias for m in members if m.bias is not None]
    if biases:
        bias = graph.add_constant(f"{stem}/merged_bias", np.concatenate(biases))
        total = graph.fresh(f"{stem}/biased")
        nodes.append(graph.node("Add", [product, bias], total))
        product = total
    split = graph.node("Split", [product, sizes], members[0].output, axis=-1)
    split.output.extend(m.output for m in members[1:])
    return [*nodes, split]
