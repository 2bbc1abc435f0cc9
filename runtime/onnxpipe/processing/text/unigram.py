"""Split text into the pieces of a Unigram vocabulary as SentencePiece does, also where scores tie.

The `tokenizers` library adds scores up in double precision, word by word; SentencePiece adds them up in float32, over
the whole text. Where two ways to split a word have (nearly) the same score, as repeated digits have, rounding decides,
and the two choose differently. Here the sums are SentencePiece's.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

_UNKNOWN_PENALTY = np.float32(10)
"""By how much an unknown character scores below the worst piece (SentencePiece's value)."""

_LONGEST_WORD = 64
"""Longer words are not kept: they hardly come twice."""

_MOST_WORDS = 1 << 16
"""How many words are kept."""

_ULP = 2.0**-23
"""The distance of float32 numbers around 1."""

MAX_PIECE = 256
"""The most characters of a piece; no real vocabulary has longer ones."""


class _Word(NamedTuple):
    """How a word is split where rounding does not matter.

    Attributes:
        pieces: the best pieces.
        cost: minus the sum of their scores.
        limit: up to this sum of costs, this word's included, no rounding can make other pieces the best.
    """

    pieces: tuple[str, ...]
    cost: float
    limit: float


class UnigramSegmenter:
    """Splits text by scores. Source: `Model::EncodeOptimized` of SentencePiece 0.2.3, whose pieces it gives.

    Args:
        vocabulary: the pieces with their scores, in the order of the ids.
        specials: pieces that are no part of texts; they do not count for the score of unknown characters.

    Raises:
        ValueError: a piece is longer than `MAX_PIECE`.
    """

    def __init__(self, vocabulary: Sequence[tuple[str, float]], specials: Iterable[str] = ()) -> None:
        with np.errstate(over="ignore"):
            scores = np.array([score for _, score in vocabulary], np.float32)
        self._scores: dict[str, float] = dict(zip((piece for piece, _ in vocabulary), scores.tolist()))
        self._scores.pop("", None)
        besides = self._scores.keys() - set(specials) or self._scores.keys()
        lowest = min((self._scores[piece] for piece in besides), default=0.0)
        self._unknown = float(np.float32(lowest) - _UNKNOWN_PENALTY)
        lengths: dict[str, set[int]] = {}
        for piece in self._scores:
            lengths.setdefault(piece[0], set()).add(len(piece))
        if any(max(each) > MAX_PIECE for each in lengths.values()):
            raise ValueError(f"a piece of more than {MAX_PIECE} characters")
        self._lengths = {letter: tuple(sorted(each)) for letter, each in lengths.items()}
        inside = any("▁" in piece[1:] for piece in self._scores)
        self._words = re.compile(".+" if inside else "▁[^▁]*|[^▁]+", re.DOTALL).findall
        self._known: dict[str, _Word] = {}

    def __contains__(self, piece: str) -> bool:
        return piece in self._scores

    def is_certain(self, texts: Iterable[str]) -> bool:
        """Whether the best pieces of texts that follow each other are the best in any precision."""
        total = 0.0
        for text in texts:
            for part in self._words(text) if text.rfind("▁") > 0 else (text,):
                word = self._known.get(part) or self._word(part)
                total += word.cost
                if total >= word.limit:
                    return False
        return True

    def split(self, text: str, start: float = 0.0) -> tuple[list[str], float]:
        """Split a text into pieces; characters that the vocabulary lacks are one piece where they follow each other.

        Args:
            text: normalized, with the blanks that the vocabulary has.
            start: the score of the text before it, a float32 number.

        Returns:
            The pieces, and the score after them.
        """
        pieces: list[str] = []
        total = array("f", [start])
        for part in self._words(text):
            word = self._known.get(part) or self._word(part)
            if word.cost - total[0] < word.limit:
                pieces += word.pieces
                for piece in word.pieces:
                    total[0] += self._scores.get(piece, self._unknown)
            else:
                own, total[0] = self._exactly(part, total[0])
                pieces += own
        return self._joined(pieces), total[0]

    def _joined(self, pieces: list[str]) -> list[str]:
        """Join unknown characters that follow each other."""
        if all(piece in self._scores for piece in pieces):
            return pieces
        joined: list[str] = []
        for piece in pieces:
            if joined and piece not in self._scores and joined[-1] not in self._scores:
                joined[-1] += piece
            else:
                joined.append(piece)
        return joined

    def _exactly(self, text: str, start: float) -> tuple[list[str], float]:
        """Split a word with sums in float32, of which the first best one counts."""
        best = array("f", [start]) * (len(text) + 1)
        candidate = array("f", [start])
        begins = [-1] * (len(text) + 1)
        for i, letter in enumerate(text):
            here, single = best[i], False
            for size in self._lengths.get(letter, ()):
                end = i + size
                if end > len(text):
                    break
                score = self._scores.get(text[i:end])
                if score is not None:
                    single = single or size == 1
                    candidate[0] = here + score
                    if begins[end] < 0 or candidate[0] > best[end]:
                        best[end], begins[end] = candidate[0], i
            if not single:
                candidate[0] = here + self._unknown
                if begins[i + 1] < 0 or candidate[0] > best[i + 1]:
                    best[i + 1], begins[i + 1] = candidate[0], i
        return _pieces(text, begins), best[-1]

    def _word(self, text: str) -> _Word:
        if len(text) > _LONGEST_WORD:
            return _Word((), 0.0, -1.0)  # its sums have many steps: it is split exactly at once
        if len(self._known) >= _MOST_WORDS:
            self._known.clear()
        word = self._known[text] = self._analyse(text)
        return word

    def _analyse(self, text: str) -> _Word:
        """Find the best pieces of a word in double precision, and how far any other ones are behind."""
        size = len(text)
        best, second = [0.0] + [-np.inf] * size, [-np.inf] * (size + 1)
        begins = [-1] * (size + 1)
        for i, letter in enumerate(text):
            edges = [(i + n, self._scores.get(text[i : i + n])) for n in self._lengths.get(letter, ()) if i + n <= size]
            known = [(end, score) for end, score in edges if score is not None]
            if not known or known[0][0] > i + 1:
                known.append((i + 1, self._unknown))
            for end, score in known:
                total = best[i] + score
                if begins[end] < 0 or total > best[end]:
                    best[end], second[end], begins[end] = total, max(best[end], second[i] + score), i
                else:
                    second[end] = max(second[end], total)
        # each of the additions of either way moves its sum by half a unit of the last place at most
        gap, steps = best[size] - second[size], 1.1 * _ULP * (size + 2)
        return _Word(tuple(_pieces(text, begins)), -best[size], gap / steps - gap)


def _pieces(text: str, begins: Sequence[int]) -> list[str]:
    """Walk back from the end of a text over the beginnings of its pieces."""
    pieces, end = [], len(text)
    while end:
        pieces.append(text[begins[end] : end])
        end = begins[end]
    return pieces[::-1]
