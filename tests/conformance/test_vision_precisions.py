"""Every vision family in every precision: certified, loaded by its name, and answering."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxpipe
from conformance.cases import CASES
from conformance.runner import Library
from conformance.values import resolved
from onnxpipe.bundle import open_bundle
from onnxpipe.errors import CertificateError
from zoo.vision import families as vision

PRECISIONS = ("fp32", "fp16", "int8")
LARGE = 1000
"""Elements of a tensor of weights, beside small constants."""


def _first_tasks() -> Iterator[Any]:
    """One task a family: the graphs of its other tasks differ in their heads alone."""
    tasks: dict[str, str] = {}
    for family, task in vision.models():
        if (family, task) not in vision.missing():
            tasks.setdefault(family, task)
    for family, task in tasks.items():
        marks = pytest.mark.xdist_group(f"vision-{family}")
        yield pytest.param(family, task, id=f"{family}-{task}", marks=marks)


UNSURE = {
    ("bit", "fp16"),
    ("d_fine", "fp16"),
    ("d_fine", "int8"),
    ("dpt", "int8"),
    ("efficientnet", "int8"),
    ("levit", "fp16"),
    ("mask2former", "fp16"),
    ("maskformer", "fp16"),
    ("mobilenet_v1", "int8"),
    ("mobilenet_v2", "int8"),
    ("mobilevit", "fp16"),
    ("mobilevit", "int8"),
    ("mobilevitv2", "int8"),
    ("resnet", "int8"),
    ("rt_detr", "fp16"),
    ("rt_detr", "int8"),
    ("superpoint", "int8"),
    ("zoedepth", "fp16"),
    ("zoedepth", "int8"),
}
"""(family, precision) that random weights do not bear, or only just: queries, points or classes nearly tie, and
rounding decides. The real weights of resnet and mobilenet_v2 bear them (tests/real)."""


@pytest.mark.parametrize(("family", "task"), _first_tasks())
def test_every_precision(family: str, task: str, bundles: Callable[..., Path], ours: Library) -> None:
    precisions = tuple(precision for precision in PRECISIONS if (family, precision) not in UNSURE)
    folder = bundles(family, task, precisions)
    graphs = open_bundle(folder).certificate["graphs"]
    for name, proof in graphs.items():
        assert set(proof) == set(precisions), name
        assert all(entry["passed"] for entry in proof.values()), name
        if "fp16" in precisions:
            assert onnx.TensorProto.FLOAT16 in _large(folder / "onnx" / f"{name}_fp16.onnx"), name
    if task == vision.NO_PIPELINE:
        return
    case = CASES[task][0]
    for precision in precisions:
        pipe = onnxpipe.pipeline(task, model=folder, dtype=precision, device="cpu")
        assert pipe.model.precision == precision
        assert pipe(*resolved(ours, pipe, list(case.args)), **case.kwargs) is not None


@pytest.mark.parametrize(("family", "precision"), [("mask2former", "fp16"), ("dpt", "int8")])
def test_what_loses_its_decisions_is_refused_by_name(
    family: str, precision: str, models: Callable[[str, str], Path], tmp_path: Path
) -> None:
    from onnxpipe_export import export

    task = next(task for name, task in vision.models() if name == family)
    with pytest.raises(CertificateError, match=rf"_{precision}\.onnx"):
        export(str(models(family, task)), str(tmp_path / "bundle"), task=task, precision=("fp32", precision))
    assert not (tmp_path / "bundle").exists()


def _large(path: Path) -> set[int]:
    """The types of a graph's large tensors."""
    return {t.data_type for t in onnx.load(path).graph.initializer if np.prod(t.dims) > LARGE}
