"""A page as document models take it: words, and their boxes in thousandths of the page."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.ocr.words import PAGE, OcrWord, to_page

_FORMS = (
    "pass (word, [left, top, right, bottom]) pairs, boxes in thousandths of the page (0-1000); a dict of 'words' and "
    "'boxes'; or the answer of pipeline(\"ocr\")"
)


@dataclass(frozen=True)
class Page:
    """The words of a page in reading order, and the box of each: left, top, right, bottom, 0 to 1000."""

    words: tuple[str, ...]
    boxes: tuple[tuple[int, ...], ...]

    @classmethod
    def of_words(cls, words: Iterable[OcrWord], size: tuple[int, int]) -> Page:
        """Make the page of words that were read off an image of `size`: (width, height)."""
        listed = list(words)
        return cls(tuple(word.text for word in listed), tuple(tuple(to_page(word.box, *size)) for word in listed))

    @classmethod
    def parse(cls, value: Any) -> Page:
        """Read a page from `word_boxes`.

        Args:
            value: `(word, box)` pairs; a mapping of `words` and `boxes`; or the answer of the task ocr.

        Raises:
            UnsupportedError: something else, words and boxes of different number, or a box outside of 0-1000 or with
                its right before its left; the message names the word.
        """
        if isinstance(value, Mapping):
            pairs = _of_mapping(value)
        elif isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
            pairs = [_pair(number, pair) for number, pair in enumerate(value)]
        else:
            raise UnsupportedError(f"word_boxes is {reprlib.repr(value)}: {_FORMS}")
        boxes = tuple(_box(number, word, box) for number, (word, box) in enumerate(pairs))
        return cls(tuple(word for word, _ in pairs), boxes)


def _of_mapping(value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    words, boxes = value.get("words"), value.get("boxes")
    if {"words", "width", "height"} <= value.keys():
        return [(word["text"], _thousandths(word["box"], value["width"], value["height"])) for word in value["words"]]
    if not isinstance(words, (list, tuple)) or not isinstance(boxes, (list, tuple)):
        raise UnsupportedError(f"word_boxes is a dict of {', '.join(map(str, value))}: {_FORMS}")
    if len(words) != len(boxes):
        raise UnsupportedError(f"word_boxes has {len(words)} words and {len(boxes)} boxes: pass a box for each word")
    return [_pair(number, pair) for number, pair in enumerate(zip(words, boxes))]


def _thousandths(box: Mapping[str, int], width: int, height: int) -> list[int]:
    return to_page([box[side] for side in ("xmin", "ymin", "xmax", "ymax")], width, height)


def _pair(number: int, pair: Any) -> tuple[str, Any]:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not isinstance(pair[0], str):
        raise UnsupportedError(f"word_boxes[{number}] is {reprlib.repr(pair)}: {_FORMS}")
    return pair[0], pair[1]


def _box(number: int, word: str, box: Any) -> tuple[int, ...]:
    where = f"the box of word_boxes[{number}] ({reprlib.repr(word)}) is {reprlib.repr(box)}"
    try:
        left, top, right, bottom = edges = tuple(int(edge) for edge in box)
    except (TypeError, ValueError, OverflowError):
        raise UnsupportedError(f"{where}: it must be four numbers: left, top, right, bottom") from None
    if min(edges) < 0 or max(edges) > PAGE:
        raise UnsupportedError(
            f"{where}: boxes are in thousandths of the page, 0 to 1000; from pixels: 1000 * x / width, 1000 * y / "
            "height"
        )
    if left > right or top > bottom:
        raise UnsupportedError(f"{where}: its left must not be beyond its right, nor its top below its bottom")
    return edges
