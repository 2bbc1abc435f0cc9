"""A model that magnifies rounding is certified by what its own answers move; a wrong graph of it is still refused.

The models here have what real language models have and tiny random ones have not: a few channels of the residual
stream that are a thousand times the others, so that float32 leaves little to the rest, and sharp attention.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
onnx = pytest.importorskip("onnx")

from onnxpipe.errors import CertificateError  # noqa: E402
from onnxpipe_export import certify, exact  # noqa: E402
from onnxpipe_export.onnx_graph import OnnxGraph  # noqa: E402
from unit.export.test_causal_lm import SHAPE, Letters, export_graph, graph_of, llama  # noqa: E402

OUTLIERS, SCALE = [3, 17], 3_000.0
LIMIT = 1e-4
"""What fp32 may differ by where nothing magnifies rounding (`proof.TOLERANCES`)."""


def with_outliers(tmp_path: Path) -> Any:
    """Make a llama whose first layer writes huge values into two channels; norms make up for them."""
    graph = graph_of(llama(num_hidden_layers=3), tmp_path)
    decoder = graph.checkpoint.model.model
    norms = [decoder.norm]
    for layer in decoder.layers[1:]:
        norms += [layer.input_layernorm, layer.post_attention_layernorm]
    others = [channel for channel in range(SHAPE["hidden_size"]) if channel not in OUTLIERS]
    with torch.no_grad():
        decoder.layers[0].mlp.down_proj.weight[OUTLIERS] *= SCALE
        for norm in norms:
            norm.weight[OUTLIERS] /= SCALE
            norm.weight[others] *= 100
        for layer in decoder.layers:
            layer.self_attn.q_proj.weight *= 10
    return graph


def test_double_precision_gives_the_weights_back(tmp_path: Path) -> None:
    graph = graph_of(llama(), tmp_path)
    model = graph.checkpoint.model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    feeds = graph.cases(Letters())[0].feeds
    single = graph.reference(feeds)
    (double,) = exact.answers(model, lambda: graph.reference(feeds), ())
    assert {array.dtype for array in double.values()} == {np.dtype(np.float64)}
    assert 0 < np.abs(double["logits"] - single["logits"]).max() < 1e-4
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.get_default_dtype() == torch.float32
    again = graph.reference(feeds)
    assert all(np.array_equal(again[name], single[name]) for name in single)


@pytest.fixture(scope="module")
def magnifying(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, Path, Any]:
    """The graph of a model with outliers, its file, the folder, and the original's answers."""
    folder = tmp_path_factory.mktemp("outliers")
    graph = with_outliers(folder)
    path = export_graph(graph, folder)
    return graph, path, folder, certify.run_original(graph, Letters(), path, folder)


def test_rounding_that_the_original_has_too_is_no_fault(magnifying: tuple[Any, Path, Path, Any]) -> None:
    _, path, folder, reference = magnifying
    entry = certify.verify(path, folder, "fp32", reference)
    assert entry["passed"] and entry["cosine_min"] > 0.9999
    assert entry["max_relative_difference"] > LIMIT  # or this model proves nothing
    assert entry["tolerance"]["max_relative"] < 5.001e-3


def scale_one_weight(graph: OnnxGraph) -> None:
    """Make one matrix larger by one in a hundred."""
    tensor = [each for each in graph.graph.initializer if each.data_type == 1 and np.prod(each.dims) > 1000][-1]
    graph.change_constant(tensor.name, graph.constant(tensor.name) * np.float32(1.01))


def drop_the_mask(graph: OnnxGraph) -> None:
    """Let padding count as tokens: the mask is ones wherever it is read."""
    helper = onnx.helper
    for node in graph.graph.node:
        for number, name in enumerate(node.input):
            if name == "attention_mask":
                node.input[number] = "mask_of_ones"
    one = helper.make_tensor("one", onnx.TensorProto.INT64, [1], [1])
    made = [
        helper.make_node("Shape", ["attention_mask"], ["mask_shape"]),
        helper.make_node("ConstantOfShape", ["mask_shape"], ["mask_of_ones"], value=one),
    ]
    for node in reversed(made):
        graph.graph.node.insert(0, node)


def shift_positions(graph: OnnxGraph) -> None:
    """Rotate by the next position's angle: rows of the rotary tables move up by one."""
    tables = {name for node in graph.graph.node if node.op_type == "GroupQueryAttention" for name in node.input[7:9]}
    found = [tensor for tensor in graph.graph.initializer if tensor.name in tables]
    assert len(found) >= 2
    for tensor in found:
        array = graph.constant(tensor.name)
        graph.change_constant(tensor.name, np.concatenate([array[:1], array[2:], array[-1:]]))


@pytest.mark.parametrize(
    "change", [scale_one_weight, drop_the_mask, shift_positions], ids=lambda change: change.__name__
)
def test_a_wrong_graph_is_refused(
    change: Callable[[OnnxGraph], None], magnifying: tuple[Any, Path, Path, Any], tmp_path: Path
) -> None:
    _, path, folder, reference = magnifying
    graph = OnnxGraph.load(path)
    change(graph)
    wrong = folder / f"{tmp_path.name}.onnx"
    graph.save(wrong)
    with pytest.raises(CertificateError, match="relative difference"):
        certify.verify(wrong, folder, "fp32", reference)
