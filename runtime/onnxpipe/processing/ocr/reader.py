"""Read the words of an image with the program that the user chose."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onnxpipe.errors import UnknownChoiceError, UnsupportedError
from onnxpipe.processing.ocr import rapidocr, tesseract
from onnxpipe.processing.ocr.words import Edges, OcrWord, number_lines, to_edges

if TYPE_CHECKING:
    from PIL.Image import Image

#: From a PIL image to words with their boxes in pixels: left, top, right, bottom.
WordReader = Callable[[Any], Iterable[tuple[str, Any]]]
#: The programs by name.
PROGRAMS = ("tesseract", "rapidocr")


@dataclass(frozen=True)
class Ocr:
    """The way in which words are read.

    Attributes:
        program: "tesseract", "rapidocr", or a function from a PIL image (RGB) to `(word, box)` pairs in reading order,
            boxes in pixels: left, top, right, bottom.
        lang: languages, for tesseract alone; None for English.
        tesseract_config: further arguments of tesseract.
    """

    program: str | WordReader = "tesseract"
    lang: str | None = None
    tesseract_config: str = ""

    def check(self) -> None:
        """Refuse options that do not go together.

        Raises:
            UnknownChoiceError: no such program.
            UnsupportedError: options of tesseract, and the program is another.
        """
        if not callable(self.program) and self.program not in PROGRAMS:
            raise UnknownChoiceError(
                f"ocr={reprlib.repr(self.program)}: choose one of 'tesseract', 'rapidocr', or pass a function from an "
                "image to (word, box) pairs"
            )
        for name, value in (("lang", self.lang), ("tesseract_config", self.tesseract_config)):
            if value and self.program != "tesseract":
                raise UnsupportedError(
                    f'{name}={value!r} is for ocr="tesseract"; RapidOCR reads Chinese and English, a function what '
                    "it can"
                )

    def read(self, image: Image) -> list[OcrWord]:
        """Read the words of an image in RGB, in reading order; none is blank.

        Raises:
            MissingDependencyError: the program, or the package that calls it, is not installed.
            UnsupportedError: options that do not go together, or a function that gives something else.
        """
        self.check()
        if callable(self.program):
            return _checked(self.program(image))
        if self.program == "rapidocr":
            return rapidocr.read(image)
        return tesseract.read(image, self.lang, self.tesseract_config)


def _checked(found: Any) -> list[OcrWord]:
    """Check what a user's function gives, and number its lines."""
    if isinstance(found, (str, bytes)) or not isinstance(found, Iterable):
        raise _not_words(found)
    pairs: list[tuple[str, Edges]] = []
    for pair in found:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not isinstance(pair[0], str):
            raise _not_words(pair)
        edges = to_edges(pair[1])
        if edges is None:
            raise _not_words(pair)
        if pair[0].strip():
            pairs.append((pair[0], edges))
    numbers = number_lines([box for _, box in pairs])
    return [OcrWord(word, box, number) for (word, box), number in zip(pairs, numbers, strict=True)]


def _not_words(given: Any) -> UnsupportedError:
    return UnsupportedError(
        f"the function passed as ocr= gave {reprlib.repr(given)}: it must give (word, box) pairs, a box being left, "
        "top, right and bottom in pixels"
    )
