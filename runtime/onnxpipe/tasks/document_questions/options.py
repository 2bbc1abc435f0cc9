"""The options and answers of document-question-answering."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NotRequired, TypedDict

from onnxpipe.processing.ocr.reader import WordReader
from onnxpipe.tasks.base.call_types import Box, GenerationCallOptions
from onnxpipe.tasks.base.generation import GenerationOptions
from onnxpipe.tasks.base.option_rules import number_option


@dataclass(frozen=True)
class DocumentQuestionAnsweringOptions(GenerationOptions):
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
        timeout: seconds that fetching an image from the web may take; None for the loader's own limit.
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
    timeout: float | None = number_option(None, least=0)


class DocumentQuestionAnsweringCallOptions(GenerationCallOptions, total=False):
    """The options of a call: see `DocumentQuestionAnsweringOptions`."""

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
    timeout: float | None


class DocumentAnswer(TypedDict):
    """An answer, and the numbers of its first and last word among the words of the page.

    A model that writes (Donut) gives `answer` alone, None where it wrote none.
    """

    answer: str | None
    score: NotRequired[float]
    start: NotRequired[int]
    end: NotRequired[int]
    boxes: NotRequired[list[Box]]
