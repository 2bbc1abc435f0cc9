"""Pieces of a text that is being generated: long lines, whatever its tokens are."""

from __future__ import annotations

import queue
import random
from collections.abc import Sequence

import numpy as np
import pytest

from onnxpipe.tasks.base.streaming import TokenRecord, _Answer, text_after

#: Tokens as bytes: words, parts of words and of a character, an ideograph, a line's end, a special token.
TOKENS = [b" one", b" two", b"three", b" ", b"\xe2", b"\x82", b"\xac", "日".encode(), b"\n", b""]
WORDS, PARTS, LINE = [0, 1, 2, 3, 9], [4, 5, 6], 8
PROMPT = [0, 2]


class Bytes:
    """A tokenizer whose decoder drops the blank before the first word; it notes how many tokens it decodes."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def decode(self, ids: Sequence[int], **options: bool) -> str:
        self.lengths.append(len(ids))
        return b"".join(TOKENS[i] for i in ids).decode("utf-8", "replace").removeprefix(" ")


def pieces(tokenizer: Bytes, tokens: Sequence[int], continues: bool = False) -> list[str]:
    found: queue.SimpleQueue[tuple[int, str] | None] = queue.SimpleQueue()
    answer = _Answer(tokenizer, continues, TokenRecord(), 0, found, skip_special_tokens=True)
    answer.put(np.array([PROMPT]))
    for token in tokens:
        answer.put(np.array([token]))
    answer.end()
    found.put(None)
    return [piece for _, piece in iter(found.get, None)]


@pytest.mark.parametrize("continues", [False, True])
def test_pieces_of_long_lines_are_the_text_of_the_whole(continues: bool) -> None:
    draw = random.Random(0)
    for lines in range(6):
        tokens: list[int] = []
        while len(tokens) < 500:
            tokens += [LINE] if draw.random() < lines / 500 else PARTS if draw.random() < 0.2 else [draw.choice(WORDS)]
        expected = text_after(Bytes(), PROMPT if continues else [], tokens)
        assert "".join(pieces(Bytes(), tokens, continues)) == expected


def test_a_long_line_is_not_decoded_from_its_begin_for_each_token() -> None:
    tokenizer = Bytes()
    assert "".join(pieces(tokenizer, [0, 1] * 400)) == "one two" + " one two" * 399
    assert max(tokenizer.lengths) < 100


@pytest.mark.parametrize("tokens", [[2] * 300, [9] * 300, PARTS * 100, [0] + [2] * 200 + [0] * 200])
def test_a_long_word_is_kept_until_it_is_whole(tokens: list[int]) -> None:
    assert "".join(pieces(Bytes(), tokens)) == Bytes().decode(tokens)
