"""document-question-answering: find the words of a page that answer a question."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import GeneratorType
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, Unpack, overload

import numpy as np

from onnxpipe.engine.batching import Array, Row, stack
from onnxpipe.engine.scheduler import Answered, Outputs
from onnxpipe.errors import UnknownArgumentError, UnsupportedError
from onnxpipe.models.auto import AutoModelForDocumentQuestionAnswering
from onnxpipe.processing.ocr.pages import Page
from onnxpipe.processing.ocr.reader import Ocr, WordReader
from onnxpipe.processing.ocr.words import PAGE, to_pixels
from onnxpipe.processing.text.inputs import described, one_text
from onnxpipe.processing.text.pages import token_boxes
from onnxpipe.tasks.base.call_types import Box, ImageCallOptions, ImageInput, Stream
from onnxpipe.tasks.base.columns import top_k_columns
from onnxpipe.tasks.base.datasets import PipelineIterator, is_dataset
from onnxpipe.tasks.base.image import ImageOptions, box_of
from onnxpipe.tasks.base.option_rules import number_option
from onnxpipe.tasks.base.pipeline import Pipeline
from onnxpipe.tasks.base.spans import probabilities, spans
from onnxpipe.tasks.base.spec import InputPart, TaskSpec

if TYPE_CHECKING:
    from PIL.Image import Image

#: The longest window of a tokenizer that names no limit: that of all families.
_LONGEST = 512
_KEYS = ("image", "question", "word_boxes")


@dataclass(frozen=True)
class DocumentQuestionAnsweringOptions(ImageOptions):
    """Options of document-question-answering.

    Attributes:
        top_k: the number of answers, best first.
        doc_stride: tokens by which windows of a long page overlap; by default the lesser of half a window and 256.
        max_answer_len: the longest answer in tokens.
        max_seq_len: the longest window in tokens with the question; by default the tokenizer's limit.
        max_question_len: the longest question in tokens, cut at its end; by default none is cut.
        handle_impossible_answer: let "no answer" (an empty string) be among the answers.
        padding: as in the tokenizer's call.
        ocr: the program that reads the words of an image without `word_boxes`: "tesseract", "rapidocr", or a function
            from a PIL image to `(word, box)` pairs, a box being left, top, right and bottom in pixels.
        lang: languages by tesseract's codes ("eng", "deu+fra"); None for those that the model's files name.
        tesseract_config: further arguments of tesseract, "--psm 6".
        return_boxes: add `boxes` to each answer: those of its words, in pixels of the image (without an image, in
            thousandths of the page).
    """

    top_k: int = number_option(1, least=1)
    doc_stride: int | None = number_option(None, least=0)
    max_answer_len: int = number_option(15, least=1)
    max_seq_len: int | None = number_option(None, least=1)
    max_question_len: int | None = number_option(None, least=1)
    handle_impossible_answer: bool = False
    padding: bool | str = "do_not_pad"
    ocr: str | WordReader = "tesseract"
    lang: str | None = None
    tesseract_config: str = ""
    return_boxes: bool = False


class DocumentQuestionAnsweringCallOptions(ImageCallOptions, total=False):
    """The options of a call: see `DocumentQuestionAnsweringOptions`."""

    top_k: int | None
    doc_stride: int | None
    max_answer_len: int | None
    max_seq_len: int | None
    max_question_len: int | None
    handle_impossible_answer: bool | None
    padding: bool | str | None
    ocr: str | WordReader | None
    lang: str | None
    tesseract_config: str | None
    return_boxes: bool | None


class DocumentAnswer(TypedDict):
    """An answer, and the numbers of its first and last word among the words of the page."""

    score: float
    answer: str
    start: int
    end: int
    boxes: NotRequired[list[Box]]


@dataclass(frozen=True)
class _Window:
    """What decoding needs of a window: the page, the image's size, the tokens that an answer may use, their words."""

    page: Page
    size: tuple[int, int]
    allowed: Array
    words: Sequence[int | None]


class DocumentQuestionAnsweringPipeline(Pipeline[DocumentQuestionAnsweringOptions]):
    """Answer a question about a page: a list of `{"score", "answer", "start", "end"}`, words by their numbers.

    An input is an image with a question, and perhaps the words of the image (`word_boxes`), which are read off it
    otherwise: `(word, [left, top, right, bottom])` pairs with boxes in thousandths of the page, or the answer of
    `pipeline("ocr")`; with them the image may be None if the model does not look at it. Inputs are passed as
    `image=`, `question=`, `word_boxes=`, as a dict of these, or as a list or a stream of such dicts; several questions
    about an image, or images with one question, as a list of either.
    """

    Options = DocumentQuestionAnsweringOptions
    _load_tokenizer = True
    input_modalities = "multimodal"
    #: Rows hold an image each: a stream reads few ahead.
    window = 16

    def prepare(self) -> None:
        inputs = self.model.session.inputs
        self._pixels = next((name for name in ("pixel_values", "image") if name in inputs), None)
        if "bbox" not in inputs:
            raise UnsupportedError(
                f"{self.model.name_or_path} takes no boxes (its inputs: {', '.join(inputs)}), so it cannot read pages"
            )
        if self._pixels is not None and self.image_processor is None:
            raise ValueError(
                f"{self.model.name_or_path} looks at the image too, and has no preprocessor_config.json: pass "
                "image_processor="
            )

    def parse(
        self, kwargs: Mapping[str, Any], base: DocumentQuestionAnsweringOptions | None
    ) -> DocumentQuestionAnsweringOptions:
        options = super().parse(kwargs, base)
        Ocr(options.ocr, options.lang, options.tesseract_config).check()
        return options

    if TYPE_CHECKING:

        @overload
        def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
            self, image: list[Any], **options: Unpack[DocumentQuestionAnsweringCallOptions]
        ) -> list[list[DocumentAnswer]]: ...
        @overload
        def __call__(
            self,
            image: ImageInput | dict[str, Any] | None,
            question: str,
            word_boxes: Any = None,
            **options: Unpack[DocumentQuestionAnsweringCallOptions],
        ) -> list[DocumentAnswer]: ...
        @overload
        def __call__(
            self, image: Stream, **options: Unpack[DocumentQuestionAnsweringCallOptions]
        ) -> PipelineIterator[list[DocumentAnswer]]: ...
        @overload
        def __call__(self, image: Any = None, question: Any = None, word_boxes: Any = None, **options: Any) -> Any: ...

    def __call__(self, image: Any = None, question: Any = None, word_boxes: Any = None, **options: Any) -> Any:
        """See `Pipeline.__call__`."""
        return super().__call__(_inputs(image, question, word_boxes), **options)

    def encode(self, value: Any, options: DocumentQuestionAnsweringOptions) -> Iterable[Row]:
        example = _example(value)
        image = self._load(example.get("image"), options)
        page = self._page(image, example, options)
        if not page.words:
            return []  # nothing could be an answer
        return self._windows(example["question"], page, image, options)

    def run(self, rows: Sequence[Row], options: DocumentQuestionAnsweringOptions) -> list[Outputs]:
        outputs = self.model.run(stack(rows, self.padding()))
        # padding and patches stand behind the tokens
        names = AutoModelForDocumentQuestionAnswering.outputs
        return [{name: outputs[name][i][: row.length] for name in names} for i, row in enumerate(rows)]

    def decode(self, rows: Answered, options: DocumentQuestionAnsweringOptions) -> list[DocumentAnswer]:
        answers: list[DocumentAnswer] = []
        null_score = 1.0
        for row, outputs in rows:
            window: _Window = row.extra
            start, end = (probabilities(outputs[name], window.allowed) for name in ("start_logits", "end_logits"))
            null_score = min(null_score, float(start[0] * end[0]))
            start[0] = end[0] = 0.0
            for first, last, score in spans(start, end, window.allowed, options.top_k, options.max_answer_len):
                begin, finish = window.words[first], window.words[last]
                if begin is not None and finish is not None:
                    answers.append(_answer(window, score, begin, finish, options.return_boxes))
        if options.handle_impossible_answer:
            none: DocumentAnswer = {"score": null_score, "answer": "", "start": 0, "end": 0}
            answers.append({**none, "boxes": []} if options.return_boxes else none)
        return sorted(answers, key=lambda answer: answer["score"], reverse=True)[: options.top_k]

    def _load(self, source: Any, options: DocumentQuestionAnsweringOptions) -> Image | None:
        if source is None:
            return None
        from onnxpipe.processing.images.io.load import load_image

        return load_image(source, options.timeout)

    def _page(self, image: Image | None, example: Mapping[str, Any], options: DocumentQuestionAnsweringOptions) -> Page:
        """Take the page that was passed, or read it off the image."""
        if example.get("word_boxes") is not None:
            return Page.parse(example["word_boxes"])
        if image is None:
            raise ValueError(
                "You must provide an image or word_boxes. If you provide an image, the pipeline will automatically run "
                "OCR to derive words and boxes"
            )
        own = self.image_processor if options.ocr == "tesseract" else None
        lang = options.lang or getattr(own, "ocr_lang", None)
        config = options.tesseract_config or getattr(own, "tesseract_config", None) or ""
        return Page.of_words(Ocr(options.ocr, lang, config).read(image), image.size)

    def _windows(
        self, question: str, page: Page, image: Image | None, options: DocumentQuestionAnsweringOptions
    ) -> list[Row]:
        """Build the rows of a page: windows of its words, each with the question and the whole image."""
        tokenizer = self.tokenizer
        if tokenizer.padding_side != "right":
            raise ValueError(
                "Document question answering only supports tokenizers whose padding side is 'right', not "
                f"{tokenizer.padding_side}"
            )
        limit = options.max_seq_len or min(tokenizer.model_max_length, _LONGEST)
        stride = options.doc_stride if options.doc_stride is not None else min(limit // 2, 256)
        encoding = tokenizer(
            self._question(question, limit, options.max_question_len),
            list(page.words),
            is_split_into_words=True,
            padding=options.padding,
            max_length=limit,
            stride=stride,
            return_token_type_ids=True,
            truncation="only_second",
            return_overflowing_tokens=True,
        )
        size = (PAGE, PAGE) if image is None else image.size
        pixels = self._pixel_feeds(image)
        rows = []
        for i in range(len(encoding["input_ids"])):
            feeds = {name: np.asarray(values[i], np.int64) for name, values in encoding.items() if _is_rows(name)}
            feeds["bbox"] = np.asarray(token_boxes(tokenizer, encoding, i, page.boxes, 1), np.int64)
            ids, parts = feeds["input_ids"], encoding.sequence_ids(i)
            allowed = np.array([part == 1 for part in parts]) | (ids == tokenizer.cls_token_id)
            allowed &= feeds["attention_mask"].astype(bool) if "attention_mask" in feeds else True
            known = {name: array for name, array in feeds.items() if name in self.model.session.inputs}
            rows.append(Row({**known, **pixels}, len(ids), _Window(page, size, allowed, encoding.word_ids(i))))
        return rows

    def _question(self, question: str, limit: int, longest: int | None) -> list[str]:
        """Split a question into words, as transformers does; cut it where it has more than `longest` tokens.

        Raises:
            ValueError: it leaves no room for words of the page in a window of `limit` tokens.
        """
        words = question.split()
        encoding = self.tokenizer(words, is_split_into_words=True, add_special_tokens=False, verbose=False)
        of_words, count = encoding.word_ids(), len(encoding["input_ids"])
        if longest is not None and count > longest:
            words = words[: max(of_words[longest] or 0, 1)]
            count = sum(word is not None and word < len(words) for word in of_words)
        if count + self.tokenizer.backend_tokenizer.num_special_tokens_to_add(True) >= limit:
            raise ValueError(
                f"a question of {count} tokens leaves no room for the page in windows of {limit}: ask a shorter one, "
                "or pass max_question_len= to cut it"
            )
        return words

    def _pixel_feeds(self, image: Image | None) -> dict[str, Array]:
        """Prepare the image for a model that looks at it."""
        if self._pixels is None:
            return {}
        if image is None:
            raise UnsupportedError(f"{self.model.name_or_path} looks at the image too: pass image= with word_boxes=")
        quiet = {"apply_ocr": False} if "apply_ocr" in getattr(self.image_processor, "known_settings", ()) else {}
        return {self._pixels: self.image_processor(image, return_tensors="np", **quiet)["pixel_values"][0]}


def _is_rows(name: str) -> bool:
    """Whether a value of an encoding is for the model: the tokenizer's bookkeeping is not."""
    return name in ("input_ids", "attention_mask", "token_type_ids")


def _answer(window: _Window, score: float, begin: int, finish: int, with_boxes: bool) -> DocumentAnswer:
    answer: DocumentAnswer = {
        "score": score,
        "answer": " ".join(window.page.words[begin : finish + 1]),
        "start": begin,
        "end": finish,
    }
    if with_boxes:
        answer["boxes"] = [box_of(to_pixels(box, *window.size)) for box in window.page.boxes[begin : finish + 1]]
    return answer


def _inputs(image: Any, question: Any, word_boxes: Any) -> Any:
    """Join the parts of a call to an input, a list of inputs, or a stream of them."""
    if question is None and word_boxes is None:
        return image
    words = {} if word_boxes is None else {"word_boxes": word_boxes}
    if isinstance(question, (list, tuple)):
        images = image if isinstance(image, (list, tuple)) else [image] * len(question)
        if len(images) != len(question):
            raise ValueError(
                f"there are {len(images)} images and {len(question)} questions: pass one image, or as many"
            )
        return [{"image": each, "question": one, **words} for each, one in zip(images, question)]
    if isinstance(image, list):
        return [{"image": each, "question": question, **words} for each in image]
    if isinstance(image, GeneratorType):
        return ({"image": each, "question": question, **words} for each in image)
    if is_dataset(image):
        return ({"image": image[i], "question": question, **words} for i in range(len(image)))
    return {"image": image, "question": question, **words}


def _example(value: Any) -> Mapping[str, Any]:
    """Check an input.

    Raises:
        ValueError: it has no question, or an empty one.
        UnknownArgumentError: a key that is not known.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"the input is {described(value)}: pass an image with question=, or a dict of both")
    for name in value:
        if name not in _KEYS:
            raise UnknownArgumentError.among("an input of document-question-answering", str(name), _KEYS)
    question = one_text(value.get("question"), "question")
    if not question.strip():
        raise ValueError("question is empty: ask something")
    return value


TASK = TaskSpec(
    name="document-question-answering",
    pipeline=DocumentQuestionAnsweringPipeline,
    auto_classes=(AutoModelForDocumentQuestionAnswering,),
    help="Find the words of a page that answer a question.",
    example='"receipt.png", question="What is the total?", ocr="rapidocr"',
    default_model=("impira/layoutlm-document-qa", "beed3c4"),
    input="multimodal",
    parts=(InputPart("image"), InputPart("question", option="question")),
    columns=top_k_columns("answer", "score", "start", "end"),
    draws=True,
    drawing_params={"return_boxes": True},
)
