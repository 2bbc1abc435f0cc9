"""background-removal is transformers.js' task; its alpha here is what transformers' segmentation leaves over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.compare import TIPPED
from conformance.runner import Library
from zoo.vision import images as zoo_images

pytest.importorskip("torch")

BEHIND = "background"
FAMILY = "mobilenet_v2"
"""As DeepLab's heads have it, one of its labels is the background."""

pytestmark = pytest.mark.xdist_group(f"vision-{FAMILY}")


@pytest.fixture
def pipes(theirs: Library, bundles: Callable[..., Path]) -> tuple[Any, Any]:
    """transformers' segmentation, and our removal, of one model."""
    import onnxpipe

    folder = bundles(FAMILY, "image-segmentation")
    return (
        theirs.pipe("image-segmentation", FAMILY, "image-segmentation", {}),
        onnxpipe.pipeline("background-removal", model=str(folder), device="cpu"),
    )


def test_alpha_is_what_is_not_background(pipes: tuple[Any, Any]) -> None:
    segment, remove = pipes
    names = (*zoo_images.ORDINARY, "odd", "grey", "rgba", "exif 6", "palette")
    shares = []
    for name, got in zip(names, remove([zoo_images.pil_image(name) for name in names]), strict=True):
        rgb = zoo_images.pixels(name)
        assert (got.mode, np.asarray(got).shape) == ("RGBA", (*rgb.shape[:2], 4)), name
        assert (np.asarray(got)[..., :3] == rgb).all(), name
        segments = segment(zoo_images.pil_image(name), subtask="semantic")
        behind = next((np.asarray(item["mask"]) for item in segments if item["label"] == BEHIND), 0 * rgb[..., 0])
        assert ((np.asarray(got)[..., 3] > 0) == (behind > 0)).mean() <= TIPPED, name
        shares.append(float((behind > 0).mean()))
    assert 0.02 < np.mean(shares) < 0.98, "some pixels are background and some are not"


def test_forms_of_input(pipes: tuple[Any, Any], tmp_path: Path) -> None:
    _, remove = pipes
    expected = np.asarray(remove(zoo_images.pil_image("jpeg")))
    path = zoo_images.write("jpeg", tmp_path)
    for form in (path, str(path), path.read_bytes(), zoo_images.as_base64("jpeg"), zoo_images.pixels("jpeg")):
        assert (np.asarray(remove(form)) == expected).all(), type(form)
    assert [np.asarray(image).shape for image in remove([path, path])] == [expected.shape] * 2
