"""Real models on photographs: transformers' labels, scores and masks, and int8 within one point of full precision."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxpipe import pipeline
from tolerances import REAL_MODEL

pytestmark = [pytest.mark.xdist_group("real"), pytest.mark.filterwarnings("ignore::UserWarning")]

Rows = Callable[[str], list[dict[str, Any]]]
Find = Callable[[str], Path]
SCORE = REAL_MODEL
"""Largest difference of a score."""

OFF = 1e-4
"""Share of a mask's pixels that may be of another class: where two classes tie to the last bits of a float."""


@pytest.fixture(scope="module")
def photographs(rows: Rows) -> tuple[list[Path], list[int]]:
    """100 ImageNet photographs and the indices of their classes."""
    labelled = rows("imagenet/labels.jsonl")
    folder = Path(os.environ["ONNXPIPE_TEST_DATA"]) / "imagenet"
    return [folder / row["file"] for row in labelled], [row["index"] for row in labelled]


@pytest.fixture(scope="module")
def streets(rows: Rows) -> list[Path]:
    """Six COCO photographs."""
    rows("imagenet/labels.jsonl")  # Skips where there is no data.
    return sorted((Path(os.environ["ONNXPIPE_TEST_DATA"]) / "coco").glob("*.jpg"))


def _theirs(task: str, model: Path) -> Any:
    return pytest.importorskip("transformers").pipeline(task, str(model), device="cpu")


@pytest.fixture(scope="module")
def labels(real_bundle: Find, photographs: tuple[list[Path], list[int]]) -> Callable[[str], Any]:
    """`labels(dtype)`: all answers of resnet-50 in a precision."""

    @cache
    def answers(dtype: str) -> Any:
        return pipeline("image-classification", real_bundle("resnet-50"), dtype=dtype)(photographs[0])

    return answers


def _recognised(answers: Any, model: Path, indices: list[int]) -> np.ndarray:
    """For each photograph: whether its best label is the right one."""
    names = json.loads((model / "config.json").read_text("utf-8"))["id2label"]
    return np.array([answer[0]["label"] == names[str(index)] for answer, index in zip(answers, indices, strict=True)])


def test_resnet_labels_and_scores(
    real_model: Find, labels: Callable[[str], Any], photographs: tuple[list[Path], list[int]]
) -> None:
    theirs = _theirs("image-classification", real_model("resnet-50"))([str(path) for path in photographs[0]])
    for path, expected, got in zip(photographs[0], theirs, labels("fp32"), strict=True):
        assert [item["label"] for item in got] == [item["label"] for item in expected], path.name
        assert max(abs(a["score"] - b["score"]) for a, b in zip(got, expected)) < SCORE, path.name


def test_resnet_top1(
    real_model: Find, labels: Callable[[str], Any], photographs: tuple[list[Path], list[int]], record_property: Any
) -> None:
    """int8 may lose one point of accuracy, and what chance gives on so few photographs; better is not a fault."""
    full, small = (_recognised(labels(d), real_model("resnet-50"), photographs[1]) for d in ("fp32", "int8"))
    top1 = {"fp32": float(100 * full.mean()), "int8": float(100 * small.mean())}
    record_property("top1", top1)
    print(f"resnet-50 top-1 of {len(full)} photographs: {top1}")
    assert top1["fp32"] > 65
    # Only photographs that one precision recognises and the other does not can show a difference (McNemar, 1947). Each
    # counts one for either side, so the difference of `differing` of them has a deviation of at most sqrt(differing). A
    # model that truly loses at most one in a hundred stays within two deviations in 39 of 40 sets of photographs.
    differing = int((full != small).sum())
    assert full.sum() - small.sum() <= 0.01 * len(full) + 2 * differing**0.5


@pytest.mark.parametrize("dtype", ["fp32", "int8"])
def test_an_answer_does_not_depend_on_its_neighbours(
    real_bundle: Find, photographs: tuple[list[Path], list[int]], labels: Callable[[str], Any], dtype: str
) -> None:
    paths = photographs[0][:20]
    order = np.random.default_rng(0).permutation(len(paths)).tolist()
    pipe = pipeline("image-classification", real_bundle("resnet-50"), dtype=dtype)
    alone = [pipe(path) for path in paths]
    for i, answer in zip(order, pipe([paths[i] for i in order], batch_size=7)):
        assert [item["label"] for item in answer] == [item["label"] for item in alone[i]]
        assert max(abs(a["score"] - b["score"]) for a, b in zip(answer, alone[i])) <= SCORE
    assert [[item["label"] for item in answer] for answer in labels(dtype)[:20]] == [
        [item["label"] for item in answer] for answer in alone
    ]


def test_deeplab_masks(real_model: Find, real_bundle: Find, streets: list[Path]) -> None:
    theirs = _theirs("image-segmentation", real_model("mobilenet-v2-deeplab"))
    ours = pipeline("image-segmentation", real_bundle("mobilenet-v2-deeplab"))
    assert len(streets) == 6
    for path, got in zip(streets, ours(streets), strict=True):
        expected = theirs(str(path))
        assert [(item["label"], item["score"]) for item in got] == [(item["label"], None) for item in expected]
        for mine, other in zip(got, expected):
            assert (mine["mask"].mode, mine["mask"].size) == (other["mask"].mode, other["mask"].size)
            differing = np.asarray(mine["mask"]) != np.asarray(other["mask"])
            assert differing.mean() <= OFF, (path.name, mine["label"], int(differing.sum()))


def test_deeplab_masks_of_int8(real_bundle: Find, streets: list[Path], record_property: Any) -> None:
    """The share of pixels of the same class as at full precision."""
    classes = {}
    for dtype in ("fp32", "int8"):
        pipe = pipeline("image-segmentation", real_bundle("mobilenet-v2-deeplab"), dtype=dtype)
        classes[dtype] = [{item["label"]: np.asarray(item["mask"]) > 0 for item in answer} for answer in pipe(streets)]
    agreement = [
        float(np.sum([mask & small.get(label, False) for label, mask in full.items()]) / next(iter(full.values())).size)
        for full, small in zip(classes["fp32"], classes["int8"])
    ]
    record_property("agreement", agreement)
    print(f"deeplab pixels of int8 that are of fp32's class: {agreement}")
    assert min(agreement) > 0.9
    assert np.mean(agreement) > 0.95
