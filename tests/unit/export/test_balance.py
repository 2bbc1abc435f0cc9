"""Channels that stand out are balanced before weights of 8 and 4 bits; a wrong graph is still refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
onnx = pytest.importorskip("onnx")

from onnxpipe.errors import CertificateError  # noqa: E402
from onnxpipe_export import certify  # noqa: E402
from onnxpipe_export.onnx_graph import OnnxGraph  # noqa: E402
from onnxpipe_export.precision import balance, makers, nbits  # noqa: E402
from onnxpipe_export.precision.activations import Activation, observe  # noqa: E402
from onnxpipe_export.precision.products import constant_products  # noqa: E402
from tolerances import float32  # noqa: E402
from unit.export import graphs  # noqa: E402
from unit.export.test_causal_lm import Letters, export_graph, graph_of, llama  # noqa: E402
from unit.export.test_rounding import drop_the_mask, scale_one_weight, shift_positions  # noqa: E402

WIDTH, OUT = 64, 48
CHANNELS, INNER, SCALE = [3, 17, 40], [5, 50], 60.0
MAKERS = {"fp16": makers.to_fp16_with_caches, "int8": makers.to_int8_weights, "q4": makers.to_q4}


def with_outlier_channels(folder: Path) -> Any:
    """Make a llama that computes the same as a plain one, with a few channels of its activations 60 times the others.

    Its MLPs add less than a random model's do, so that 4 bits are enough for it.
    """
    graph = graph_of(llama(num_hidden_layers=3, tie_word_embeddings=True), folder)
    with torch.no_grad():
        for layer in graph.checkpoint.model.model.layers:
            attention, mlp = layer.self_attn, layer.mlp
            for norm, products in (
                (layer.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj)),
                (layer.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj)),
            ):
                norm.weight[CHANNELS] *= SCALE
                for product in products:
                    product.weight[:, CHANNELS] /= SCALE
            mlp.up_proj.weight[INNER] *= SCALE
            mlp.down_proj.weight[:, INNER] /= SCALE
            mlp.down_proj.weight *= 0.1
    return graph


@pytest.fixture(scope="module")
def outliers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The model's fp32 file, and what the original answers."""
    folder = tmp_path_factory.mktemp("outlier_channels")
    graph = with_outlier_channels(folder)
    path = export_graph(graph, folder)
    reference = certify.run_original(graph, Letters(), path, folder)
    certify.verify(path, folder, "fp32", reference)
    return path, reference


@pytest.mark.parametrize("precision", MAKERS)
def test_outlier_channels_are_certified(precision: str, outliers: tuple[Path, Any], tmp_path: Path) -> None:
    full, reference = outliers
    path = tmp_path / "model.onnx"
    MAKERS[precision](full, path, reference.calibration)
    assert certify.verify(path, tmp_path, precision, reference)["passed"]


@pytest.mark.parametrize(("precision", "bits"), [("int8", 8), ("q4", 4)])
def test_without_balance_they_are_not(precision: str, bits: int, outliers: tuple[Path, Any], tmp_path: Path) -> None:
    full, reference = outliers
    graph = OnnxGraph.load(full)
    nbits.quantise(graph, bits)
    graph.save(tmp_path / "model.onnx")
    with pytest.raises(CertificateError, match="mean cosine"):
        certify.verify(tmp_path / "model.onnx", tmp_path, precision, reference)


def halve_positions(graph: OnnxGraph) -> None:
    """Rotate two neighbours by the same angle."""
    tables = {name for node in graph.graph.node if node.op_type == "GroupQueryAttention" for name in node.input[7:9]}
    for name in tables:
        table = graph.constant(name)
        assert table is not None
        graph.change_constant(name, table[np.arange(len(table)) // 2])


@pytest.mark.parametrize("precision", MAKERS)
@pytest.mark.parametrize("change", [halve_positions, drop_the_mask], ids=lambda change: change.__name__)
def test_what_is_plainly_wrong_is_refused(
    change: Callable[[OnnxGraph], None], precision: str, outliers: tuple[Path, Any], tmp_path: Path
) -> None:
    full, reference = outliers
    wrong = OnnxGraph.load(full)
    change(wrong)
    wrong.save(tmp_path / "wrong.onnx")
    MAKERS[precision](tmp_path / "wrong.onnx", tmp_path / "model.onnx", reference.calibration)
    with pytest.raises(CertificateError, match="differ from the original's"):
        certify.verify(tmp_path / "model.onnx", tmp_path, precision, reference)


@pytest.mark.parametrize(
    "change", [drop_the_mask, scale_one_weight, shift_positions], ids=lambda change: change.__name__
)
def test_what_is_a_little_wrong_is_refused_in_fp32(
    change: Callable[[OnnxGraph], None], outliers: tuple[Path, Any], tmp_path: Path
) -> None:
    full, reference = outliers
    wrong = OnnxGraph.load(full)
    change(wrong)
    wrong.save(tmp_path / "wrong.onnx")
    with pytest.raises(CertificateError, match="relative difference"):
        certify.verify(tmp_path / "wrong.onnx", tmp_path, "fp32", reference)


def test_the_division_costs_no_node_behind_norms_and_products(outliers: tuple[Path, Any]) -> None:
    full, _ = outliers
    graph = OnnxGraph.load(full)
    before = [node.op_type for node in graph.graph.node]
    with_names = {name: balance.Balance(np.linspace(1, 2, width, dtype=np.float32), 0.9)
                  for name, width in activations(graph).items()}  # fmt: skip
    balance.apply(graph, constant_products(graph), with_names)
    assert [node.op_type for node in graph.graph.node] == before  # what attention and `last_hidden_state` give is kept
    changed = [product.weight for product in constant_products(graph)]
    whole = OnnxGraph.load(full)
    equal = [np.array_equal(graph.constant(name), whole.constant(name)) for name in changed]
    assert equal == [False, True, False, False] * 3 + [True]


def activations(graph: OnnxGraph) -> dict[str, int]:
    """Each activation that is multiplied with a weight, and its width."""
    return {product.activation: product.shape[1 if product.transposed else 0]
            for product in constant_products(graph)}  # fmt: skip


def test_it_computes_the_same(outliers: tuple[Path, Any], tmp_path: Path) -> None:
    full, reference = outliers
    graph = OnnxGraph.load(full)
    random = np.random.default_rng(0)
    for left in (0.9, 0.1):  # folded where that is free, then with nodes for the others
        for name, width in activations(graph).items():
            factors = random.uniform(0.5, 2, width).astype(np.float32)
            balance.apply(graph, constant_products(graph), {name: balance.Balance(factors, left)})
    assert [node.output[0] for node in graph.graph.node if node.output[0].endswith("/balanced")]
    graph.save(tmp_path / "model.onnx")
    assert certify.verify(tmp_path / "model.onnx", tmp_path, "fp32", reference)["passed"]


def product_of(weight: np.ndarray, folder: Path) -> Path:
    """Save x (batch, WIDTH) times a weight."""
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    graphs.graph_of([node], {"w": weight}, name="x", shape=["batch", WIDTH]).save(folder / "full.onnx")
    return folder / "full.onnx"


def chosen_balance(graph: OnnxGraph, observed: dict[str, Activation]) -> dict[str, balance.Balance]:
    """Choose the balance for weights of 8 bits."""

    def error(name: str, weight: np.ndarray, factors: np.ndarray) -> float:
        return nbits.error(observed[name].rows, weight, factors, 8)

    return balance.choose(graph, constant_products(graph), observed, error)


def test_the_error_of_a_product_falls(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    weight = random.standard_normal((WIDTH, OUT)).astype(np.float32)
    x = random.standard_normal((200, WIDTH)).astype(np.float32)
    x[:, CHANNELS] *= SCALE
    weight[CHANNELS] /= SCALE
    full = product_of(weight, tmp_path)
    observed = observe(full, [{"x": x[:100]}, {"x": x[100:]}])
    assert observed["x"].rows.shape == (128, WIDTH)

    def error(balances: dict[str, balance.Balance]) -> float:
        graph = OnnxGraph.load(full)
        balance.apply(graph, constant_products(graph), balances)
        nbits.quantise(graph, 8)
        graph.save(tmp_path / "model.onnx")
        got = graphs.open_graph(tmp_path / "model.onnx").run({"x": x})["y"]
        return float(np.linalg.norm(got - x @ weight) / np.linalg.norm(x @ weight))

    chosen = chosen_balance(OnnxGraph.load(full), observed)
    assert chosen["x"].left < 0.5
    assert error(chosen) < 0.5 * error({})


def test_even_columns_stay_as_they_are(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    full = product_of(random.standard_normal((WIDTH, OUT)).astype(np.float32), tmp_path)
    signs = random.choice(np.array([-1, 1], np.float32), (64, WIDTH))
    assert chosen_balance(OnnxGraph.load(full), {"x": Activation.of(signs, len(signs))}) == {}


def test_products_that_share_a_weight_are_balanced_alike(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    square = random.standard_normal((WIDTH, WIDTH)).astype(np.float32)
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["h"]),
        onnx.helper.make_node("Tanh", ["h"], ["t"]),
        onnx.helper.make_node("MatMul", ["t", "w"], ["y"]),
    ]
    graph = graphs.graph_of(nodes, {"w": square}, name="x", shape=["batch", WIDTH])
    x = random.standard_normal((5, WIDTH)).astype(np.float32)
    graph.save(tmp_path / "full.onnx")
    expected = graphs.open_graph(tmp_path / "full.onnx").run({"x": x})["y"]
    outlying = np.where(np.arange(WIDTH) % 20 == 0, SCALE, 1).astype(np.float32)
    rows = {name: random.standard_normal((64, WIDTH)).astype(np.float32) * outlying for name in ("x", "t")}
    chosen = chosen_balance(graph, {name: Activation.of(each, len(each)) for name, each in rows.items()})
    assert np.array_equal(chosen["x"].factors, chosen["t"].factors)
    balance.apply(graph, constant_products(graph), chosen)
    assert sum(len(tensor.dims) == 2 for tensor in graph.graph.initializer) == 1
    graph.save(tmp_path / "model.onnx")
    got = graphs.open_graph(tmp_path / "model.onnx").run({"x": x})["y"]
    assert (np.abs(got - expected) <= float32(np.abs(np.tanh(x @ square)) @ np.abs(square), WIDTH) * 10).all()


def test_an_activation_is_rounded_by_blocks() -> None:
    row = np.random.default_rng(4).standard_normal((2, 72)).astype(np.float32)
    row[0, 5] = 1000
    rounded = nbits.round_activation(row, 32)
    assert np.abs(rounded - row)[0, :32].max() > 0.1
    assert (np.abs(rounded - row)[:, 32:] <= np.abs(row[:, 32:]).max() / 127).all()
    np.testing.assert_array_equal(nbits.round_activation(row[:, :32], 32)[0], rounded[0, :32])
