"""The zoo's images, videos and vision models are what the suite takes them for."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.cases import CASES, zero_shot_image_classification
from conformance.runner import Transformers, marks_of, outcome
from zoo import build, weights_hash
from zoo.vision import families as vision
from zoo.vision import images as zoo_images
from zoo.vision.images import KINDS, NAMES, ORDINARY

Models = Callable[[str, str], Path]
EVERY = [
    pytest.param(family, task, id=f"{family}-{task}", marks=pytest.mark.xdist_group(f"vision-{family}"))
    for family, task in vision.models()
]
TO_IMAGE = "image-to-image"
WITHOUT_PIXELS = ("layoutlm", "layoutlm-roberta", "lilt")
"""Models of pages that see words and boxes alone."""
RECORDED = (TO_IMAGE, "image-to-text", "visual-question-answering")
"""Tasks that transformers 5 dropped: their answers were recorded from 4.57."""
MAY_FAIL = re.compile("not an image|subtask|pool")
"""Core cases that some family or every one refuses."""
REFERENCE = Path(__file__).parents[1] / "zoo" / "reference" / "image-to-image.json"


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_of_its_kind(name: str) -> None:
    kind, image = KINDS[name], zoo_images.pil_image(name)
    assert (image.size, image.mode, image.format) == (kind.size, kind.mode, kind.format)
    assert image.getexif().get(0x0112) == kind.orientation
    turned = kind.orientation in (5, 6, 7, 8)
    width, height = kind.size[::-1] if turned else kind.size
    assert zoo_images.pixels(name).shape == (height, width, 3)
    assert image.has_transparency_data == (kind.mode in ("RGBA", "LA") or kind.transparent)
    if min(kind.size) > 1:
        assert zoo_images.pixels(name).std() > 8, "nothing to see"


def test_the_same_bytes_each_time() -> None:
    before = {name: zoo_images.encoded(name) for name in NAMES}
    zoo_images.encoded.cache_clear()
    assert {name: zoo_images.encoded(name) for name in NAMES} == before


def test_frames_move(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    frames = zoo_images.frames("first", 6)
    assert frames.shape == (6, 40, 48, 3)
    assert all((a != b).mean() > 0.01 for a, b in itertools.pairwise(frames))
    with av.open(str(zoo_images.clip("first", tmp_path, 6))) as container:
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert decoded.shape == frames.shape
    assert np.abs(decoded.astype(int) - frames).mean() < 20, "the clip shows its frames"


@pytest.mark.parametrize(("family", "task"), EVERY)
def test_the_same_model_each_time(family: str, task: str, models: Models, tmp_path: Path) -> None:
    folder = models(family, task)
    assert weights_hash(build(family, task, tmp_path / "again")) == weights_hash(folder)
    names = {path.name for path in folder.iterdir()}
    wanted = {"config.json", "model.safetensors", "preprocessor_config.json"}
    assert wanted - ({"preprocessor_config.json"} if family in WITHOUT_PIXELS else set()) <= names
    size = (folder / "model.safetensors").stat().st_size
    assert size < 3_000_000, f"{size} bytes are no tiny model"


def test_the_recorded_answers_are_of_these_models(models: Models) -> None:
    recorded = json.loads(REFERENCE.read_text("utf-8"))
    assert set(recorded["answers"]) == {f for f in vision.families(TO_IMAGE) if (f, TO_IMAGE) not in vision.missing()}
    for family, entry in recorded["answers"].items():
        assert entry["weights"][TO_IMAGE] == weights_hash(models(family, TO_IMAGE)), family


@pytest.mark.parametrize(
    ("family", "task"),
    [
        row
        for row in EVERY
        if row.values[1] in CASES and row.values not in vision.missing() and row.values[1] not in RECORDED
    ],
)
def test_the_reference_answers(family: str, task: str, theirs: Transformers) -> None:
    """Two errors compare as equal: the plain calls must not be errors."""
    for case in (case for case in CASES[task] if case.core and not MAY_FAIL.search(case.name)):
        found = outcome(theirs, task, family, case, marks_of(family, theirs.folder(family, task)), reference=True)
        assert "error" not in found, (case.name, found)


def _decisions(theirs: Any, family: str, task: str) -> list[list[dict[str, Any]]]:
    more = {}
    if task == "zero-shot-image-classification":
        more["candidate_labels"] = zero_shot_image_classification.LABELS
    pipe = theirs.pipe(task, family, task, {})
    return [pipe(zoo_images.pil_image(name), **more) for name in ORDINARY]


@pytest.mark.parametrize(
    ("family", "task"),
    [row for row in EVERY if row.values[1] in ("image-classification", "zero-shot-image-classification")],
)
def test_decisions_are_clear(family: str, task: str, theirs: Any) -> None:
    """Ten times the tolerance lies between the best label and the second, and not all images are of one label."""
    answers = _decisions(theirs, family, task)
    assert min(best["score"] - second["score"] for best, second, *_ in answers) > 1e-3
    assert len({best["score"] for best, *_ in answers}) > 1
