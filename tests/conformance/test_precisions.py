"""Every family in every precision: certified, loaded by its name, and close to full precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxpipe
from tolerances import MODEL
from zoo import FAMILIES
from zoo.corpus import SENTENCES

LEAST = {"fp16": 0.999, "int8": 0.98}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_precision(family: str, bundles: Callable[..., Path]) -> None:
    folder = bundles(family, "base", ("fp32", "fp16", "int8"))
    texts = list(SENTENCES[:6])
    pipes = {d: onnxpipe.pipeline("feature-extraction", model=folder, dtype=d) for d in ("fp32", *LEAST)}
    assert {d: pipe.model.precision for d, pipe in pipes.items()} == {d: d for d in pipes}
    full = [np.array(answer[0]) for answer in pipes["fp32"](texts)]
    for dtype, least in LEAST.items():
        cosines = []
        for expected, answer in zip(full, pipes[dtype](texts)):
            got = np.array(answer[0])
            cosines += (
                (got * expected).sum(-1) / np.linalg.norm(got, axis=-1) / np.linalg.norm(expected, axis=-1)
            ).tolist()
        assert np.mean(cosines) > least, (family, dtype)
    large = [t for t in onnx.load(folder / "onnx" / "model_fp16.onnx").graph.initializer if np.prod(t.dims) > 1000]
    assert large and {t.data_type for t in large} == {onnx.TensorProto.FLOAT16}
    proof = pipes["int8"].model.bundle.certificate["graphs"]["model"]
    assert proof["fp32"]["max_relative_difference"] <= 1e-4
    assert max(proof[d]["batch_invariance"] for d in ("fp32", "int8")) <= MODEL
