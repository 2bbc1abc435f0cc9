"""Donut's processor: the arrays of transformers', and the same objects from its texts."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import numpy as np
import pytest

import onnxpipe
from onnxpipe.processing.multimodal.donut import DonutProcessor
from zoo.cache import cached_model
from zoo.vision.image_to_text_models import TASK
from zoo.vision.images import pil_image

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.xdist_group("vision-donut")

RECEIPT = "<s_menu><s_nm>Tea</s_nm><s_cnt>2</s_cnt><sep/><s_nm>Cake <sep/> Jam</s_nm></s_menu><s_paid><yes/></s_paid>"
TEXTS = (
    RECEIPT,
    f"{RECEIPT}<sep/>{RECEIPT}",
    "<s_a>one<sep/>two</s_a>",
    "<s_a></s_a>",
    "plain text",
    "",
    "<s_a>never ends",
    "<s_a>text<s_b>inside</s_b></s_a>",
    "before <s_a>x</s_a> after <S_b>y</S_B>",
    "<s_a>x</s_a><sep/>",
    "</s_a><s_a>x",
    "<s_a.*>x</s_a.*>",
    "<s_",
    "<s_menu><s_nm></s_menu>",
)
_PIECES = (
    "<s_a>",
    "</s_a>",
    "<s_b>",
    "</s_b>",
    "<s_nm>",
    "</s_nm>",
    "<sep/>",
    "<yes/>",
    "<no/>",
    "Tea",
    " ",
    "<",
    ">",
    "2.50",
)


@cache
def _ours() -> Any:
    return onnxpipe.AutoProcessor.from_pretrained(cached_model("donut", TASK))


@cache
def _theirs() -> Any:
    folder = cached_model("donut", TASK)
    images = transformers.DonutImageProcessorPil.from_pretrained(folder)
    return transformers.DonutProcessor(images, transformers.AutoTokenizer.from_pretrained(folder))


def test_arrays() -> None:
    assert isinstance(_ours(), DonutProcessor)
    image, text = pil_image("photo"), "<s_cord><s_menu>Tea"
    expected = _theirs()(image.convert("RGB"), text, return_tensors="np")
    found = _ours()(image, text)
    for name in ("pixel_values", "input_ids"):
        np.testing.assert_array_equal(found[name], expected[name])
    np.testing.assert_array_equal(
        _ours()(text=text)["input_ids"], _theirs()(text=text, return_tensors="np")["input_ids"]
    )


@pytest.mark.parametrize("text", TEXTS)
def test_objects(text: str) -> None:
    assert _ours().token2json(text) == _theirs().token2json(text)


def test_objects_of_random_tags() -> None:
    generator = random.Random(4)
    for _ in range(3000):
        text = "".join(generator.choices(_PIECES, k=generator.randint(1, 14)))
        assert _ours().token2json(text) == _theirs().token2json(text), text


def test_objects_that_lie_too_deep() -> None:
    text = "".join(f"<s_{i}>" for i in range(300)) + "x" + "".join(f"</s_{i}>" for i in reversed(range(300)))
    with pytest.raises(ValueError, match="more than 100 deep"):
        _ours().token2json(text)
