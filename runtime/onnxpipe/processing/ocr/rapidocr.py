"""Read words with RapidOCR: the models of PaddleOCR in ONNX, which are in its wheel, so no program is needed."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from onnxpipe.errors import MissingDependencyError
from onnxpipe.processing.ocr.words import Edges, OcrWord, number_lines

if TYPE_CHECKING:
    from PIL.Image import Image

_PACKAGE = 'ocr="rapidocr" needs RapidOCR; install it with: pip install "onnxpipe[rapidocr]"'
#: An engine keeps the state of a call.
_lock = Lock()


class _Found(NamedTuple):
    text: str
    box: Edges
    score: float


def read(image: Image) -> list[OcrWord]:
    """Read the words of an image in RGB: Chinese and English, which the models in the wheel know.

    Raises:
        MissingDependencyError: RapidOCR is not installed.
    """
    pixels = np.ascontiguousarray(np.asarray(image)[..., ::-1])  # it takes BGR
    with _lock:
        answer = _engine()(pixels, return_word_box=True)
    lines = getattr(answer, "txts", None)
    if lines is None or answer.boxes is None:
        return []
    parts = zip(lines, answer.scores, answer.boxes, answer.word_results or [()] * len(lines))
    found = [word for part in parts for word in _words(*part)]
    # the engine finds stretches of text; those side by side make a line
    numbers = number_lines([word.box for word in found])
    return [OcrWord(word.text, word.box, number, word.score) for word, number in zip(found, numbers, strict=True)]


@cache
def _engine() -> Any:
    """Build the engine once for the process: loading its models takes a second."""
    # not at the top: a function of the user's needs none of it
    from onnxpipe.engine.runtime import import_onnxruntime
    from onnxpipe.engine.threads import available_threads

    import_onnxruntime()  # sets what it has to know before its import
    try:
        rapidocr = importlib.import_module("rapidocr")
    except ImportError as error:
        raise MissingDependencyError(_PACKAGE) from error
    return rapidocr.RapidOCR(
        params={
            "Global.log_level": "critical",
            "EngineConfig.onnxruntime.intra_op_num_threads": available_threads(),
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )


def _words(text: str, score: float, outline: Any, words: Sequence[Any]) -> Iterator[_Found]:
    """Yield the words of a stretch of text; where the engine has no boxes of words, its own is shared out."""
    if words and all(len(word) == 3 and np.shape(word[2]) == (4, 2) for word in words):
        for word, certainty, corners in words:
            if word.strip():
                yield _Found(word.strip(), _edges(corners), float(certainty))
        return
    for part, box in shared_out(text, _edges(outline)):
        yield _Found(part, box, float(score))


def shared_out(text: str, box: Edges) -> list[tuple[str, Edges]]:
    """Give each word of a text the part of its box that its letters take, as if all were equally wide."""
    left, top, right, bottom = box
    step = (right - left) / max(len(text), 1)
    parts, place = [], 0
    for word in text.split():
        place = text.index(word, place)
        parts.append((word, (round(left + place * step), top, round(left + (place + len(word)) * step), bottom)))
        place += len(word)
    return parts


def _edges(corners: Any) -> Edges:
    """Return the box around the corners, in whole pixels."""
    points = np.asarray(corners, np.float64)
    left, top = np.floor(points.min(0)).astype(int).tolist()
    right, bottom = np.ceil(points.max(0)).astype(int).tolist()
    return left, top, right, bottom
