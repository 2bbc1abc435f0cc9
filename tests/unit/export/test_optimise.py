"""Fewer nodes, the same numbers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("torch")

from onnxpipe.engine import open_session, parse_device  # noqa: E402
from onnxpipe_export.onnx_graph import OnnxGraph  # noqa: E402
from onnxpipe_export.optimise import optimise  # noqa: E402
from tolerances import float32  # noqa: E402

HEADS, WIDTH = 3, 4
RANDOM = np.random.default_rng(0)


def constant(name: str, value: Any) -> Any:
    return onnx.numpy_helper.from_array(np.asarray(value), name)


def matrix(*shape: int) -> Any:
    return RANDOM.standard_normal(shape).astype(np.float32)


def attention_like() -> Any:
    """Three products of one activation with biases, one without, and views whose shapes are computed."""
    node, hidden = onnx.helper.make_node, HEADS * WIDTH
    nodes, weights = [], []
    for name in ("q", "k", "v"):
        weights += [constant(f"{name}_w", matrix(hidden, hidden)), constant(f"{name}_b", matrix(hidden))]
        nodes += [
            node("MatMul", ["x", f"{name}_w"], [f"{name}_p"]),
            # the bias on either side, as tracing writes it
            node("Add", [f"{name}_b", f"{name}_p"] if name == "k" else [f"{name}_p", f"{name}_b"], [name]),
        ]
    weights += [constant("free_w", matrix(hidden, 5)), constant("zero", 0), constant("one", 1),
                constant("axis", [0]), constant("split", [HEADS, WIDTH])]  # fmt: skip
    nodes += [
        node("MatMul", ["x", "free_w"], ["free"]),
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["batch"]),
        node("Gather", ["shape", "one"], ["length"]),
        node("Unsqueeze", ["batch", "axis"], ["batch_1"]),
        node("Unsqueeze", ["length", "axis"], ["length_1"]),
        node("Concat", ["batch_1", "length_1", "split"], ["view"], axis=0),
        node("Reshape", ["q", "view"], ["q_heads"], allowzero=0),
    ]
    shape = ["batch", "sequence", hidden]
    return onnx.helper.make_model(
        onnx.helper.make_graph(
            nodes,
            "g",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
            [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in ("q_heads", "kv", "free")],
            weights,
        ),
        opset_imports=[onnx.helper.make_opsetid("", 18)],
        ir_version=9,
    )


def outputs(model: Any, folder: Path, x: Any) -> dict[str, Any]:
    onnx.save(model, folder / "model.onnx")
    return open_session(folder / "model.onnx", root=folder, device=parse_device("cpu")).run({"x": x})


def test_products_merge_and_shapes_become_constants(tmp_path: Path) -> None:
    model = attention_like()
    model.graph.node.append(onnx.helper.make_node("Sub", ["k", "v"], ["kv"]))
    batches = [matrix(2, 7, HEADS * WIDTH), matrix(1, 1, HEADS * WIDTH)]
    before = [outputs(model, tmp_path, x) for x in batches]
    graph = OnnxGraph(model)
    optimise(graph)
    kinds = Counter(node.op_type for node in graph.graph.node)
    assert kinds == {"MatMul": 2, "Add": 1, "Split": 1, "Reshape": 1, "Sub": 1}
    (reshape,) = [node for node in graph.graph.node if node.op_type == "Reshape"]
    assert graph.constant(reshape.input[1]).tolist() == [0, 0, HEADS, WIDTH]  # type: ignore[union-attr]
    for x, expected in zip(batches, before):
        got = outputs(graph.model, tmp_path, x)
        for name, value in expected.items():
            np.testing.assert_allclose(got[name], value, atol=float32(10.0, HEADS * WIDTH))


def test_an_output_of_the_graph_keeps_its_name(tmp_path: Path) -> None:
    """A product that the graph gives out is left alone, with the name it has."""
    model = attention_like()
    model.graph.node.append(onnx.helper.make_node("Sub", ["k", "v"], ["kv"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("q", onnx.TensorProto.FLOAT, None))
    x = matrix(2, 3, HEADS * WIDTH)
    before = outputs(model, tmp_path, x)
    graph = OnnxGraph(model)
    optimise(graph)
    assert [o.name for o in graph.graph.output] == ["q_heads", "kv", "free", "q"]
    after = outputs(graph.model, tmp_path, x)
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, atol=float32(10.0, HEADS * WIDTH))


def test_a_graph_that_inference_does_not_get_through_is_left_as_it_is(tmp_path: Path) -> None:
    model = attention_like()
    model.graph.node.append(onnx.helper.make_node("Sub", ["k", "v"], ["kv"]))
    model.graph.node.append(onnx.helper.make_node("Strange", ["x"], ["y"], domain="nobody"))
    model.graph.output.append(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None))
    model.opset_import.append(onnx.helper.make_opsetid("nobody", 1))
    graph = OnnxGraph(model)
    optimise(graph)
    assert "Strange" in {node.op_type for node in graph.graph.node}


@pytest.mark.parametrize("read_elsewhere", [False, True])
def test_a_mask_is_not_expanded_before_it_is_added(read_elsewhere: bool, tmp_path: Path) -> None:
    node, values = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    nodes = [
        node("Cast", ["mask"], ["kept"], to=onnx.TensorProto.BOOL),
        node("Shape", ["scores"], ["shape"]),
        node("Expand", ["kept", "shape"], ["expanded"]),
        node("Where", ["expanded", "zero", "low"], ["bias"]),
        node("Add", ["scores", "bias"], ["y"]),
        *([node("Neg", ["bias"], ["z"])] if read_elsewhere else []),
    ]
    shape = ["batch", 1, "length", "length"]
    outputs = [values(name, onnx.TensorProto.FLOAT, shape) for name in (("y", "z") if read_elsewhere else ("y",))]
    inputs = [
        values("scores", onnx.TensorProto.FLOAT, shape),
        values("mask", onnx.TensorProto.INT64, ["batch", 1, 1, "length"]),
    ]
    constants = [constant("zero", np.float32(0)), constant("low", np.float32(-9))]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "g", inputs, outputs, constants),
        opset_imports=[onnx.helper.make_opsetid("", 18)],
        ir_version=9,
    )
    graph = OnnxGraph(model)
    optimise(graph)
    kinds = [each.op_type for each in graph.graph.node]
    assert kinds == (["Cast", "Shape", "Expand", "Where", "Add", "Neg"] if read_elsewhere else ["Cast", "Where", "Add"])
    graph.save(tmp_path / "g.onnx")
    session = open_session(tmp_path / "g.onnx", root=tmp_path, device=parse_device("cpu"))
    feeds = {"scores": matrix(2, 1, 3, 3), "mask": np.array([[[[1, 1, 0]]], [[[0, 1, 1]]]])}
    got = session.run(feeds)["y"]
    np.testing.assert_array_equal(got, feeds["scores"] + np.where(feeds["mask"] == 1, 0, -9).astype(np.float32))
