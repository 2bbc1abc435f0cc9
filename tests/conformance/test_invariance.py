"""Alone, in a batch, in another order: the same answer, at full precision and with 8-bit weights."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.cases.common import BATCHES
from tolerances import MODEL
from zoo.corpus import SENTENCES

TEXTS = [*SENTENCES[:9], "Paris", "a b", " ".join(SENTENCES[:5])]


@pytest.fixture(scope="module", params=["fp32", "int8"])
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=["bert", "deberta-v2"])
def extractor(request: pytest.FixtureRequest, dtype: str, bundles: Callable[..., Path]) -> Any:
    import onnxpipe

    model = str(bundles(request.param, "wide", ("fp32", "int8")))
    return onnxpipe.pipeline("feature-extraction", model=model, dtype=dtype, device="cpu")


@pytest.fixture(scope="module")
def alone(extractor: Any) -> list[np.ndarray]:
    return [np.array(extractor(text, truncation=True)) for text in TEXTS]


@pytest.mark.parametrize("size", [*BATCHES, len(TEXTS), None])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_alone_or_in_any_batch(extractor: Any, alone: list[np.ndarray], size: int | None, seed: int) -> None:
    order = list(range(len(TEXTS)))
    random.Random(seed).shuffle(order)
    together = extractor([TEXTS[i] for i in order], truncation=True, batch_size=size)
    for i, got in zip(order, together, strict=True):
        expected = alone[i]
        assert np.shape(got) == expected.shape, TEXTS[i]
        assert np.abs(expected - np.array(got)).max() <= MODEL, TEXTS[i]


def test_eight_bits_are_used(bundles: Callable[..., Path]) -> None:
    """The two precisions differ, or this file tests nothing of the second."""
    import onnxpipe

    model = str(bundles("bert", "wide", ("fp32", "int8")))
    full, small = (
        onnxpipe.pipeline("feature-extraction", model=model, dtype=d, device="cpu") for d in ("fp32", "int8")
    )
    expected, got = (np.array(pipe(TEXTS[0])).ravel() for pipe in (full, small))
    assert np.abs(expected - got).max() > 1e-4
    assert expected @ got / np.linalg.norm(expected) / np.linalg.norm(got) > 0.98
