"""Weights in a file beside the graph: traced, rewritten, converted and saved without being read into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from onnxpipe.bundle import external  # noqa: E402
from onnxpipe.bundle.external import is_large_in_floats  # noqa: E402
from onnxpipe.engine import open_session, parse_device  # noqa: E402
from onnxpipe_export import onnx_graph, stored_weights, tracing  # noqa: E402
from onnxpipe_export.onnx_graph import OnnxGraph  # noqa: E402
from onnxpipe_export.optimise import optimise, symbolic_shapes  # noqa: E402
from onnxpipe_export.precision import fp16  # noqa: E402
from tolerances import MODEL  # noqa: E402

WIDTH = 24


class Small(torch.nn.Module):
    """Two products of one activation, a shared weight, a buffer and a weight too small for the file."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(WIDTH, 64), torch.nn.Linear(WIDTH, 64)
        self.back = torch.nn.Linear(64, WIDTH)
        self.again = self.back
        self.norm = torch.nn.LayerNorm(WIDTH)
        self.register_buffer("shift", torch.linspace(0, 1, 64 * 8).reshape(8, 64), persistent=False)

    def forward(self, rows: Any) -> tuple[Any]:
        wide = torch.tanh(self.first(rows)) * self.second(rows) + self.shift[:3]
        return (self.norm(self.back(wide) + self.again(torch.sin(wide))),)


@pytest.fixture(params=[0, 10**9])
def traced(request: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Any, Path]:
    """A module and its graph, once with its weights in a file and once with them inside."""
    monkeypatch.setattr(tracing, "SINGLE_FILE_LIMIT", request.param)
    monkeypatch.setattr(onnx_graph, "SINGLE_FILE_LIMIT", request.param)
    torch.manual_seed(0)
    module = Small().eval()
    axes = {"rows": {0: "batch_size"}, "out": {0: "batch_size"}}
    tracing.trace(module, {"rows": torch.randn(2, 3, WIDTH)}, ["out"], axes, tmp_path / "traced.onnx")
    graph = OnnxGraph.load(tmp_path / "traced.onnx")
    optimise(graph)
    graph.save(tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx_data").exists() == (request.param == 0)
    return module, tmp_path / "model.onnx"


def answers(module: Any, path: Path, lean: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rows = np.random.default_rng(1).standard_normal((5, 3, WIDTH), np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(rows))[0].numpy()
    session = open_session(path, root=path.parent, device=parse_device("cpu"), lean=lean)
    assert list(session.inputs) == ["rows"]
    return expected, session.run({"rows": rows})["out"]


def test_graph_answers_as_the_module(traced: tuple[Any, Path]) -> None:
    expected, got = answers(*traced)
    assert np.abs(got - expected).max() <= MODEL * np.abs(expected).max()


def test_without_a_second_copy_of_the_weights(traced: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    module, path = traced
    half, small = path.with_name("model_fp16.onnx"), path.with_name("model_int8.onnx")
    fp16.convert(OnnxGraph.load(path)).save(half)
    for name, allowed in ((path, MODEL), (half, 0.01)):
        expected, got = answers(module, name, lean=True)
        assert np.abs(got - expected).max() <= allowed * np.abs(expected).max()
        assert not is_large_in_floats(name, path.parent)
    monkeypatch.setattr(external, "_LARGE", 2000)
    OnnxGraph.load(path).save(small)
    assert is_large_in_floats(path, path.parent) and is_large_in_floats(half, path.parent)
    assert not is_large_in_floats(small, path.parent), "kernels of int8 need their weights packed"


def test_shared_weight_is_stored_once_and_products_are_merged(traced: tuple[Any, Path]) -> None:
    graph = OnnxGraph.load(traced[1])
    shapes = [tuple(tensor.dims) for tensor in graph.graph.initializer]
    assert shapes.count((64, WIDTH)) == 1
    assert (WIDTH, 128) in shapes
    assert "Transpose" not in [node.op_type for node in graph.graph.node]


class Scaled(torch.nn.Module):
    """A product whose columns are scaled by a weight of 2 KB."""

    def __init__(self) -> None:
        super().__init__()
        self.product, self.scale = torch.nn.Linear(WIDTH, 512), torch.nn.Parameter(torch.randn(512))

    def forward(self, rows: Any) -> tuple[Any]:
        return ((self.product(rows) * self.scale).view(rows.shape[0], -1, 2, 256),)


class Computed(torch.nn.Module):
    """A norm whose weight is computed from a parameter, as Gemma's is."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(WIDTH))

    def forward(self, rows: Any) -> tuple[Any]:
        return (torch.tanh(rows) * (1 + self.weight),)


class Convolved(torch.nn.Module):
    """A convolution with its BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = torch.nn.Sequential(torch.nn.Conv1d(3, 4, 3), torch.nn.BatchNorm1d(4))

    def forward(self, rows: Any) -> tuple[Any]:
        return (self.parts(rows),)


@pytest.mark.parametrize(("module", "apart"), [(Small, True), (Computed, False), (Convolved, False)])
def test_torch_is_spared_weights_that_it_need_not_compute(
    module: Any, apart: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    rows = {"rows": torch.randn(2, 3, WIDTH)}
    kinds = []
    for limit in (0, 10**9):
        monkeypatch.setattr(tracing, "_LARGE", limit)
        path = tmp_path / f"{limit}.onnx"
        tracing.trace(module().eval(), rows, ["out"], {name: {0: "batch_size"} for name in ("rows", "out")}, path)
        assert path.with_name(path.name + "_data").exists() == (apart and limit == 0)
        graph = OnnxGraph.load(path)
        graph.tidy()
        # torch writes a shared weight once, and an Identity for each further use
        kinds.append(sorted(node.op_type for node in graph.graph.node if node.op_type != "Identity"))
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize("limit", [0, 10**9])
def test_shapes_are_inferred_without_reading_the_weights(
    limit: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tracing, "SINGLE_FILE_LIMIT", limit)
    path, axes = tmp_path / "model.onnx", {"rows": {0: "batch_size"}, "out": {0: "batch_size"}}
    tracing.trace(Scaled().eval(), {"rows": torch.randn(2, 3, WIDTH)}, ["out"], axes, path)
    stored, inside = OnnxGraph.load(path), OnnxGraph.load(path)
    assert sum(stored_weights.is_stored(tensor) for tensor in stored.graph.initializer) == 3
    inside.take_in()
    for graph in (stored, inside):
        optimise(graph)
    assert symbolic_shapes(stored)["out"] == ("batch_size", 3, 2, 256)
    assert [node.op_type for node in stored.graph.node] == [node.op_type for node in inside.graph.node]


def test_float16(traced: tuple[Any, Path]) -> None:
    module, path = traced
    half = path.with_name("half.onnx")
    fp16.convert(OnnxGraph.load(path)).save(half)
    kinds = {tensor.data_type for tensor in OnnxGraph.load(half).graph.initializer if np.prod(tensor.dims) > 100}
    assert kinds == {onnx.TensorProto.FLOAT16}
    expected, got = answers(module, half)
    assert np.abs(got - expected).max() < 0.01 * np.abs(expected).max()


def test_weights_in_the_graphs_own_file_stay_there(tmp_path: Path) -> None:
    path, beside = tmp_path / "model.onnx", tmp_path / "beside.onnx"
    values = {f"weight{n}": np.random.default_rng(n % 2).standard_normal((20, 20), np.float32) for n in range(3)}
    values["shape"] = np.full(200, 1)  # integers are read: shapes are inferred from them
    rows, out = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("rows", "out"))
    steps = ["rows", "a", "b", "c", "out"]
    kinds = ["MatMul", "MatMul", "MatMul", "Reshape"]
    nodes = [onnx.helper.make_node(kind, [given, name], [made], name=made)
             for kind, given, name, made in zip(kinds, steps, values, steps[1:], strict=False)]  # fmt: skip
    weights = [onnx.numpy_helper.from_array(value, name) for name, value in values.items()]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [rows], [out], weights), ir_version=9)
    onnx.save(model, path)
    graph = OnnxGraph.load(path)
    assert [stored_weights.is_stored(graph.initializer(name)) for name in values] == [True, True, True, False]
    graph.save_beside(beside)
    for part in (path, beside):
        read = OnnxGraph.load(part)
        assert all(np.array_equal(read.constant(name), values[name]) for name in ("weight0", "weight1"))
    assert beside.stat().st_size < sum(value.nbytes for value in values.values())
    assert "weight2" not in {tensor.name for tensor in OnnxGraph.load(beside).graph.initializer}, "it is weight0"
    graph.change_constant("weight1", values["weight1"] * 2)
    for _ in range(2):  # where its own weights stand now
        graph.save(path)
        assert np.array_equal(graph.constant("weight0"), values["weight0"])
    whole = onnx.load(path)
    saved = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in whole.graph.initializer}
    assert np.array_equal(saved["weight1"], values["weight1"] * 2) and np.array_equal(saved["shape"], values["shape"])


def test_saved_to_its_own_file_and_taken_in(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    value = np.arange(600, dtype=np.float32).reshape(20, 30)
    entry = onnx.helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, ["n", 20])
    out = onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, ["n", 30])
    nodes = [onnx.helper.make_node("MatMul", ["rows", "weight"], ["out"])]
    weight = onnx.numpy_helper.from_array(value, "weight")
    OnnxGraph(onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [entry], [out], [weight]))).save(path, limit=0)
    for _ in range(2):
        graph = OnnxGraph.load(path)
        assert stored_weights.is_stored(graph.initializer("weight"))
        assert graph.size("weight") == value.nbytes
        assert np.array_equal(graph.constant("weight"), value)
        graph.save(path, limit=0)
    OnnxGraph.load(path).save(path)
    assert not path.with_name("model.onnx_data").exists()
    assert np.array_equal(OnnxGraph.load(path).constant("weight"), value)


def test_a_module_whose_parameters_are_in_a_file_computes_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 8, bias=False))
    module[2].weight = module[0].weight  # tied
    x = torch.linspace(-1, 1, 24).reshape(3, 8)
    with torch.no_grad():
        before = module(x)
        stored_weights.keep_in_file(module, tmp_path)
        assert torch.equal(module(x), before)
    assert module[2].weight is module[0].weight
    assert not list(tmp_path.iterdir()), "the file has no name"
