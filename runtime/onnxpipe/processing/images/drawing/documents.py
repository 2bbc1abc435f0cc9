"""Draw what was read in a document: words with their boxes, or the words that answer a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnxpipe.processing.images.drawing import canvas
from onnxpipe.processing.images.io.pillow import import_pillow

import_pillow()  # if Pillow is missing, this error has the line to install it

from PIL import Image, ImageDraw  # noqa: E402

_SIDES = ("xmin", "ymin", "xmax", "ymax")
#: Opacity of a marker over text, of 255.
_TINT = 90
#: A word below this score is drawn in the colour of doubt.
_UNSURE = 0.6


def words(image: Image.Image, answer: Mapping[str, Any]) -> Image.Image:
    """Frame the words that were read, those of low scores in another colour, and underline each line."""
    image, times = canvas.enlarged(image)
    scale = canvas.Scale.of(image.size)
    sure, unsure = canvas.colour(1), canvas.colour(0)
    doubts = [one for one in answer["words"] if one["score"] is not None and one["score"] < _UNSURE]
    for one in answer["words"]:
        _mark(image, _scaled(one["box"], times), unsure if one in doubts else sure, scale)
    pen = ImageDraw.Draw(image)
    for line in answer["lines"]:
        left, _, right, bottom = _scaled(line["box"], times)
        pen.line(
            (left, bottom + scale.line, right, bottom + scale.line), fill=canvas.INK, width=max(1, scale.line // 2)
        )
    entries = [canvas.Entry(_counted(len(answer["words"]), "word"), sure)]
    entries += [canvas.Entry(f"{_counted(len(doubts), 'word')} below a score of {_UNSURE}", unsure)] if doubts else []
    entries.append(canvas.Entry(_counted(len(answer["lines"]), "line"), None))
    return canvas.with_legend(image, entries, scale)


def answers(image: Image.Image, answer: Sequence[Mapping[str, Any]]) -> Image.Image:
    """Mark the words of each answer, and list the answers with their scores below, the best first.

    A word of several answers has the colour of the best.
    """
    image, times = canvas.enlarged(image)
    scale = canvas.Scale.of(image.size)
    marked: set[canvas.Box] = set()
    for place, one in enumerate(answer):
        for box in (_scaled(each, times) for each in one["boxes"]):
            if box not in marked:
                _mark(image, box, canvas.colour(place), scale)
                marked.add(box)
    entries = [
        canvas.Entry(f"{one['answer'] or '(no answer)'}  {canvas.percent(one['score'])}", canvas.colour(place))
        for place, one in enumerate(answer)
    ]
    return canvas.with_legend(image, entries, scale)


def _scaled(box: Mapping[str, int], times: int) -> canvas.Box:
    left, top, right, bottom = (box[side] * times for side in _SIDES)
    return left, top, right, bottom


def _mark(image: Image.Image, box: canvas.Box, colour: canvas.Colour, scale: canvas.Scale) -> None:
    """Lay a translucent colour over a word, with a frame around it, a little apart from its letters."""
    room = scale.line
    left, top, right, bottom = min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3])
    frame = (left - room, top - room, right + room, bottom + room)
    pen = ImageDraw.Draw(image, "RGBA")
    width = max(1, scale.line // 2)
    pen.rounded_rectangle(frame, radius=2 * room, fill=(*colour, _TINT), outline=(*colour, 255), width=width)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
