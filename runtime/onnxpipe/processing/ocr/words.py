"""The words that were read off an image, the lines that they form, and their boxes in the two units there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import groupby
from math import ceil, floor, isfinite
from typing import Any

#: Left, top, right and bottom, in whole pixels.
Edges = tuple[int, int, int, int]

#: Width and height of a page in the units of document models: their boxes lie in 0-1000.
PAGE = 1000


@dataclass(frozen=True)
class OcrWord:
    """A word that was read off an image.

    Attributes:
        text: the word.
        box: its edges, in pixels of the image.
        line: the number of its line, from 0 in reading order.
        score: how sure the program is, 0 to 1; None where it does not say.
    """

    text: str
    box: Edges
    line: int
    score: float | None = None


@dataclass(frozen=True)
class OcrLine:
    """Words that stand side by side.

    Attributes:
        words: the words, in reading order; never empty.
    """

    words: tuple[OcrWord, ...]

    @property
    def text(self) -> str:
        """The words, with spaces between them."""
        return " ".join(word.text for word in self.words)

    @property
    def box(self) -> Edges:
        """The box around all words."""
        return around([word.box for word in self.words])

    @property
    def score(self) -> float | None:
        """The mean of the words' scores; None where one has none."""
        scores = [word.score for word in self.words if word.score is not None]
        return sum(scores) / len(scores) if len(scores) == len(self.words) else None


def lines_of(words: Iterable[OcrWord]) -> list[OcrLine]:
    """Group words in reading order by the numbers of their lines."""
    return [OcrLine(tuple(line)) for _, line in groupby(words, key=lambda word: word.line)]


def around(boxes: Sequence[Edges]) -> Edges:
    """Return the smallest box that holds all of the boxes."""
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def box_numbers(box: Any) -> tuple[float, float, float, float] | None:
    """Return left, top, right and bottom of a box: four finite numbers in a list, tuple or array; None for all else.

    A text of four digits is no box, nor is a set, which has no order.
    """
    is_list = isinstance(box, Iterable) and not isinstance(box, (str, bytes, bytearray, Set, Mapping))
    edges = list(box) if is_list else []
    if len(edges) != 4 or any(isinstance(edge, str) for edge in edges):
        return None
    try:
        left, top, right, bottom = map(float, edges)
    except (TypeError, ValueError, OverflowError):
        return None
    return (left, top, right, bottom) if all(map(isfinite, (left, top, right, bottom))) else None


def to_edges(box: Any) -> Edges | None:
    """Convert a box to the whole pixels that hold it; None for anything that is no box, or is inside out."""
    edges = box_numbers(box)
    if edges is None or edges[0] > edges[2] or edges[1] > edges[3]:
        return None
    left, top, right, bottom = edges
    return floor(left), floor(top), ceil(right), ceil(bottom)


def to_page(box: Sequence[float], width: int, height: int) -> list[int]:
    """Convert a box in pixels to thousandths of the page, cut towards zero, as document models were trained.

    Args:
        box: left, top, right, bottom. What sticks out of the image is cut off.
        width, height: of the image.
    """
    scaled = (PAGE * (edge / side) for edge, side in zip(box, (width, height, width, height), strict=True))
    return [min(max(int(edge), 0), PAGE) for edge in scaled]


def to_pixels(box: Sequence[float], width: int, height: int) -> list[int]:
    """Convert a box in thousandths of the page to whole pixels of the image."""
    return [round(edge * side / PAGE) for edge, side in zip(box, (width, height, width, height), strict=True)]


def number_lines(boxes: Sequence[Edges]) -> list[int]:
    """Number the lines of words in reading order, by their boxes alone.

    A word continues a line if it begins no further left than the last one and overlaps it by half of the lower height.
    """
    numbers: list[int] = []
    for place, box in enumerate(boxes):
        before = boxes[place - 1] if place else None
        if before is None:
            numbers.append(0)
            continue
        overlap = min(box[3], before[3]) - max(box[1], before[1])
        beside = box[0] >= before[0] and overlap * 2 >= min(box[3] - box[1], before[3] - before[1])
        numbers.append(numbers[-1] + (not beside))
    return numbers
