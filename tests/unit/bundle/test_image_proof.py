"""The numbers of whole runs in a certificate, each computed by hand here, and what a file may describe as a run."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from onnxpipe.bundle.image_proof import (
    IMAGE_TOLERANCES,
    ImageDifference,
    ImageTolerance,
    certified_image_tolerance,
    compare_images,
)
from onnxpipe.errors import BundleError
from onnxpipe.tasks.image_generation.short_run import ShortRun

IMAGES = np.linspace(0, 0.5, 2 * 4 * 4 * 3).reshape(2, 4, 4, 3)


def test_equal_images() -> None:
    assert compare_images(IMAGES, IMAGES) == ImageDifference(0.0, 120.0)
    assert not IMAGE_TOLERANCES["fp32"].faults(ImageDifference(0.0, 120.0))


def test_the_worst_image_counts() -> None:
    other = IMAGES.copy()
    other[1] += 0.1
    found = compare_images(IMAGES, other)
    assert found.grey == pytest.approx(25.5)
    assert found.psnr == pytest.approx(20.0)
    assert ImageDifference.worst([found, ImageDifference(1.0, 60.0)]) == found


def test_images_that_are_no_numbers_are_a_fault() -> None:
    found = ImageDifference.worst([compare_images(IMAGES, np.full_like(IMAGES, math.nan)), ImageDifference(0, 120)])
    for tolerance in (ImageTolerance(grey=1.0), ImageTolerance(psnr=20.0)):
        assert tolerance.faults(found)


def test_images_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"the shape \(1, 4, 4, 3\); the original's have \(2, 4, 4, 3\)"):
        compare_images(IMAGES, IMAGES[:1])


@pytest.mark.parametrize(
    ("entry", "psnr"),
    [(None, 20.0), ({}, 20.0), ({"tolerance": {"psnr": 30}}, 30.0), ({"tolerance": {"psnr": -5}}, 20.0), (3, 20.0)],
)
def test_a_certificate_may_narrow_the_limits(entry: Any, psnr: float) -> None:
    assert certified_image_tolerance("int8", entry).psnr == psnr
    assert certified_image_tolerance("fp32", entry) == IMAGE_TOLERANCES["fp32"]


def test_a_run_is_read_as_it_was_written() -> None:
    run = ShortRun("text-to-image", {"prompt": "a cat", "height": 64, "guidance_scale": 5.0}, {}, 14)
    assert ShortRun.of(run.described(), {}) == run


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "text-to-speech"},
        {"seed": "3"},
        {"options": None},
        {"options": {"image": "secret.png"}},
        {"options": {"num_inference_steps": 10**9}},
        {"options": {"height": "64"}},
        {"options": {"prompt": ["a", "b"]}},
    ],
)
def test_a_file_cannot_ask_for_another_run(change: dict[str, Any]) -> None:
    """A certificate is a file like any other: no image is read from a path in it, and no run is long."""
    with pytest.raises(BundleError, match=r"certificate\.json describes"):
        ShortRun.of({"mode": "text-to-image", "seed": 1, "options": {}, **change}, {})
    with pytest.raises(BundleError):
        ShortRun.of(None, {})
