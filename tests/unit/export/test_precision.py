"""int8 and fp16: the arithmetic against numpy, and the nodes of the graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("torch")

from onnxpipe_export.onnx_graph import OnnxGraph  # noqa: E402
from onnxpipe_export.precision import fp16, int8  # noqa: E402
from tolerances import float32  # noqa: E402
from unit.export import graphs  # noqa: E402

ROWS, WIDTH, OUT = 5, 48, 64


def graph_of(nodes: list[object], constants: dict[str, np.ndarray], output_rank: int = 3) -> OnnxGraph:
    """x (batch, tokens, WIDTH) float32 -> y."""
    shape = ["batch", "tokens", WIDTH]
    return graphs.graph_of(nodes, constants, name="x", shape=shape, output=[None] * output_rank)


def run(graph: OnnxGraph, x: np.ndarray, folder: Path) -> np.ndarray:
    graph.save(folder / "g.onnx")
    return graphs.open_graph(folder / "g.onnx").run({"x": x})["y"]


def one_product(weight: np.ndarray) -> OnnxGraph:
    return graph_of([onnx.helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": weight})


def numpy_int8(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The definition: one scale per row of x, one per column of the weight."""
    stored, columns = int8.quantise_columns(weight)
    scale = np.abs(x).max(axis=-1, keepdims=True) / np.float32(127)
    quantised = np.rint(x / scale).astype(np.int64)
    return (quantised @ stored.astype(np.int64)).astype(np.float32) * scale * columns


@pytest.fixture
def weight() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((WIDTH, OUT)).astype(np.float32)


@pytest.fixture
def activation() -> np.ndarray:
    x = np.random.default_rng(1).standard_normal((2, ROWS, WIDTH)).astype(np.float32)
    x[0, 3] *= 1000  # a row like this ruins all others where the scale is the tensor's
    return x


def test_int8_is_what_numpy_computes(weight: np.ndarray, activation: np.ndarray, tmp_path: Path) -> None:
    graph = one_product(weight)
    int8.quantise(graph)
    got = run(graph, activation, tmp_path)
    assert (np.abs(got - numpy_int8(activation, weight)) <= float32(np.abs(activation) @ np.abs(weight), WIDTH)).all()
    exact = activation @ weight
    error = np.linalg.norm(got - exact, axis=-1) / np.linalg.norm(exact, axis=-1)
    assert error.max() < 0.02


def test_a_row_does_not_depend_on_the_others(weight: np.ndarray, activation: np.ndarray, tmp_path: Path) -> None:
    graph = one_product(weight)
    int8.quantise(graph)
    together = run(graph, activation, tmp_path)
    alone = run(graph, activation[:1, :1], tmp_path)
    np.testing.assert_array_equal(together[:1, :1], alone)


def test_a_row_of_zeros(weight: np.ndarray, tmp_path: Path) -> None:
    graph = one_product(weight)
    int8.quantise(graph)
    np.testing.assert_array_equal(run(graph, np.zeros((1, 2, WIDTH), np.float32), tmp_path), 0)


def test_balance_evens_out_columns(weight: np.ndarray, tmp_path: Path) -> None:
    x = np.random.default_rng(2).standard_normal((1, 64, WIDTH)).astype(np.float32)
    x[..., 7] *= 50
    exact = x @ weight

    def error(peaks: dict[str, np.ndarray] | None) -> float:
        graph = one_product(weight)
        int8.quantise(graph, peaks)
        return float(np.linalg.norm(run(graph, x, tmp_path) - exact) / np.linalg.norm(exact))

    one_product(weight).save(tmp_path / "full.onnx")
    (tmp_path / "scratch").mkdir()
    peaks = int8.measure_peaks(tmp_path / "full.onnx", [{"x": x}], tmp_path / "scratch")
    np.testing.assert_array_equal(peaks["x"], np.abs(x).reshape(-1, WIDTH).max(axis=0))
    assert error(peaks) < error(None) / 2


def test_readers_of_one_activation_share_its_quantisation(weight: np.ndarray) -> None:
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "q"], ["a"]),
        onnx.helper.make_node("MatMul", ["x", "k"], ["b"]),
        onnx.helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    graph = graph_of(nodes, {"q": weight, "k": weight + 1})
    int8.quantise(graph, {"x": np.ones(WIDTH, np.float32)})
    kinds = [node.op_type for node in graph.graph.node]
    assert kinds.count("ReduceMax") == 1
    assert kinds.count("MatMulInteger") == 2
    assert "MatMul" not in kinds


def test_a_shared_weight_is_stored_once(tmp_path: Path) -> None:
    square = np.random.default_rng(3).standard_normal((WIDTH, WIDTH)).astype(np.float32)
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["h"]),
        onnx.helper.make_node("MatMul", ["h", "w"], ["y"]),
    ]
    graph = graph_of(nodes, {"w": square})
    generator = np.random.default_rng(4)
    peaks = {name: generator.uniform(0.1, 10, WIDTH).astype(np.float32) for name in ("x", "h")}
    int8.quantise(graph, peaks)
    stored = [tensor for tensor in graph.graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
    assert len(stored) == 1
    x = generator.standard_normal((1, 3, WIDTH)).astype(np.float32)
    exact = x @ square @ square
    got = run(graph, x, tmp_path)
    assert np.linalg.norm(got - exact) / np.linalg.norm(exact) < 0.1


def test_gemm_with_bias_and_transposed_weight(weight: np.ndarray, tmp_path: Path) -> None:
    bias = np.arange(OUT, dtype=np.float32)
    nodes = [
        onnx.helper.make_node("Flatten", ["x"], ["flat"], axis=2),
        onnx.helper.make_node("Gemm", ["flat", "w", "b"], ["y"], transB=1),
    ]
    graph = graph_of(nodes, {"w": np.ascontiguousarray(weight.T), "b": bias}, output_rank=2)
    int8.quantise(graph)
    assert "Gemm" not in [node.op_type for node in graph.graph.node]
    x = np.random.default_rng(5).standard_normal((1, 4, WIDTH)).astype(np.float32)
    got = run(graph, x, tmp_path)
    assert (np.abs(got - numpy_int8(x[0], weight) - bias) <= float32(np.abs(x[0]) @ np.abs(weight) + bias, WIDTH)).all()


def test_small_heads_and_scaled_gemms_stay_float(weight: np.ndarray) -> None:
    graph = one_product(np.ascontiguousarray(weight[:, :3]))
    int8.quantise(graph)
    assert [node.op_type for node in graph.graph.node] == ["MatMul"]
    nodes = [
        onnx.helper.make_node("Flatten", ["x"], ["flat"], axis=2),
        onnx.helper.make_node("Gemm", ["flat", "w"], ["y"], alpha=0.5),
    ]
    graph = graph_of(nodes, {"w": weight}, output_rank=2)
    int8.quantise(graph)
    assert "Gemm" in [node.op_type for node in graph.graph.node]


def test_only_standard_operators(weight: np.ndarray) -> None:
    graph = one_product(weight)
    int8.quantise(graph, {"x": np.ones(WIDTH, np.float32)})
    assert {node.domain for node in graph.graph.node} == {""}
    onnx.checker.check_model(graph.model, full_check=True)


def test_vocabulary_is_stored_by_row(tmp_path: Path) -> None:
    table = np.random.default_rng(6).standard_normal((1200, WIDTH)).astype(np.float32)
    nodes = [
        onnx.helper.make_node("ReduceMax", ["x", "axis"], ["top"], keepdims=0),
        onnx.helper.make_node("Cast", ["top"], ["ids"], to=onnx.TensorProto.INT64),
        onnx.helper.make_node("Gather", ["table", "ids"], ["y"], axis=0),
    ]
    graph = graph_of(nodes, {"table": table, "axis": np.array([-1], np.int64)})
    int8.quantise(graph)
    assert not [
        one
        for one in graph.graph.initializer
        if one.data_type == onnx.TensorProto.FLOAT and len(one.dims) == 2 and one.dims[1] == WIDTH
    ]
    x = np.zeros((1, 3, WIDTH), np.float32)
    x[0, :, 0] = (4, 1199, 77)
    got = run(graph, x, tmp_path)[0]
    np.testing.assert_allclose(got, table[[4, 1199, 77]], atol=np.abs(table).max() / 127)


def test_fp16_clips_masks_and_keeps_float32_outside(weight: np.ndarray, tmp_path: Path) -> None:
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["scores"]),
        onnx.helper.make_node("Add", ["scores", "mask"], ["masked"]),
        onnx.helper.make_node("Softmax", ["masked"], ["y"], axis=-1),
    ]
    mask = np.full(OUT, np.finfo(np.float32).min, np.float32)
    mask[:2] = 0
    graph = fp16.convert(graph_of(nodes, {"w": weight, "mask": mask}))
    x = np.random.default_rng(7).standard_normal((1, 2, WIDTH)).astype(np.float32)
    got = run(graph, x, tmp_path)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got.sum(axis=-1), 1, atol=1e-2)
    np.testing.assert_array_equal(got[..., 2:], 0)
    nothing = fp16.convert(graph_of(nodes, {"w": weight, "mask": np.full(OUT, mask[-1])}))
    assert np.isfinite(run(nothing, x, tmp_path)).all()
