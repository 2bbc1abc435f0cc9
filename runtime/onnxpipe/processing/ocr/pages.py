"""A page as document models take it: words, and their boxes in thousandths of the page."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.ocr.words import PAGE, OcrWord, box_numbers, to_edges, to_page

_FORMS = (
    "pass (word, [left, top, right, bottom]) pairs, boxes in thousandths of the page (0-1000); a dict of 'words' and "
    "'boxes'; or the answer of pipeline(\"ocr\")"
)


#: The edges of a box in the answers of tasks.
_SIDES = ("xmin", "ymin", "xmax", "ymax")


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
            UnsupportedError: something else, words and boxes of different number, a box outside of 0-1000 or with its
                right before its left, or boxes that are fractions of the page; the message names the word.
        """
        if isinstance(value, Mapping):
            pairs = _of_mapping(value)
        elif isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
            pairs = [_pair(number, pair) for number, pair in enumerate(value)]
        else:
            raise UnsupportedError(f"word_boxes is {reprlib.repr(value)}: {_FORMS}")
        _check_units([box for _, box in pairs])
        boxes = tuple(_box(number, word, box) for number, (word, box) in enumerate(pairs))
        return cls(tuple(word for word, _ in pairs), boxes)


def _of_mapping(value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    words, boxes = value.get("words"), value.get("boxes")
    if {"words", "width", "height"} <= value.keys():
        return _of_ocr_answer(words, value["width"], value["height"])
    if not isinstance(words, (list, tuple)) or not isinstance(boxes, (list, tuple)):
        raise UnsupportedError(f"word_boxes is a dict of {', '.join(map(str, value))}: {_FORMS}")
    if len(words) != len(boxes):
        raise UnsupportedError(f"word_boxes has {len(words)} words and {len(boxes)} boxes: pass a box for each word")
    return [_pair(number, pair) for number, pair in enumerate(zip(words, boxes))]


def _of_ocr_answer(words: Any, width: Any, height: Any) -> list[tuple[str, Any]]:
    """Return the words of an answer of the task ocr; it may have been stored and come back changed."""
    for name, side in (("width", width), ("height", height)):
        if isinstance(side, bool) or not isinstance(side, Integral) or side < 1:
            raise UnsupportedError(f"word_boxes has the {name} {reprlib.repr(side)}: it must be the image's, in pixels")
    if not isinstance(words, (list, tuple)):
        raise UnsupportedError(f"word_boxes has the words {reprlib.repr(words)}: {_FORMS}")
    pairs = []
    for number, word in enumerate(words):
        text, box = (word.get("text"), word.get("box")) if isinstance(word, Mapping) else (None, None)
        edges = to_edges([box.get(side) for side in _SIDES]) if isinstance(box, Mapping) else None
        if not isinstance(text, str) or edges is None:
            raise UnsupportedError(
                f"word_boxes['words'][{number}] is {reprlib.repr(word)}: it must have a 'text', and a 'box' of "
                f"{', '.join(_SIDES)} in pixels"
            )
        pairs.append((text, to_page(edges, width, height)))
    return pairs


def _check_units(boxes: Sequence[Any]) -> None:
    """Refuse fractions of the page, which as thousandths would all lie in its first corner."""
    numbers = [edge for box in boxes for edge in box_numbers(box) or ()]
    if any(edge != int(edge) for edge in numbers) and max(numbers) <= 1:
        raise UnsupportedError(
            "the boxes of word_boxes are fractions of the page: multiply them by 1000, for thousandths (0-1000)"
        )


def _pair(number: int, pair: Any) -> tuple[str, Any]:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not isinstance(pair[0], str):
        raise UnsupportedError(f"word_boxes[{number}] is {reprlib.repr(pair)}: {_FORMS}")
    return pair[0], pair[1]


def _box(number: int, word: str, box: Any) -> tuple[int, ...]:
    where = f"the box of word_boxes[{number}] ({reprlib.repr(word)}) is {reprlib.repr(box)}"
    exact = box_numbers(box)
    if exact is None:
        raise UnsupportedError(f"{where}: it must be four numbers: left, top, right, bottom")
    left, top, right, bottom = edges = tuple(int(edge) for edge in exact)
    if min(edges) < 0 or max(edges) > PAGE:
        raise UnsupportedError(
            f"{where}: boxes are in thousandths of the page, 0 to 1000; from pixels: 1000 * x / width, 1000 * y / "
            "height"
        )
    if left > right or top > bottom:
        raise UnsupportedError(f"{where}: its left must not be beyond its right, nor its top below its bottom")
    return edges
