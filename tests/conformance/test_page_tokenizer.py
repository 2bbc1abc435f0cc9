"""Tokenizers of pages: the ids and boxes of transformers', for every way of passing words with boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import onnxpipe
from onnxpipe.errors import BundleError
from zoo.documents import receipt

transformers = pytest.importorskip("transformers")

PAGE = receipt().word_boxes
WORDS, BOXES = [word for word, _ in PAGE], [list(box) for _, box in PAGE]
WINDOWS = {"max_length": 24, "stride": 4, "truncation": "only_second", "return_overflowing_tokens": True}

Both = Callable[..., tuple[Any, Any]]


@pytest.fixture(scope="module")
def both(models: Callable[[str, str], Path]) -> Both:
    folder = str(models("layoutlmv3", "document-question-answering"))

    def load(**settings: Any) -> tuple[Any, Any]:
        pair = onnxpipe.AutoTokenizer, transformers.AutoTokenizer
        return tuple(each.from_pretrained(folder, **settings) for each in pair)  # type: ignore[return-value]

    return load


@pytest.mark.parametrize(
    ("args", "options"),
    [
        ((WORDS,), {"boxes": BOXES}),
        (("What is the  total?", WORDS), {"boxes": BOXES}),
        ((["one", "two words"], [WORDS, WORDS[:3]]), {"boxes": [BOXES, BOXES[:3]], "padding": True}),
        (([WORDS, WORDS[:2]],), {"boxes": [BOXES, BOXES[:2]]}),
        (("What?", WORDS), {"boxes": BOXES, **WINDOWS}),
        ((["What?", "Who?"], [WORDS, WORDS[:9]]), {"boxes": [BOXES, BOXES[:9]], **WINDOWS, "padding": "max_length"}),
        (("What?", WORDS), {"boxes": BOXES, "return_special_tokens_mask": True, "return_token_type_ids": True}),
    ],
)
def test_ids_and_boxes(both: Both, args: tuple[Any, ...], options: Mapping[str, Any]) -> None:
    ours, theirs = both()
    assert dict(ours(*args, **options)) == dict(theirs(*args, **options))


def test_boxes_of_special_tokens_are_settings(both: Both, tmp_path: Path) -> None:
    settings = {"sep_token_box": [1000] * 4, "cls_token_box": [1, 2, 3, 4], "pad_token_box": [9] * 4}
    ours, theirs = both(**settings)
    options = {"boxes": [BOXES, BOXES[:3]], "padding": True}
    expected = dict(theirs(["one", "two"], [WORDS, WORDS[:3]], **options))
    assert dict(ours(["one", "two"], [WORDS, WORDS[:3]], **options)) == expected
    ours.save_pretrained(tmp_path)
    again = onnxpipe.AutoTokenizer.from_pretrained(tmp_path)
    assert dict(again(["one", "two"], [WORDS, WORDS[:3]], **options)) == expected
    path = tmp_path / "tokenizer_config.json"
    path.write_text(path.read_text("utf-8").replace('"sep_token_box": [', '"sep_token_box": [-1, '), "utf-8")
    with pytest.raises(BundleError, match="sep_token_box must be a box"):
        onnxpipe.AutoTokenizer.from_pretrained(tmp_path)


def test_as_many_boxes_as_words(both: Both) -> None:
    ours, theirs = both()
    for args, boxes in (((WORDS,), BOXES[1:]), (("q", WORDS), BOXES[1:]), ((["q"], [WORDS]), [BOXES, BOXES])):
        with pytest.raises(ValueError, match="boxes"):
            theirs(*args, boxes=boxes)
        with pytest.raises(ValueError, match="pass a"):
            ours(*args, boxes=boxes)
    arrays = ours("q", WORDS, boxes=BOXES, return_tensors="np", **{**WINDOWS, "padding": "max_length"})
    assert arrays["bbox"].shape == (*arrays["input_ids"].shape, 4)
