"""object-detection: find the objects in images: boxes with labels.

Models that label the words of a page (LayoutLM and its kin with a head for tokens) belong to the task too, as in
transformers: an answer is a token, with the box of its word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Unpack, overload

import numpy as np

from onnxpipe.engine.batching import Array, Padding, Row, stack
from onnxpipe.engine.scheduler import Answered, Outputs
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.auto import AutoModelForObjectDetection
from onnxpipe.processing.ocr.reader import Ocr, WordReader
from onnxpipe.processing.ocr.words import PAGE
from onnxpipe.processing.scores import softmax
from onnxpipe.tasks.base.call_types import DetectedObject, ImageCallOptions, ImageInput, Stream
from onnxpipe.tasks.base.columns import one_column
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.image import (
    ImageOptions,
    ImagePipeline,
    Size,
    batch_of_one,
    box_of,
    post_processor,
    size_of,
)
from onnxpipe.tasks.base.option_rules import number_option
from onnxpipe.tasks.base.pages import PageEncoder, load_page
from onnxpipe.tasks.base.spec import TaskSpec

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class ObjectDetectionOptions(ImageOptions):
    """Options of object-detection.

    Attributes:
        threshold: the score that a box must exceed.
        ocr: for models that label the words of pages, the program that reads them: "tesseract", "rapidocr", or a
            function from a PIL image to `(word, box)` pairs, a box being left, top, right and bottom in pixels.
        lang: languages by tesseract's codes ("eng", "deu+fra"); None for those that the model's files name.
        tesseract_config: further arguments of tesseract, "--psm 6".
    """

    threshold: float = number_option(0.5, least=0, most=1)
    ocr: str | WordReader = "tesseract"
    lang: str | None = None
    tesseract_config: str = ""


class ObjectDetectionCallOptions(ImageCallOptions, total=False):
    """The options of a call: see `ObjectDetectionOptions`."""

    threshold: float | None
    ocr: str | WordReader | None
    lang: str | None
    tesseract_config: str | None


@dataclass(frozen=True)
class _Window:
    """What decoding needs of a row of tokens: the image's size, the tokens' boxes, and which of them it answers for."""

    size: Size
    boxes: Array
    own: Array


class ObjectDetectionPipeline(ImagePipeline[ObjectDetectionOptions]):
    """Find objects: a list of `{"score", "label", "box"}`, the boxes in pixels of the image, in the model's order.

    A model that labels words gives such an entry for each token, in reading order, with the box of its word.

    Its options are those of `ObjectDetectionOptions`.
    """

    Options = ObjectDetectionOptions
    # models that label words need a tokenizer, and not all an image processor
    _load_tokenizer: ClassVar[bool | None] = None
    _load_image_processor: ClassVar[bool | None] = None

    if TYPE_CHECKING:

        @overload
        def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
            self, inputs: list[Any], **options: Unpack[ObjectDetectionCallOptions]
        ) -> list[list[DetectedObject]]: ...
        @overload
        def __call__(
            self, inputs: ImageInput, **options: Unpack[ObjectDetectionCallOptions]
        ) -> list[DetectedObject]: ...
        @overload
        def __call__(
            self, inputs: Stream, **options: Unpack[ObjectDetectionCallOptions]
        ) -> PipelineIterator[list[DetectedObject]]: ...
        def __call__(self, inputs: Any, *args: Any, **options: Any) -> Any: ...

    def prepare(self) -> None:
        inputs = tuple(self.model.session.inputs)
        self._pages = None
        if "bbox" in inputs:
            self._pages = PageEncoder(self.model.name_or_path, inputs, self.tokenizer, self.image_processor)
        super().prepare()
        if self._pages is None:
            self._post_process = post_processor(self.image_processor, ["post_process_object_detection"], self.task)

    def check_processor(self) -> None:
        """Refuse a detector without an image processor; pages need one only if the model looks at them."""
        if self._pages is None:
            super().check_processor()

    def parse(self, kwargs: Mapping[str, Any], base: ObjectDetectionOptions | None) -> ObjectDetectionOptions:
        """See `Pipeline.parse`.

        Raises:
            UnsupportedError: options of OCR that do not go together, or for a model that reads no words.
        """
        options = super().parse(kwargs, base)
        if self._pages is not None:
            Ocr(options.ocr, options.lang, options.tesseract_config).check()
            return options
        for name in ("ocr", "lang", "tesseract_config"):
            if kwargs.get(name) is not None:
                raise UnsupportedError(f"{self.model.name_or_path} reads no words: leave {name}= out")
        return options

    def padding(self) -> Padding:
        """Rows of tokens are padded at their end."""
        return super().padding() if self._pages is None else Padding(self.tokenizer.pad_token_id or 0, "right")

    def encode(self, value: Any, options: ObjectDetectionOptions) -> Iterable[Row]:
        if self._pages is None:
            return super().encode(value, options)
        return _windows(self._pages, load_page(value, options.timeout), options)

    def run(self, rows: Sequence[Row], options: ObjectDetectionOptions) -> list[Outputs]:
        if self._pages is None:
            return super().run(rows, options)
        logits = self.model.run(stack(rows, self.padding()))["logits"]
        return [{"logits": logits[i][: row.length]} for i, row in enumerate(rows)]

    def decode(self, rows: Answered, options: ObjectDetectionOptions) -> list[DetectedObject]:
        labels = self.model.config.id2label
        if self._pages is not None:
            return [found for row in rows for found in _labelled(*row, labels, options.threshold)]
        row, outputs = rows[0]
        result = self._post_process(batch_of_one(outputs), threshold=options.threshold, target_sizes=[row.extra])[0]
        return [
            {"score": float(score), "label": labels[int(label)], "box": box_of(box)}
            for score, label, box in zip(result["scores"], result["labels"], result["boxes"], strict=True)
        ]


def _windows(pages: PageEncoder, image: Image, options: ObjectDetectionOptions) -> list[Row]:
    """Build the rows of a page: one, or for a page that is longer than the model takes windows that overlap.

    Of an overlap the first half belongs to the window before, the second to the one after; the first and last token,
    which are special, to the first and the last window.
    """
    page = pages.read(image, options)
    overlap = pages.longest // 4
    encoding = pages.tokenizer(
        [list(page.words)],
        is_split_into_words=True,
        max_length=pages.longest,
        stride=overlap,
        truncation=True,
        return_overflowing_tokens=True,
        return_token_type_ids=True,
    )
    pixels, size, rows = pages.pixel_feeds(image), size_of(image), []
    count = len(encoding["input_ids"])
    for i in range(count):
        feeds = pages.token_feeds(encoding, i, page, 0)
        own = np.ones(len(feeds["input_ids"]), bool)
        words = np.flatnonzero([part is not None for part in encoding.sequence_ids(i)])
        if i > 0:
            own[: words[overlap // 2]] = False
        if i < count - 1:
            own[words[overlap // 2 - overlap] :] = False
        known = {name: array for name, array in feeds.items() if name in pages.inputs}
        rows.append(Row({**known, **pixels}, len(own), _Window(size, feeds["bbox"], own)))
    return rows


def _labelled(row: Row, outputs: Outputs, labels: Mapping[int, str], threshold: float) -> Iterable[DetectedObject]:
    """Yield the likeliest label of each token whose score exceeds the threshold."""
    window: _Window = row.extra
    scores = softmax(outputs["logits"])
    sides = np.array([window.size.width, window.size.height] * 2)
    boxes = (window.boxes * sides).astype(np.float32) / np.float32(PAGE)
    for own, label, of_token, box in zip(window.own, scores.argmax(-1), scores, boxes, strict=True):
        if own and of_token[label] > threshold:
            yield {"score": float(of_token[label]), "label": labels[int(label)], "box": box_of(box)}


TASK = TaskSpec(
    name="object-detection",
    pipeline=ObjectDetectionPipeline,
    auto_classes=(AutoModelForObjectDetection,),
    help="Find objects in images: boxes with labels.",
    example='"street.jpg", threshold=0.7',
    default_model=("facebook/detr-resnet-50", "1d5f47b"),
    input="image",
    columns=one_column("objects"),
    draws=True,
)
