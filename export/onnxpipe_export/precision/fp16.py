"""Convert to fp16: weights and arithmetic in float16, inputs int64 and outputs float32, except caches."""

from __future__ import annotations

from collections.abc import Collection

from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.tracing import quiet

_MASKED = 10_000.0
"""The largest constant kept. A mask of -3.4e38 becomes -1e4: its exponential is still 0, and with a score added it
stays in float16's range, where a row without any key would otherwise be all -inf and its softmax NaN."""

_FLOAT32_ONLY = frozenset({"ScatterElements"})
"""Operators that ONNX Runtime's CPU provider has no float16 of, where they add up."""


def convert(graph: OnnxGraph, halved: Collection[str] = ()) -> OnnxGraph:
    """Convert `graph`, an fp32 graph, to float16 by ONNX Runtime's own converter.

    Args:
        graph: the graph; it is changed, use the returned one.
        halved: inputs and outputs that become float16 too; all others stay as they are.
    """
    from onnxruntime.transformers import float16

    graph.tidy()
    exact = [*_behind_integers(graph), *(node.name for node in graph.graph.node if node.op_type in _FLOAT32_ONLY)]
    names = [value.name for value in (*graph.graph.input, *graph.graph.output) if value.name not in halved]
    with quiet():
        model = float16.convert_float_to_float16(
            graph.model, max_finite_val=_MASKED, keep_io_types=names, node_block_list=exact
        )
    return OnnxGraph(model)


def _behind_integers(graph: OnnxGraph) -> list[str]:
    """Name the nodes whose values are rounded to integers: they stay float32.

    MPNet and T5 compute a position's bucket from a logarithm; in float16 some fall into the next bucket.
    """
    import onnx

    producers = graph.producers()
    integers = {onnx.TensorProto.INT32, onnx.TensorProto.INT64}
    waiting = [node for node in graph.graph.node if node.op_type == "Cast" and node.attribute[0].i in integers]
    exact: dict[str, None] = {}
    while waiting:
        for name in waiting.pop().input:
            node = producers.get(name)
            # A tensor's shape does not depend on its values.
            if node is not None and node.name not in exact and node.op_type not in ("Shape", "Size"):
                exact[node.name] = None
                waiting.append(node)
    return list(exact)
