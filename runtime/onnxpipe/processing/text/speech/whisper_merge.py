"""Merge lists of tokens that overlap in the recording: their longest common stretch decides where to cut.

Source: transformers 5.23, `_find_longest_common_sequence` of Whisper's tokenizer (the left list is used for the left
half of the overlap, the right list for the right half), and the simpler function of its speech recognition pipeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: The overlap's length is divided by this and added to the share of matches: of equal shares the longer one wins.
_LONGER = 10000.0


@dataclass
class Tokens:
    """The tokens of one chunk.

    Attributes:
        ids: the tokens.
        times: the start and end of each in seconds, if words get time stamps; else empty.
    """

    ids: list[int] = field(default_factory=list)
    times: list[tuple[float, float]] = field(default_factory=list)


def merge_chunks(parts: Sequence[Tokens]) -> Tokens:
    """Merge the tokens of consecutive chunks of Whisper; tokens of an overlap are in both chunks."""
    whole = Tokens()
    left = parts[0]
    for right in parts[1:]:
        cut_left, cut_right = _cuts(left, right)
        whole.ids += left.ids[:cut_left]
        whole.times += left.times[:cut_left]
        left = Tokens(right.ids[cut_right:], right.times[cut_right:])
    return Tokens(whole.ids + left.ids, whole.times + left.times)


def _cuts(left: Tokens, right: Tokens) -> tuple[int, int]:
    """Find where the left list ends and the right one continues: the middle of the best overlap.

    The right list is shifted over the end of the left one; with shift i the overlap begins i tokens before that end.
    """
    length, other = len(left.ids), len(right.ids)
    if length + other < 2:
        return length, 0
    same = np.asarray(left.ids)[:, None] == np.asarray(right.ids)[None, :]
    if left.times and right.times:
        same &= _in_order(np.asarray(left.times), np.asarray(right.times))
    rows, columns = np.nonzero(same)
    shifts = np.arange(1, length + other)
    matches = np.bincount(length - rows + columns, minlength=length + other)[1:]
    scores = np.where(matches > 1, matches / shifts + shifts / _LONGER, 0.0)
    best = int(np.argmax(scores)) if len(scores) else 0
    if not len(scores) or scores[best] <= 0:
        return length, 0
    shift = best + 1
    left_middle = (max(0, length - shift) + min(length, length + other - shift)) // 2
    right_middle = (max(0, shift - length) + min(other, shift)) // 2
    return left_middle, right_middle


def _in_order(left: Array, right: Array) -> Array:
    """Compare times: true where a left token does not come after a right one, bool (left, right)."""
    begin, other = left[:, None], right[None, :]
    earlier = begin[..., 0] < other[..., 0]
    return np.asarray(earlier | ((begin[..., 0] == other[..., 0]) & (begin[..., 1] <= other[..., 1])))


def append_chunks(parts: Sequence[Sequence[int]]) -> list[int]:
    """Merge tokens of consecutive chunks of other models, by comparing the end of one with the start of the next."""
    whole = list(parts[0])
    for part in parts[1:]:
        best, known = 0.0, 0
        for length in range(1, len(part) + 1):
            tail = whole[-length:]
            if len(tail) < length:
                break
            matches = sum(a == b for a, b in zip(tail, part, strict=False))
            score = matches / length + length / _LONGER
            if matches > 1 and score > best:
                best, known = score, length
        whole += part[known:]
    return whole
