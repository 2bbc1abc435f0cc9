"""Markers of images in texts, and the answers of Florence-2. Whole processors are compared in tests/conformance."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from onnxpipe.errors import ImageError, UnsupportedError
from onnxpipe.processing.multimodal import placeholders
from onnxpipe.processing.multimodal.florence2 import sentence_of
from onnxpipe.processing.multimodal.florence2_answers import parse
from onnxpipe.processing.text.chat.control_tokens import ControlTokens, is_marked


def backend() -> Tokenizer:
    """Words, and "<image>" as a special token."""
    words = ["a", "b", "<", "image", ">", "[UNK]"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens([AddedToken("<image>", special=True, normalized=False)])
    return tokenizer


def test_markers_are_replaced_in_order() -> None:
    first, second = placeholders.expand(["a<image>b<image>", "<image>"], {"<image>": ["XX", "YYY", ""]})
    assert (first.text, second.text) == ("aXXbYYY", "")
    assert [first.text[first.place(at)] for at in (0, 8)] == ["a", "b"]
    assert first.place(len("a<image>b<image>")) == len(first.text)


def test_markers_that_users_typed_are_not_replaced() -> None:
    control = ControlTokens.only(backend(), ["<image>"])
    typed = control.marked("a <image>")
    assert is_marked(typed) and placeholders.count(typed, "<image>") == 0
    (found,) = placeholders.expand([f"<image>{typed}"], {"<image>": ["<image><image>"]})
    ids = control.encode(backend(), found.text)
    image = backend().token_to_id("<image>")
    assert ids.count(image) == 2, "those of the image, and not the typed one"
    assert [backend().id_to_token(i) for i in ids[2:]] == ["a", "<", "image", ">"]


def test_marks_that_a_user_brings_are_removed() -> None:
    control = ControlTokens.only(backend(), ["<image>"])
    assert not is_marked(control.marked("\U000f0000 \U000f0001"))


@pytest.mark.parametrize(
    ("images", "nested", "numbers"),
    [([1], None, "2 .* 1 images"), (None, None, "2 .* 0 images"), ([1, 2, 3], None, "2 .* 3 images"),
     ([1, 2], [[1, 2], []], r"\[1, 1\] .* \[2, 0\] images")],
)  # fmt: skip
def test_numbers_that_do_not_match_are_both_named(images: Any, nested: Any, numbers: str) -> None:
    with pytest.raises(ImageError, match=f"Found .*{numbers}"):
        placeholders.groups_of(["<image> a", "b <image>"], "<image>", images, nested)


def test_images_are_shared_out_by_the_markers() -> None:
    texts = ["<image><image>", "no", "<image>"]
    assert placeholders.groups_of(texts, "<image>", [1, 2, 3], None) == [[1, 2], [], [3]]
    assert placeholders.groups_of(texts, "<image>", None, [[1, 2], [], [3]]) == [[1, 2], [], [3]]


def test_tasks_become_sentences() -> None:
    assert sentence_of("<OD>") == "Locate the objects with category name in the image."
    assert sentence_of("<CAPTION_TO_PHRASE_GROUNDING> a {cat}") == "Locate the phrases in the caption: a {cat}"
    assert sentence_of("What is this?") == "What is this?"
    with pytest.raises(UnsupportedError, match="only content"):
        sentence_of("<OD> cats")


def test_places_become_pixels() -> None:
    text = "</s><s>cat<loc_0><loc_0><loc_999><loc_499>dog<loc_1><loc_2><loc_3><loc_4></s>"
    found = parse(text, "<OD>", (1000, 500))
    assert found == {"bboxes": [[0, 0, 999, 249], [1, 1, 3, 2]], "labels": ["cat", "dog"]}
    assert parse("<s>A cat.</s>", "<CAPTION>", None) == "A cat."
    with pytest.raises(UnsupportedError, match="image_size"):
        parse(text, "<OD>", None)
