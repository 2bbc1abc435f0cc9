"""Keypoints of one image: no pipeline of transformers, but a processor, a model and its post-processing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.compare import same
from conformance.values import plain
from zoo.vision import families as vision
from zoo.vision.images import ORDINARY, SAME_SIZE, pil_image

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TASK = vision.NO_PIPELINE
IMAGES = [(name,) for name in (*ORDINARY, "odd", "grey", "rgba")] + [SAME_SIZE]


@pytest.fixture(scope="module", params=[family for family, task in vision.models() if task == TASK])
def libraries(request: pytest.FixtureRequest, models: Callable[..., Path], bundles: Callable[..., Path]) -> Any:
    """(processor, model) of transformers and of onnxpipe."""
    import onnxpipe

    model, bundle = str(models(request.param, TASK)), str(bundles(request.param, TASK))
    theirs = (
        transformers.AutoImageProcessor.from_pretrained(model),
        transformers.AutoModelForKeypointDetection.from_pretrained(model).eval(),
    )
    ours = (
        onnxpipe.AutoImageProcessor.from_pretrained(bundle),
        onnxpipe.AutoModelForKeypointDetection.from_pretrained(bundle),
    )
    return theirs, ours


@pytest.mark.parametrize("names", IMAGES, ids=lambda names: "+".join(names))
def test_same_keypoints(libraries: Any, names: tuple[str, ...]) -> None:
    images = [pil_image(name).convert("RGB") for name in names]
    sizes = [image.size[::-1] for image in images]
    found = []
    for (processor, model), kind in zip(libraries, ("pt", "np")):
        with torch.inference_mode():
            outputs = model(**processor(images, return_tensors=kind))
        answers = processor.post_process_keypoint_detection(outputs, sizes)
        found.append([{name: np.asarray(value) for name, value in answer.items()} for answer in plain(answers)])
    assert all(len(answer["keypoints"]) > 3 for answer in found[0]), "there is something to compare"
    assert same(*found) is None, same(*found)
