"""Models that point at words of a page: LayoutLM, LiLT, LayoutLMv2 and LayoutLMv3. From pages to rows, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxpipe.engine.batching import Array, Row
from onnxpipe.engine.scheduler import Answered
from onnxpipe.processing.ocr.pages import Page
from onnxpipe.processing.ocr.words import PAGE, to_pixels
from onnxpipe.tasks.base.image import box_of
from onnxpipe.tasks.base.pages import PageEncoder
from onnxpipe.tasks.base.spans import probabilities, spans
from onnxpipe.tasks.document_questions.options import DocumentAnswer, DocumentQuestionAnsweringOptions

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class _Window:
    """What decoding needs of a window: the page, the image's size, the tokens that an answer may use, their words."""

    page: Page
    size: tuple[int, int]
    allowed: Array
    words: Sequence[int | None]


class PageReader(PageEncoder):
    """Turns questions about pages into rows of a model that points at words."""

    def rows(
        self, example: Mapping[str, Any], image: Image | None, options: DocumentQuestionAnsweringOptions
    ) -> list[Row]:
        """Build the rows of an input; none for a page without words, on which nothing could be an answer."""
        page = self._page(image, example, options)
        return self._windows(example["question"], page, image, options) if page.words else []

    def _page(self, image: Image | None, example: Mapping[str, Any], options: DocumentQuestionAnsweringOptions) -> Page:
        """Take the page that was passed, or read it off the image."""
        if example.get("word_boxes") is not None:
            return Page.parse(example["word_boxes"])
        if image is None:
            raise ValueError(
                "You must provide an image or word_boxes. If you provide an image, the pipeline will automatically run "
                "OCR to derive words and boxes"
            )
        return self.read(image, options)

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
        limit = options.max_seq_len or self.longest
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
        pixels = self.pixel_feeds(image)
        rows = []
        for i in range(len(encoding["input_ids"])):
            feeds = self.token_feeds(encoding, i, page, 1)
            ids, parts = feeds["input_ids"], encoding.sequence_ids(i)
            allowed = np.array([part == 1 for part in parts]) | (ids == tokenizer.cls_token_id)
            allowed &= feeds["attention_mask"].astype(bool) if "attention_mask" in feeds else True
            known = {name: array for name, array in feeds.items() if name in self.inputs}
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


def answers(rows: Answered, options: DocumentQuestionAnsweringOptions) -> list[DocumentAnswer]:
    """Find the best answers in the rows of an input, which are windows of one page."""
    found: list[tuple[float, DocumentAnswer]] = []
    null_score = 1.0
    for row, outputs in rows:
        window: _Window = row.extra
        start, end = (probabilities(outputs[name], window.allowed) for name in ("start_logits", "end_logits"))
        null_score = min(null_score, float(start[0] * end[0]))
        start[0] = end[0] = 0.0
        for first, last, score in spans(start, end, window.allowed, options.top_k, options.max_answer_len):
            begin, finish = window.words[first], window.words[last]
            if begin is not None and finish is not None:
                found.append((score, _answer(window, score, begin, finish, options.return_boxes)))
    if options.handle_impossible_answer:
        none: DocumentAnswer = {"score": null_score, "answer": "", "start": 0, "end": 0}
        found.append((null_score, {**none, "boxes": []} if options.return_boxes else none))
    return [answer for _, answer in sorted(found, key=lambda pair: pair[0], reverse=True)[: options.top_k]]


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
