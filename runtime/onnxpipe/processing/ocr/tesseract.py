"""Read words with the program tesseract, through pytesseract: as transformers does, with the same words and boxes."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from onnxpipe.errors import MissingDependencyError, UnsupportedError
from onnxpipe.processing.ocr.words import OcrWord

if TYPE_CHECKING:
    from PIL.Image import Image

_PACKAGE = 'ocr="tesseract" needs pytesseract; install it with: pip install "onnxpipe[tesseract]"'
_PROGRAM = (
    "the program tesseract is not installed, or not on the PATH; install it with: apt-get install tesseract-ocr "
    '(Debian, Ubuntu), brew install tesseract (macOS); or use ocr="rapidocr", which needs no program'
)
_THREADS = "OMP_THREAD_LIMIT"


def read(image: Image, lang: str | None, config: str) -> list[OcrWord]:
    """Read the words of an image in RGB.

    Args:
        image: the image.
        lang: languages by tesseract's codes, joined by "+" ("eng", "deu+fra"); None for English.
        config: further arguments of the program, "--psm 6".

    Raises:
        MissingDependencyError: pytesseract or the program is not installed.
        UnsupportedError: the program refuses the language or the arguments.
    """
    pytesseract = _import()
    try:
        with _one_thread():
            data: dict[str, list[Any]] = pytesseract.image_to_data(image, lang=lang, config=config, output_type="dict")
    except pytesseract.TesseractNotFoundError as error:
        raise MissingDependencyError(_PROGRAM) from error
    except (pytesseract.TesseractError, RuntimeError, ValueError, OSError) as error:
        said = str(getattr(error, "message", "") or error)
        raise UnsupportedError(
            f"tesseract cannot read with lang={lang!r} and tesseract_config={config!r}: {said[:300]}; "
            "tesseract --list-langs shows the languages that are installed"
        ) from error
    return list(_words(data))


def _import() -> Any:
    try:
        return importlib.import_module("pytesseract")
    except ImportError as error:
        raise MissingDependencyError(_PACKAGE) from error


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let the program run one thread: with more, those of its small loops wait for each other.

    Programs inherit the environment of the process, so a thread that sets it removes it again.
    """
    if _THREADS in os.environ:
        yield
        return
    os.environ[_THREADS] = "1"
    try:
        yield
    finally:
        os.environ.pop(_THREADS, None)


def _words(data: dict[str, list[Any]]) -> Iterator[OcrWord]:
    """Yield the words of tesseract's table, which has rows for pages, blocks and lines too, without text."""
    line, number = None, -1
    names = ("text", "left", "top", "width", "height", "conf", "page_num", "block_num", "par_num", "line_num")
    columns = (data.get(name, ()) for name in names)
    for text, left, top, width, height, score, *place in zip(*columns):
        if not text.strip():
            continue
        if place != line:
            line, number = place, number + 1
        yield OcrWord(text, (left, top, left + width, top + height), number, max(score, 0) / 100)
