"""Read the answers of Florence-2: labels with boxes, quadrilaterals and polygons in the pixels of an image.

Places in an answer are tokens `<loc_0>` … `<loc_999>`: thousandths of the width or the height, x before y. Source: the
post-processor of transformers 5.23's Florence2Processor.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from onnxpipe.errors import UnsupportedError

_BINS = 1000
_PLACE = re.compile(r"<loc_(\d+)>")
_BOX = re.compile(r"<loc_(\d+)><loc_(\d+)><loc_(\d+)><loc_(\d+)>")
_QUAD = re.compile(r"(.+?)" + r"<loc_(\d+)>" * 8)
_LABELLED = re.compile(r"([^<]+(?:<loc_\d+>){4,})")
_UNLABELLED = re.compile(r"(?:(?:<loc_\d+>){4,})")
_LABELLED_SHAPES = re.compile(r"([^<]+(?:<loc_\d+>|<sep>|<poly>|</poly>){4,})")
_SHAPES = re.compile(r"(?:(?:<loc_\d+>|<sep>|<poly>|</poly>){4,})")
_LABEL = re.compile(r"^\s*(.*?)(?=<od>|</od>|<box>|</box>|<bbox>|</bbox>|<loc_|<poly>)")
_SHAPE = re.compile(r"((?:<loc_\d+>)+)(?:<sep>|$)")
_GROUP = re.compile(r"<poly>(.*?)</poly>")

Size = tuple[int, int]


def parse(text: str, task: str, size: Size | None, *, banned: Collection[str] = (), smallest_area: float = 0.0) -> Any:
    """Parse the answer to a task.

    Args:
        text: the answer, with its special tokens.
        task: such as "<OD>"; an unknown one has its answer as text.
        size: width and height of the image; needed for answers with places.
        banned: phrases that are no objects ("it", "the image").
        smallest_area: the share of the image that a line of text must have to count.

    Returns:
        A text; or a dict of lists: `bboxes` ([x0, y0, x1, y1]) with `labels`, `quad_boxes` (four corners) with
        `labels`, `polygons` (a list of polygons, [x, y, …] each) with `labels`; of open-vocabulary detection `bboxes`,
        `bboxes_labels`, `polygons`, `polygons_labels`.

    Raises:
        UnsupportedError: no size for a task with places.
    """
    clean = text.replace("<s>", "").replace("</s>", "").replace("<pad>", "")
    kind = _KINDS.get(task)
    if kind is None:
        return text.replace("<s>", "").replace("</s>", "").strip()
    if size is None:
        raise UnsupportedError(f"the answer to {task} has places: pass image_size=(width, height)")
    if kind is _quads:
        return _quads(clean, size, smallest_area)
    if kind is _phrases:
        return _phrases(clean, size, banned)
    return kind(clean, size)


def _quads(text: str, size: Size, smallest_area: float = 0.0) -> dict[str, list[Any]]:
    found = [(label.strip(), _pixels(places, size)) for label, *places in _QUAD.findall(text)]
    kept = [
        (label, box) for label, box in found if smallest_area <= 0 or _area(box) >= size[0] * size[1] * smallest_area
    ]
    return {"quad_boxes": [box for _, box in kept], "labels": [label for label, _ in kept]}


def _area(box: Sequence[int]) -> float:
    """Compute the area of a quadrilateral as the original does: without the side that closes it."""
    x, y = box[0::2], box[1::2]
    return 0.5 * abs(sum(x[i] * y[i + 1] - x[i + 1] * y[i] for i in range(3)))


def _phrases(text: str, size: Size, banned: Collection[str] = ()) -> dict[str, list[Any]]:
    found = _boxes(text, size, _LABELLED, banned)
    return {"bboxes": [box for box, _ in found], "labels": [label for _, label in found]}


def _objects(text: str, size: Size) -> dict[str, list[Any]]:
    return _phrases(text, size)


def _proposals(text: str, size: Size) -> dict[str, list[Any]]:
    found = _boxes(text, size, _UNLABELLED)
    return {"bboxes": [box for box, _ in found], "labels": [label for _, label in found]}


def _boxes(
    text: str, size: Size, pattern: re.Pattern[str], banned: Collection[str] = ()
) -> list[tuple[list[int], str]]:
    """Find the boxes behind each label."""
    found = []
    for phrase in pattern.findall(text):
        phrase = phrase.replace("<ground>", "", 1).replace("<obj>", "", 1)
        label = _LABEL.search(phrase)
        if label is None or label.group().strip() in banned:
            continue
        name = label.group().strip().encode("ascii", "ignore").decode("ascii")
        found += [(_pixels(places, size), name) for places in _BOX.findall(phrase)]
    return found


def _segments(text: str, size: Size) -> dict[str, list[Any]]:
    found = _polygons(text, size, _SHAPES)
    return {"polygons": [shapes for shapes, _ in found], "labels": [label for _, label in found]}


def _polygons(text: str, size: Size, pattern: re.Pattern[str]) -> list[tuple[list[list[int]], str]]:
    """Find the polygons behind each label; those between <poly> and </poly> belong together."""
    found = []
    for phrase in pattern.findall(text):
        label = _LABEL.search(re.sub(r"^<loc_\d+>", "", phrase, count=1))
        if label is None:
            continue
        grouped = "<poly>" in phrase and "</poly>" in phrase
        for group in _GROUP.findall(phrase) if grouped else [phrase]:
            shapes = [_PLACE.findall(shape) for shape in _SHAPE.findall(group)]
            if shapes:
                even = [_pixels(places[: len(places) // 2 * 2], size) for places in shapes]
                found.append((even, label.group().strip()))
    return found


def _open(text: str, size: Size) -> dict[str, list[Any]]:
    shapes = _polygons(text, size, _LABELLED_SHAPES) if "<poly>" in text else []
    boxes = [] if "<poly>" in text else _boxes(text, size, _LABELLED)
    return {
        "bboxes": [box for box, _ in boxes],
        "bboxes_labels": [label for _, label in boxes],
        "polygons": [polygons for polygons, _ in shapes],
        "polygons_labels": [label for _, label in shapes],
    }


def _pixels(places: Sequence[str], size: Size) -> list[int]:
    """Convert places, x before y, to pixels: the middle of each thousandth, rounded down."""
    numbers = np.array([int(place) for place in places], np.float32) + np.float32(0.5)
    scale = np.array([size[0] / _BINS, size[1] / _BINS] * (len(places) // 2), np.float32)
    return [int(number) for number in (numbers * scale).astype(np.int32)]


#: Task -> how its answer is read; the answers to the others are texts.
_KINDS: Mapping[str, Callable[[str, Size], dict[str, list[Any]]]] = {
    "<OCR_WITH_REGION>": _quads,
    "<OD>": _objects,
    "<DENSE_REGION_CAPTION>": _objects,
    "<CAPTION_TO_PHRASE_GROUNDING>": _phrases,
    "<REFERRING_EXPRESSION_SEGMENTATION>": _segments,
    "<REGION_TO_SEGMENTATION>": _segments,
    "<OPEN_VOCABULARY_DETECTION>": _open,
    "<REGION_PROPOSAL>": _proposals,
}
