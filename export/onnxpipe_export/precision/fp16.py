"""Convert to fp16: weights and arithmetic in float16, inputs int64 and outputs float32, except caches."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from onnxpipe_export.onnx_graph import SINGLE_FILE_LIMIT, OnnxGraph
from onnxpipe_export.stored_weights import is_stored
from onnxpipe_export.tracing import quiet

_MASKED = 10_000.0
"""The largest constant kept. A mask of -3.4e38 becomes -1e4: its exponential is still 0, and with a score added it
stays in float16's range, where a row without any key would otherwise be all -inf and its softmax NaN."""

_FLOAT32_ONLY = frozenset({"ScatterElements"})
"""Operators that ONNX Runtime's CPU provider has no float16 of, where they add up."""


def convert(graph: OnnxGraph, halved: Collection[str] = (), *, waves: bool = False) -> OnnxGraph:
    """Convert `graph`, an fp32 graph, to float16 by ONNX Runtime's own converter.

    Args:
        graph: the graph; it is changed, use the returned one.
        halved: inputs and outputs that become float16 too; all others stay as they are.
        waves: whether sines and cosines, and all that they are computed from, stay float32: the angles of a diffusion
            step go up to 1000, where float16 has a distance of half.
    """
    from onnxruntime.transformers import float16

    graph.tidy()
    exact = [
        *_behind(graph, _integers(graph)),
        *(node.name for node in graph.graph.node if node.op_type in _FLOAT32_ONLY),
    ]
    if waves:
        sines = [node for node in graph.graph.node if node.op_type in ("Sin", "Cos")]
        exact += [*_behind(graph, sines), *(node.name for node in sines)]
    names = [value.name for value in (*graph.graph.input, *graph.graph.output) if value.name not in halved]
    if sum(graph.size(tensor.name) for tensor in graph.graph.initializer) <= SINGLE_FILE_LIMIT:
        graph.take_in()
    large = _set_aside(graph)
    with quiet():
        model = float16.convert_float_to_float16(
            graph.model, max_finite_val=_MASKED, keep_io_types=names, node_block_list=exact
        )
    _put_back(model.graph, large, graph)
    return OnnxGraph(model, graph.folder)


def _set_aside(graph: OnnxGraph) -> list[str]:
    """Make inputs of the float32 weights that are in a file of their own, which the converter would not read."""
    import onnx

    single = onnx.TensorProto.FLOAT
    aside = [tensor for tensor in graph.graph.initializer if tensor.data_type == single and is_stored(tensor)]
    for tensor in aside:
        graph.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, single, tensor.dims))
        graph.graph.initializer.remove(tensor)
    return [tensor.name for tensor in aside]


def _put_back(converted: Any, names: Iterable[str], graph: OnnxGraph) -> None:
    """Make weights again of the inputs `names`, with the values that `graph` has, clipped as the converter clips."""
    import onnx

    wanted = set(names)
    kept = [value for value in converted.input if value.name not in wanted]
    del converted.input[:]
    converted.input.extend(kept)
    for name in wanted:
        value = graph.constant(name)
        assert value is not None
        half = np.clip(value, -_MASKED, _MASKED).astype(np.float16)
        converted.initializer.append(onnx.numpy_helper.from_array(half, name))


def _integers(graph: OnnxGraph) -> list[Any]:
    """List the nodes that round to integers: what they round stays float32.

    MPNet and T5 compute a position's bucket from a logarithm; in float16 some fall into the next bucket.
    """
    import onnx

    integers = {onnx.TensorProto.INT32, onnx.TensorProto.INT64}
    return [node for node in graph.graph.node if node.op_type == "Cast" and node.attribute[0].i in integers]


def _behind(graph: OnnxGraph, ends: Iterable[Any]) -> list[str]:
    """Name the nodes whose values reach the nodes `ends`."""
    producers = graph.producers()
    waiting = list(ends)
    exact: dict[str, None] = {}
    while waiting:
        for name in waiting.pop().input:
            node = producers.get(name)
            # A tensor's shape does not depend on its values.
            if node is not None and node.name not in exact and node.op_type not in ("Shape", "Size"):
                exact[node.name] = None
                waiting.append(node)
    return list(exact)
