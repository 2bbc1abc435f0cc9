"""Pages that a document model's graph is verified with: a question and words with their boxes, short and long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxpipe_export.cases.text import SENTENCES, TokenRow

QUESTIONS = (
    "What is the total?",
    "Who works at the United Nations?",
    "When?",
    "How far is it to the station, and why?",
)
_SEED = 11
_PAGE = 1000
"""Width and height of a page in the units of its boxes."""


def page_rows(tokenizer: Any, count: int, longest: int, *, asked: bool = True) -> list[TokenRow]:
    """Make rows of `count` synthetic pages, no longer than `longest` tokens; every second page has a few words only.

    Args:
        tokenizer: transformers' tokenizer; its backend is asked, so that pages are tokenized alike in all families.
        count: the number of pages.
        longest: the most tokens of a row.
        asked: whether a question stands before each page.
    """
    generator = np.random.default_rng(_SEED)
    rows = []
    for number in range(count):
        words = " ".join(SENTENCES[(number + i) % len(SENTENCES)] for i in range(1 if number % 2 else 8)).split()
        question = QUESTIONS[number % len(QUESTIONS)] if asked else None
        rows.append(_row(tokenizer, question, words, _boxes(generator, words), longest))
    return rows


def batch(rows: Sequence[TokenRow], pad: int, extra: int = 0) -> dict[str, np.ndarray]:
    """Pad rows at the right to one length, and `extra` beyond, as feeds (rows, length) and (rows, length, 4)."""
    length = max(map(len, rows)) + extra
    feeds = {}
    for name, first in rows[0].arrays.items():
        block = np.full((len(rows), length, *first.shape[1:]), pad if name == "input_ids" else 0, np.int64)
        for number, row in enumerate(rows):
            block[number, : len(row)] = row.arrays[name]
        feeds[name] = block
    return feeds


def _boxes(generator: np.random.Generator, words: Sequence[str]) -> np.ndarray:
    """Lay words out in lines, of widths after their letters and of a height that changes: int64 (words, 4)."""
    boxes, left, top = [], 40, 30
    for word in words:
        width, height = 14 * len(word), int(generator.integers(12, 24))
        if left + width > _PAGE - 40:
            left, top = 40, top + 40
        if top + height > _PAGE:
            top = 30
        boxes.append((left, top, min(left + width, _PAGE), top + height))
        left += width + 14
    return np.array(boxes, np.int64)


def _row(tokenizer: Any, question: str | None, words: Sequence[str], boxes: np.ndarray, longest: int) -> TokenRow:
    """Tokenize a page, with its question if there is one: boxes of words, 1000 for separators, 0 for the rest."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    texts = [list(words)] if question is None else [question.split(), list(words)]
    encoding = backend.encode(*texts, is_pretokenized=True)
    bbox = np.zeros((len(encoding.ids), 4), np.int64)
    for place, (part, word) in enumerate(zip(encoding.sequence_ids, encoding.word_ids, strict=True)):
        if part == len(texts) - 1:
            bbox[place] = boxes[word]
        elif part is None and place:
            bbox[place] = _PAGE
    arrays = {
        "input_ids": np.array(encoding.ids, np.int64),
        "attention_mask": np.ones(len(encoding.ids), np.int64),
        "token_type_ids": np.array(encoding.type_ids, np.int64),
        "bbox": bbox,
    }
    return TokenRow({name: array[:longest] for name, array in arrays.items()})
