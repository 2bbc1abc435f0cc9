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
from onnxpipe_export.precision import activations, attention, fp16, frame_convolutions, int8, ranges  # noqa: E402
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
    return activations.observe(folder / "full.onnx", [{"x": x}])


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


def attending(heads: int = 2, frames: int = 40) -> tuple[OnnxGraph, list[np.ndarray]]:
    """A norm, attention of its output to itself with scaled scores, and recordings to calibrate it with."""
    random = np.random.default_rng(11)
    width = WIDTH // heads
    make = onnx.helper.make_node
    nodes = [make("LayerNormalization", ["x", "one"], ["normed"])]
    for name, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        nodes += [
            make("MatMul", ["normed", f"w{name}"], [f"{name}1"]),
            make("Reshape", [f"{name}1", "split"], [f"{name}2"]),
            make("Transpose", [f"{name}2"], [name], perm=perm),
        ]
    nodes += [
        make("MatMul", ["q", "k"], ["scores"]),
        make("Mul", ["scores", "scale"], ["scaled"]),
        make("Softmax", ["scaled"], ["weights"], axis=-1),
        make("MatMul", ["weights", "v"], ["y"]),
    ]
    constants = {f"w{name}": random.standard_normal((WIDTH, WIDTH)).astype(np.float32) / 5 for name in "qkv"}
    constants |= {
        "one": np.ones(WIDTH, np.float32),
        "split": np.array([0, 0, heads, width], np.int64),
        "scale": np.array(width**-0.5, np.float32),
    }
    rows = [random.standard_normal((1, frames, WIDTH)).astype(np.float32) for _ in range(3)]
    return graph_of(nodes, constants, output_rank=4), rows


def test_queries_and_keys_are_multiplied_in_8_bits_and_weights_and_values_are_not(tmp_path: Path) -> None:
    graph, rows = attending()
    scores = attention.find(graph)
    assert [(each.output, each.queries, each.keys) for each in scores] == [("scores", "q", "k")]
    exact = [run(graph, row, tmp_path) for row in rows]
    pairs = ranges.observe(tmp_path / "g.onnx", ["q", "k"], [{"x": row} for row in rows])
    attention.quantise(graph, scores, pairs)
    kinds = [node.op_type for node in graph.graph.node]
    assert kinds.count("MatMulIntegerToFloat") == 1 and kinds[-1] == "MatMul"
    for row, wanted in zip(rows, exact, strict=True):
        got = run(graph, row, tmp_path)
        assert np.linalg.norm(got - wanted) < 0.03 * np.linalg.norm(wanted)
    together = run(graph, np.concatenate(rows), tmp_path)
    np.testing.assert_allclose(together[1], run(graph, rows[1], tmp_path)[0], atol=float32(WIDTH))


@pytest.mark.parametrize(("kernel", "stride", "pads"), [(3, 2, (1, 1)), (2, 2, (0, 0)), (5, 3, (2, 0))])
def test_a_convolution_over_time_is_a_product_of_frames(
    kernel: int, stride: int, pads: tuple[int, int], tmp_path: Path
) -> None:
    random, frames, channels = np.random.default_rng(13), 41, 100  # a gain above 100 even with two frames a product
    shape, spread = (channels + 50, channels, kernel), (channels * kernel) ** -0.5
    make = onnx.helper.make_node
    nodes = [
        make("Transpose", ["x"], ["channels"], perm=[0, 2, 1]),
        make("Conv", ["channels", "w0"], ["first"]),
        make("Softplus", ["first"], ["a"]),
        make("Conv", ["a", "w1", "b1"], ["second"], strides=[stride], pads=list(pads)),
        make("Softplus", ["second"], ["b"]),
        make("Conv", ["b", "w2"], ["y"]),
    ]
    constants = {
        "w0": (random.standard_normal((channels, WIDTH, 1)) / 7).astype(np.float32),
        "w1": (spread * random.standard_normal(shape)).astype(np.float32),
        "b1": random.standard_normal(shape[0]).astype(np.float32),
        "w2": (random.standard_normal((4, shape[0], 1)) / 12).astype(np.float32),
    }
    constants["w0"][:3] *= 2  # some channels are louder than the rest, and are balanced
    graph = graph_of(nodes, constants)
    (found,) = frame_convolutions.find(graph)
    assert (found.output, found.kernel, found.stride, found.pads) == ("second", kernel, stride, pads)
    rows = [random.standard_normal((1, frames, WIDTH)).astype(np.float32) for _ in range(3)]
    exact = [run(graph, row, tmp_path) for row in rows]
    known = frame_convolutions.observe(tmp_path / "g.onnx", [found], [{"x": row} for row in rows])
    frame_convolutions.quantise(graph, [found], known)
    assert [node.op_type for node in graph.graph.node].count("Conv") == 2
    for row, wanted in zip(rows, exact, strict=True):
        got = run(graph, row, tmp_path)
        assert got.shape == wanted.shape
        assert np.linalg.norm(got - wanted) < 0.02 * np.linalg.norm(wanted)


def test_a_convolution_over_time_that_one_range_does_not_suit_stays_float32(tmp_path: Path) -> None:
    random = np.random.default_rng(17)
    nodes = [
        onnx.helper.make_node("Transpose", ["x"], ["channels"], perm=[0, 2, 1]),
        onnx.helper.make_node("Conv", ["channels", "w0"], ["a"]),
        onnx.helper.make_node("Conv", ["a", "w1"], ["y"]),
    ]
    constants = {
        "w0": random.standard_normal((128, WIDTH, 5)).astype(np.float32),
        "w1": random.standard_normal((4, 128, 1)).astype(np.float32),
    }
    graph = graph_of(nodes, constants)
    rows = np.full((1, 9, 5 * WIDTH), 0.01, np.float32)
    one = frame_convolutions.Convolution("a", "channels", "w0", "", 5, 1, (0, 0))
    seen = activations.Activation(np.zeros(WIDTH, np.float32), np.full(WIDTH, 100, np.float32), rows[0], 99)
    frame_convolutions.quantise(graph, [one], {"a": seen})
    assert [node.op_type for node in graph.graph.node] == ["Transpose", "Conv", "Conv"]
