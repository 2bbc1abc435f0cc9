"""The stand-in does what torchvision's functions do, and leaves nothing behind."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from zoo.vision.images import pil_image

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from conformance.torchvision_standin import Functional, Interpolation, batched_nms, image_processor  # noqa: E402


@pytest.mark.parametrize("size", [(20, 31), (96, 80), (48, 64)])
@pytest.mark.parametrize(("mode", "filter"), [("BILINEAR", 2), ("BICUBIC", 3)])
def test_bytes_are_resized_as_pillow_does(size: tuple[int, int], mode: str, filter: int) -> None:
    image = pil_image("photo")
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    got = Functional.resize(tensor, size, Interpolation[mode]).permute(1, 2, 0).numpy().astype(int)
    expected = np.asarray(image.resize(size[::-1], filter)).astype(int)
    assert np.abs(got - expected).max() <= 1


def test_the_best_box_stays_and_what_overlaps_it_goes() -> None:
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [0, 0, 10, 5], [5, 5, 5, 5.0]])
    scores = torch.tensor([0.5, 0.9, 0.7, 0.8, 0.1])
    same = torch.zeros(5)
    assert batched_nms(boxes, scores, same, 0.7).tolist() == [1, 3, 2, 4]
    assert batched_nms(boxes, scores, same, 0.5).tolist() == [1, 2, 4]
    assert batched_nms(boxes, scores, torch.tensor([0, 1, 1, 1, 1]), 0.5).tolist() == [1, 2, 0, 4]
    assert batched_nms(boxes[:0], scores[:0], same[:0], 0.5).tolist() == []


@pytest.mark.parametrize(("family", "task"), [("sam2", "mask-generation"), ("dinov3_vit", "image-feature-extraction")])
def test_processors_that_want_torchvision(family: str, task: str, models: Callable[[str, str], Path]) -> None:
    processor = image_processor(models(family, task))
    pixels = processor(pil_image("photo"), return_tensors="np")["pixel_values"]
    assert pixels.dtype == np.float32
    assert 0.5 < pixels.std() < 3
    assert not [name for name in sys.modules if name.split(".")[0] == "torchvision"]
