"""int8 and fp16: the arithmetic against numpy, and the nodes of the graphs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("torch")

from onnxpipe.errors import CertificateError  # noqa: E402
from onnxpipe_export import making  # noqa: E402
from onnxpipe_export.onnx_graph import OnnxGraph  # noqa: E402
from onnxpipe_export.precision import activations, fp16, int8  # noqa: E402
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


def normed_product(weight: np.ndarray, bias: np.ndarray | None = None) -> OnnxGraph:
    """x by a LayerNorm, one of whose columns is 50 times the others, and then by a product."""
    scale = np.ones(WIDTH, np.float32)
    scale[7] = 50
    nodes = [
        onnx.helper.make_node("LayerNormalization", ["x", "scale", "shift"], ["normed"]),
        onnx.helper.make_node("MatMul", ["normed", "w"], ["y" if bias is None else "unbiased"]),
        *([] if bias is None else [onnx.helper.make_node("Add", ["b", "unbiased"], ["y"])]),
    ]
    biases = {} if bias is None else {"b": bias}
    return graph_of(nodes, {"scale": scale, "shift": np.zeros(WIDTH, np.float32), "w": weight, **biases})


def observed(graph: OnnxGraph, x: np.ndarray, folder: Path) -> dict[str, activations.Activation]:
    graph.save(folder / "full.onnx")
    (folder / "scratch").mkdir(exist_ok=True)
    return activations.observe(folder / "full.onnx", [{"x": x}], folder / "scratch")


def test_what_is_observed(weight: np.ndarray, tmp_path: Path) -> None:
    x = np.random.default_rng(2).standard_normal((1, 200, WIDTH)).astype(np.float32)
    found = observed(one_product(weight), x, tmp_path)["x"]
    np.testing.assert_array_equal(found.peaks, np.abs(x[0]).max(axis=0))
    assert (found.count, found.rows.shape) == (200, (128, WIDTH))
    halved = found.divided(np.full(WIDTH, 2, np.float32)).range
    assert halved.scale == pytest.approx(found.range.scale / 2)


def test_balance_evens_out_columns(weight: np.ndarray, tmp_path: Path) -> None:
    x = np.random.default_rng(2).standard_normal((1, 64, WIDTH)).astype(np.float32)
    known = observed(normed_product(weight), x, tmp_path)
    exact = run(normed_product(weight), x, tmp_path)

    def error(observations: dict[str, activations.Activation] | None) -> float:
        graph = normed_product(weight)
        int8.quantise(graph, observations)
        return float(np.linalg.norm(run(graph, x, tmp_path) - exact) / np.linalg.norm(exact))

    assert error(known) < 0.7 * error(None)


def test_a_norms_output_has_a_fixed_range_and_the_bias_is_inside(weight: np.ndarray, tmp_path: Path) -> None:
    x = np.random.default_rng(2).standard_normal((3, 64, WIDTH)).astype(np.float32)
    bias = np.arange(OUT, dtype=np.float32)
    graph = normed_product(weight, bias)
    exact = run(normed_product(weight, bias), x, tmp_path)
    int8.quantise(graph, observed(normed_product(weight, bias), x, tmp_path))
    assert [node.op_type for node in graph.graph.node] == [
        "LayerNormalization",
        "QuantizeLinear",
        "MatMulIntegerToFloat",
    ]
    together = run(graph, x, tmp_path)
    assert np.linalg.norm(together - exact) / np.linalg.norm(exact) < 0.02
    np.testing.assert_array_equal(together[1:2, 5:6], run(graph, x[1:2, 5:6], tmp_path))


def test_rows_that_a_fixed_range_does_not_suit_have_their_own(weight: np.ndarray, tmp_path: Path) -> None:
    x = np.random.default_rng(2).standard_normal((1, 64, WIDTH)).astype(np.float32)
    graph = normed_product(weight)
    known = observed(graph, x, tmp_path)["normed"]
    int8.quantise(graph, {"normed": dataclasses.replace(known, high=known.high * 100)})  # few of 255 steps are left
    assert "ReduceMax" in [node.op_type for node in graph.graph.node]


def test_activation_functions_have_a_scale_a_row(weight: np.ndarray, tmp_path: Path) -> None:
    x = np.random.default_rng(2).standard_normal((1, 64, WIDTH)).astype(np.float32)
    nodes = [onnx.helper.make_node("Relu", ["x"], ["r"]), onnx.helper.make_node("MatMul", ["r", "w"], ["y"])]
    graph = graph_of(nodes, {"w": weight})
    int8.quantise(graph, observed(graph, x, tmp_path))
    kinds = [node.op_type for node in graph.graph.node]
    assert "ReduceMax" in kinds
    assert [kind for kind in kinds if kind == "Mul"] == ["Mul"]  # of the rows' scales: columns are not balanced


def test_readers_of_one_activation_share_its_quantisation(weight: np.ndarray) -> None:
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "q"], ["a"]),
        onnx.helper.make_node("MatMul", ["x", "k"], ["b"]),
        onnx.helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    graph = graph_of(nodes, {"q": weight, "k": weight + 1})
    int8.quantise(graph)
    kinds = [node.op_type for node in graph.graph.node]
    assert kinds.count("ReduceMax") == 1
    assert kinds.count("MatMulIntegerToFloat") == 2
    assert "MatMul" not in kinds


def test_a_shared_weight_is_stored_once(tmp_path: Path) -> None:
    square = np.random.default_rng(3).standard_normal((WIDTH, WIDTH)).astype(np.float32)
    scales = {name: np.random.default_rng(number).uniform(0.1, 10, WIDTH).astype(np.float32)
              for number, name in enumerate(("first", "second"))}  # fmt: skip
    nodes = [
        onnx.helper.make_node("LayerNormalization", ["x", "first"], ["a"]),
        onnx.helper.make_node("MatMul", ["a", "w"], ["h"]),
        onnx.helper.make_node("LayerNormalization", ["h", "second"], ["b"]),
        onnx.helper.make_node("MatMul", ["b", "w"], ["y"]),
    ]
    graph = graph_of(nodes, {"w": square, **scales})
    x = np.random.default_rng(4).standard_normal((1, 60, WIDTH)).astype(np.float32)
    exact = run(graph, x, tmp_path)
    int8.quantise(graph, observed(graph, x, tmp_path))
    stored = [tensor for tensor in graph.graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
    assert len(stored) == 1
    assert np.linalg.norm(run(graph, x, tmp_path) - exact) / np.linalg.norm(exact) < 0.1


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


def test_one_operator_is_onnx_runtimes_own(weight: np.ndarray) -> None:
    graph = one_product(weight)
    int8.quantise(graph)
    assert {node.op_type for node in graph.graph.node if node.domain} == {"MatMulIntegerToFloat"}
    onnx.checker.check_model(graph.model)


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


@pytest.mark.parametrize("refused", [(), ("fixed",), ("fixed", "by rows")])
def test_a_graph_whose_fixed_ranges_are_refused_is_made_by_rows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, refused: tuple[str, ...]
) -> None:
    ways: list[str] = []

    def fixed(*_: Any) -> None:
        ways.append("fixed")

    def by_rows(*_: Any) -> None:
        ways.append("by rows")

    def judge(*_: Any) -> dict[str, Any]:
        if ways[-1] in refused:
            raise CertificateError(ways[-1])
        return {"way": ways[-1]}

    opened = SimpleNamespace(close=lambda: None)
    monkeypatch.setattr(making, "BY_ROWS", {fixed: by_rows})
    monkeypatch.setattr(making.certify, "measure", lambda *_: SimpleNamespace(opened=opened))
    monkeypatch.setattr(making.certify, "judge", judge)
    graph = SimpleNamespace(makers={"int8": fixed}, inputs=(), outputs=())
    reference: Any = SimpleNamespace(graph=graph, calibration=())
    if len(refused) == 2:
        with pytest.raises(CertificateError, match="by rows"):
            making.make_one(tmp_path / "model.onnx", tmp_path, "int8", reference)
        return
    entry, file = making.make_one(tmp_path / "model.onnx", tmp_path, "int8", reference)
    assert entry == {"way": ways[-1]}
    assert file["path"] == "model_int8.onnx"
    assert ways == ["fixed", "by rows"][: 1 + len(refused)]
