"""Weights in blocks: what they weigh, and what is stored once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxpipe_export")

from tests.unit.export.graphs import open_graph  # noqa: E402

from onnxpipe_export.onnx_graph import OnnxGraph  # noqa: E402
from onnxpipe_export.precision import nbits  # noqa: E402

VOCABULARY, WIDTH = 1200, 72


def tied_graph(factors: np.ndarray | None = None) -> OnnxGraph:
    """A graph that looks tokens up in a vocabulary, and multiplies with it (its columns times `factors`)."""
    table = np.random.default_rng(0).standard_normal((VOCABULARY, WIDTH)).astype(np.float32)
    head = "table" if factors is None else "head"
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Gather", ["table", "ids"], ["rows"]),
            onnx.helper.make_node("Gemm", ["rows", head], ["y"], transB=1),
        ],
        "tied",
        [value("ids", onnx.TensorProto.INT64, ["tokens"])],
        [value(name, onnx.TensorProto.FLOAT, ["tokens", size]) for name, size in (("rows", WIDTH), ("y", VOCABULARY))],
        [onnx.numpy_helper.from_array(table, "table")]
        + ([] if factors is None else [onnx.numpy_helper.from_array(table * factors, "head")]),
    )
    return OnnxGraph(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("balanced", [False, True])
def test_a_vocabulary_that_is_the_last_weight_too_is_stored_once(bits: int, balanced: bool, tmp_path: Path) -> None:
    factors = np.geomspace(0.5, 2, WIDTH).astype(np.float32) if balanced else None
    graph = tied_graph(factors)
    table, head = graph.constant("table"), graph.constant("head" if balanced else "table")
    nbits.quantise(graph, bits)
    graph.save(tmp_path / "model.onnx")
    stored = sum(graph.size(tensor.name) for tensor in graph.graph.initializer)
    blocks = VOCABULARY * -(-WIDTH // nbits.BLOCK)
    assert stored <= blocks * (nbits.BLOCK + 2) + (4 * WIDTH if balanced else 0) + 500
    got = open_graph(tmp_path / "model.onnx").run({"ids": np.array([0, 7, 299])})
    assert np.abs(got["rows"] - table[[0, 7, 299]]).max() < 0.05
    np.testing.assert_allclose(got["y"], got["rows"] @ head.T, atol=0.02 * np.abs(got["y"]).max())


def test_a_vocabulary_of_its_own_is_kept_beside_the_last_weight(tmp_path: Path) -> None:
    graph = tied_graph(np.ones(WIDTH, np.float32))
    other = np.random.default_rng(1).standard_normal((VOCABULARY, WIDTH)).astype(np.float32)
    graph.change_constant("head", other)
    table = graph.constant("table")
    nbits.quantise(graph, 8)
    graph.save(tmp_path / "model.onnx")
    got = open_graph(tmp_path / "model.onnx").run({"ids": np.array([5, 11])})
    assert np.abs(got["rows"] - table[[5, 11]]).max() < 0.05
    np.testing.assert_allclose(got["y"], got["rows"] @ other.T, atol=0.02 * np.abs(got["y"]).max())


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-6, 1e-3, 1.0, 1e3])
def test_scales_of_half_precision(bits: int, size: float) -> None:
    matrix = (np.random.default_rng(2).standard_normal((8, 64)) * size).astype(np.float32)
    blocks = nbits.quantise_blocks(matrix, bits)
    assert blocks.scales.dtype == np.float16 and blocks.scales.all() and np.isfinite(blocks.scales).all()
    off = np.abs(nbits.dequantise(blocks, bits, 64) - matrix).max()
    assert off <= max({4: 0.3, 8: 0.02}[bits] * np.abs(matrix).max(), 1e-7)


@pytest.mark.parametrize(("bits", "width", "scales"), [(8, 192, 3), (8, 96, 3), (8, 72, 3), (4, 192, 6)])
def test_weights_of_8_bits_have_wide_blocks_where_they_divide_its_rows(bits: int, width: int, scales: int) -> None:
    blocks = nbits.quantise_blocks(np.ones((5, width), np.float32), bits)
    assert blocks.scales.shape == (5, scales)


def test_equal_constants_of_layers_are_stored_once(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    first, other = (random.standard_normal((40, 40)).astype(np.float32) for _ in range(2))
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Mul", [before, name], [after])
         for before, name, after in (("x", "a", "p"), ("p", "b", "q"), ("q", "c", "y"))],
        "layers",
        [value("x", onnx.TensorProto.FLOAT, [40, 40])],
        [value("y", onnx.TensorProto.FLOAT, [40, 40])],
        [onnx.numpy_helper.from_array(array, name) for name, array in (("a", first), ("b", first), ("c", other))],
    )  # fmt: skip
    model = OnnxGraph(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9))
    model.save(tmp_path / "model.onnx")
    assert len(model.graph.initializer) == 2
    got = open_graph(tmp_path / "model.onnx").run({"x": np.ones((40, 40), np.float32)})["y"]
    np.testing.assert_allclose(got, first * first * other, rtol=1e-6)
