"""What the tests of the exporter share: small ONNX graphs, exported graphs opened, and a tokenizer of letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onnxpipe.engine import Session, open_session, parse_device
from onnxpipe_export.onnx_graph import OnnxGraph

Shape = Sequence[str | int]


def graph_of(
    nodes: Sequence[Any], constants: Mapping[str, np.ndarray], *, name: str, shape: Shape, output: Any = None
) -> OnnxGraph:
    """Build the graph `name` (`shape`, float32) -> y.

    Args:
        output: the shape of y; None where it is not known.
    """
    x = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, output)
    tensors = [onnx.numpy_helper.from_array(value, key) for key, value in constants.items()]
    graph = onnx.helper.make_graph(nodes, "g", [x], [y], tensors)
    return OnnxGraph(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9))


def open_graph(path: Path) -> Session:
    """Open one ONNX file on the CPU."""
    return open_session(path, root=path.parent, device=parse_device("cpu"))


def open_bundle_graph(bundle: Path, name: str = "model") -> Session:
    """Open the graph `name` of a bundle on the CPU."""
    return open_session(bundle / "onnx" / f"{name}.onnx", root=bundle, device=parse_device("cpu"))


def export_graph(graph: Any, folder: Path) -> Path:
    """Trace and optimise a graph of the exporter; returns its file."""
    path = folder / f"{graph.name}.onnx"
    graph.trace(path)
    traced = OnnxGraph.load(path)
    graph.optimise(traced)
    traced.save(path)
    return path


class LetterTokenizer:
    """A tokenizer whose ids are letters, as far as the exporter's cases use one."""

    def __init__(self, end: int = 1, longest: int = 20) -> None:
        self.end, self.longest = end, longest

    def __call__(self, *texts: str, **options: Any) -> dict[str, list[int]]:
        ids = [5 + ord(letter) % 150 for letter in "".join(texts)[: self.longest]] + [self.end]
        return {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": [0] * len(ids)}
