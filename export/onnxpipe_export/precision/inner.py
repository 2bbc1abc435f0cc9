"""Run a graph for the values of its inner tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from onnxpipe_export.onnx_graph import OnnxGraph

Feeds = Mapping[str, np.ndarray]


def values(path: Path, names: Sequence[str], feeds: Iterable[Feeds]) -> Iterator[Feeds]:
    """Yield the values of the float32 tensors `names`, inputs among them, for each of the feeds.

    Args:
        path: the fp32 graph, saved tidy, so that names are those that `OnnxGraph.load` finds. A graph with these
            tensors as outputs stands beside it meanwhile.
        names: the tensors.
        feeds: what to run the graph on; further arrays are ignored.
    """
    import onnx

    from onnxpipe.engine import open_session, parse_device

    graph = OnnxGraph.load(path)
    inputs = {value.name for value in graph.graph.input}
    inner = [name for name in names if name not in inputs]
    for name in inner:
        if name not in graph.outputs():
            graph.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    observed = path.with_name(f"{path.stem}_observed.onnx")
    try:
        graph.save_beside(observed)
        session = open_session(observed, root=path.parent, device=parse_device("cpu"))
        for feed in feeds:
            computed = session.run({key: feed[key] for key in session.inputs}, inner) if inner else {}
            yield {**computed, **{name: feed[name] for name in names if name in inputs}}
    finally:
        observed.unlink(missing_ok=True)
