"""ocr: read the words of an image, with their boxes and lines. It needs no model, but a program that reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload

import numpy as np

from onnxpipe.engine.batching import Row
from onnxpipe.engine.scheduler import Answered, Outputs
from onnxpipe.processing.ocr.reader import Ocr, WordReader
from onnxpipe.processing.ocr.words import OcrLine, OcrWord, lines_of
from onnxpipe.tasks.base.call_types import Box, ImageCallOptions, ImageInput, Stream
from onnxpipe.tasks.base.columns import Cells, fixed_columns
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.image import ImageOptions, ImagePipeline, box_of, size_of
from onnxpipe.tasks.base.spec import TaskSpec

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class OcrOptions(ImageOptions):
    """Options of ocr.

    Attributes:
        ocr: the program that reads: "tesseract", "rapidocr", or a function from a PIL image to `(word, box)` pairs,
            a box being left, top, right and bottom in pixels.
        lang: languages by tesseract's codes ("eng", "deu+fra"); None for English.
        tesseract_config: further arguments of tesseract, "--psm 6".
    """

    ocr: str | WordReader = "tesseract"
    lang: str | None = None
    tesseract_config: str = ""


class OcrCallOptions(ImageCallOptions, total=False):
    """The options of a call: see `OcrOptions`."""

    ocr: str | WordReader | None
    lang: str | None
    tesseract_config: str | None


class TextBox(TypedDict):
    """A word or a line: its text, how sure the program is (0 to 1, None where it does not say), and its box."""

    text: str
    score: float | None
    box: Box


class OcrAnswer(TypedDict):
    """The text of an image, its words and lines in reading order, and the size of the image in pixels."""

    text: str
    words: list[TextBox]
    lines: list[TextBox]
    width: int
    height: int


class OcrPipeline(ImagePipeline[OcrOptions]):
    """Read an image: `{"text", "words", "lines", "width", "height"}`.

    `text` has a line of the image in each line; an entry of `words` and `lines` is `{"text", "score", "box"}`, in
    reading order, with boxes in pixels. document-question-answering takes the answer as `word_boxes`.
    """

    Options = OcrOptions
    _load_image_processor = False

    if TYPE_CHECKING:

        @overload
        def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
            self, inputs: list[Any], **options: Unpack[OcrCallOptions]
        ) -> list[OcrAnswer]: ...
        @overload
        def __call__(self, inputs: ImageInput, **options: Unpack[OcrCallOptions]) -> OcrAnswer: ...
        @overload
        def __call__(self, inputs: Stream, **options: Unpack[OcrCallOptions]) -> PipelineIterator[OcrAnswer]: ...
        def __call__(self, inputs: Any, *args: Any, **options: Any) -> Any: ...

    def check_processor(self) -> None:
        """Ask for no image processor: programs read images as they are."""

    def parse(self, kwargs: Mapping[str, Any], base: OcrOptions | None) -> OcrOptions:
        options = super().parse(kwargs, base)
        ocr_of(options).check()
        return options

    def load(self, source: Any, options: OcrOptions) -> Image:
        """Load the image of a source, in RGB, upright, as it is seen on white paper where it is transparent."""
        from onnxpipe.processing.images.inputs import on_white
        from onnxpipe.processing.images.io.load import load_with_alpha

        image: Image = on_white(load_with_alpha(source, options.timeout))
        return image

    def encode(self, value: Any, options: OcrOptions) -> Iterable[Row]:
        image = self.load(value, options)
        return [Row({"image": np.asarray(image)}, image.width * image.height, image)]

    def run(self, rows: Sequence[Row], options: OcrOptions) -> list[Outputs]:
        """Read the rows' images one by one."""
        read = ocr_of(options).read
        outputs: list[Any] = [{"words": read(row.extra)} for row in rows]  # a row's outputs need not be arrays here
        return outputs

    def decode(self, rows: Answered, options: OcrOptions) -> OcrAnswer:
        row, outputs = rows[0]
        words: Any = outputs["words"]
        lines, size = lines_of(words), size_of(row.extra)
        return {
            "text": "\n".join(line.text for line in lines),
            "words": [_text_box(word) for word in words],
            "lines": [_text_box(line) for line in lines],
            "width": size.width,
            "height": size.height,
        }


def ocr_of(options: Any) -> Ocr:
    """Return the way in which words are read that the options of a task say: `ocr`, `lang`, `tesseract_config`."""
    return Ocr(options.ocr, options.lang, options.tesseract_config)


def _text_box(part: OcrWord | OcrLine) -> TextBox:
    return {"text": part.text, "score": part.score, "box": box_of(part.box)}


def _cells(answer: Any) -> Cells:
    return {"text": answer["text"], "words": answer["words"]}


TASK = TaskSpec(
    name="ocr",
    pipeline=OcrPipeline,
    auto_classes=(),
    help="Read the words of an image, with their boxes and lines.",
    example='"receipt.png", ocr="rapidocr"',
    input="image",
    columns=fixed_columns("text", "words", cells=_cells),
    draws=True,
    has_model=False,
)
