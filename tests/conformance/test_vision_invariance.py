"""Images alone, in a batch, in another order: the same answer, at full precision and with 8-bit weights."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.cases.common import BATCHES
from tolerances import MODEL
from zoo.vision import families as vision
from zoo.vision import images as zoo_images

NAMES = (*zoo_images.ORDINARY, *zoo_images.SAME_SIZE[1:], "odd", "wide", "grey", "rgba", "exif 6", "jpeg", "large")
PRECISIONS = ("fp32", "int8")
WIDE = "image-classification+wide"
EXTRACTORS = [
    pytest.param(family, id=family, marks=pytest.mark.xdist_group(f"vision-{family}")) for family in vision.WIDE
]
"""Attention, convolutions, depthwise ones, windows."""


@pytest.fixture(scope="module", params=["fp32", "int8"])
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=EXTRACTORS)
def classifier(request: pytest.FixtureRequest, dtype: str, bundles: Callable[..., Path]) -> Any:
    import onnxpipe

    model = str(bundles(request.param, WIDE, PRECISIONS))
    return onnxpipe.pipeline("image-classification", model=model, dtype=dtype, device="cpu", function_to_apply="none")


@pytest.fixture(scope="module")
def alone(classifier: Any) -> list[dict[str, float]]:
    return [_logits(classifier(zoo_images.pil_image(name))) for name in NAMES]


def _logits(answer: list[dict[str, Any]]) -> dict[str, float]:
    return {item["label"]: item["score"] for item in answer}


@pytest.mark.parametrize("size", [*BATCHES, len(NAMES), None])
@pytest.mark.parametrize("seed", [0, 1])
def test_alone_or_in_any_batch(classifier: Any, alone: list[dict[str, float]], size: int | None, seed: int) -> None:
    order = list(range(len(NAMES)))
    random.Random(seed).shuffle(order)
    together = classifier([zoo_images.pil_image(NAMES[i]) for i in order], batch_size=size)
    for i, answer in zip(order, together, strict=True):
        got = _logits(answer)
        assert max(abs(got[label] - score) for label, score in alone[i].items()) <= MODEL, NAMES[i]


@pytest.mark.xdist_group("vision-detr")
@pytest.mark.parametrize("size", [2, 4, None])
def test_detections_do_not_depend_on_their_neighbours(bundles: Callable[..., Path], size: int | None) -> None:
    """Detectors take images of any size: only those of one size share a run, and none is padded."""
    import onnxpipe

    pipe = onnxpipe.pipeline("object-detection", model=str(bundles("detr", "object-detection")), threshold=0.1)
    images = [zoo_images.pil_image(name) for name in NAMES]
    for one, other in zip([pipe(image) for image in images], pipe(images, batch_size=size), strict=True):
        assert [(item["label"], item["box"]) for item in one] == [(item["label"], item["box"]) for item in other]
        assert np.allclose([item["score"] for item in one], [item["score"] for item in other], atol=MODEL)


@pytest.mark.parametrize("family", EXTRACTORS)
def test_eight_bits_are_used(family: str, bundles: Callable[..., Path]) -> None:
    """The two precisions differ, or this file tests nothing of the second."""
    import onnxpipe

    model = str(bundles(family, WIDE, PRECISIONS))
    full, small = (
        onnxpipe.pipeline("image-classification", model=model, dtype=d, function_to_apply="none")
        for d in ("fp32", "int8")
    )
    answers = [[_logits(pipe(zoo_images.pil_image(name))) for name in NAMES] for pipe in (full, small)]
    expected, got = (np.array([[logits[label] for label in sorted(logits)] for logits in rows]) for rows in answers)
    assert np.abs(expected - got).max() > 1e-4
    assert (expected * got).sum() / np.linalg.norm(expected) / np.linalg.norm(got) > 0.98
