"""A row alone and in a batch: 8 bits may round a last bit the other way, but a neighbour may change nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnxpipe.bundle.proof import compare  # noqa: E402
from onnxpipe_export import batch_invariance  # noqa: E402
from onnxpipe_export.certify import Reference  # noqa: E402
from onnxpipe_export.graphs.graph import Case, Feeds, Run  # noqa: E402
from onnxpipe_export.onnx_graph import OnnxGraph  # noqa: E402
from onnxpipe_export.precision import int8, nbits  # noqa: E402
from unit.export.graphs import graph_of, open_graph  # noqa: E402

WIDTH = 64
WEIGHT = np.random.default_rng(0).normal(size=(WIDTH, WIDTH)).astype(np.float32)


class Product:
    """The original, x @ WEIGHT, with one batch of which the second row is ten times the first."""

    def cases(self, tokenizer: Any = None) -> list[Case]:
        x = np.random.default_rng(1).normal(size=(2, WIDTH)).astype(np.float32)
        return [Case({"x": x * np.float32([[1], [10]])})]

    def reference(self, feeds: Feeds) -> dict[str, np.ndarray]:
        return {"y": feeds["x"] @ WEIGHT}

    def mask_of(self, feeds: Feeds) -> None:
        return None

    def invariance(self, run: Run, tokenizer: Any) -> float:
        return 0.0


def product() -> OnnxGraph:
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    return graph_of([node], {"w": WEIGHT}, name="x", shape=["rows", WIDTH], output=["rows", WIDTH])


def scale_a_row() -> OnnxGraph:
    graph = product()
    int8.quantise(graph)
    return graph


def scale_a_block() -> OnnxGraph:
    graph = product()
    nbits.quantise(graph, 8)
    return graph


def scale_a_batch() -> OnnxGraph:
    """What ONNX Runtime's dynamic quantisation makes: one scale for all rows together."""
    weight, scales = int8.quantise_columns(WEIGHT)
    make = onnx.helper.make_node
    nodes = [
        make("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        make("MatMulInteger", ["q", "w", "zero"], ["total"]),
        make("Cast", ["total"], ["real"], to=onnx.TensorProto.FLOAT),
        make("Mul", ["scale", "scales"], ["both"]),
        make("Mul", ["real", "both"], ["y"]),
    ]
    constants: Mapping[str, np.ndarray] = {"w": weight, "scales": scales}
    return graph_of(nodes, constants, name="x", shape=["rows", WIDTH], output=["rows", WIDTH])


def limits(graph: OnnxGraph, folder: Path, precisions: Iterable[str]) -> tuple[dict[str, float], float]:
    """Return what a row may differ by where more than rounding was found, and the difference from the original."""
    path = folder / "model.onnx"
    graph.save(path)
    session = open_graph(path)
    original: Any = Product()
    cases = original.cases()
    reference = Reference(original, None, cases, [original.reference(case.feeds) for case in cases])
    difference = compare(reference.answers[0], session.run(cases[0].feeds), None, reference.scales)
    found = difference.max_absolute / 2
    allowed = {name: batch_invariance.allowed(name, found, [difference], session.run, reference) for name in precisions}
    return allowed, difference.max_absolute


@pytest.mark.parametrize("make", [scale_a_row, scale_a_block], ids=lambda make: make.__name__)
def test_eight_bits_may_round_the_other_way(make: Any, tmp_path: Path) -> None:
    allowed, difference = limits(make(), tmp_path, ("fp32", "int8", "q4"))
    assert allowed["int8"] == difference
    assert max(allowed["fp32"], allowed["q4"]) < difference / 10


def test_a_neighbour_may_change_nothing(tmp_path: Path) -> None:
    allowed, difference = limits(scale_a_batch(), tmp_path, ("int8",))
    assert allowed["int8"] < difference / 10
