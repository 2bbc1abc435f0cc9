"""Find how a text that a grammar constrains can end soon, so that it ends within its number of tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from llguidance import LLMatcher

_MOST_STEPS = 400
"""How many tokens a search tries before it gives up; where few may follow it gives up earlier."""

_CHOICES = 3
"""How many tokens it tries after each text."""

_BLANKS = b" \t\r\n"


def allowed_tokens(matcher: LLMatcher, size: int) -> NDArray[np.bool_]:
    """Compute which tokens may come next: bool (size,), or more where the tokenizer has more tokens."""
    bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")
    allowed = np.zeros(max(size, len(bits)), np.bool_)
    allowed[: len(bits)] = bits
    return allowed


class Finisher:
    """Searches for short ends of texts, with JSON in mind: what is open is closed, and values are the shortest.

    Args:
        pieces: the bytes that each token adds to the text before it, by id.
        never: tokens that are no part of a text.
        size: the number of tokens that the grammar counts.
    """

    def __init__(self, pieces: Mapping[int, bytes], never: Iterable[int], size: int) -> None:
        self._size = size
        self._pieces = pieces
        usual = sorted((i for i in pieces.keys() - set(never) if pieces[i] and i < size), key=lambda i: -len(pieces[i]))
        self.blanks = np.array([i for i in usual if not pieces[i].strip()], np.int64)
        """The tokens of nothing but blanks."""
        self._outside = self._ordered(usual, _rank_outside)
        self._inside = self._ordered(usual, _rank_inside)

    def _ordered(self, ids: list[int], rank: Callable[[bytes], int]) -> NDArray[Any]:
        return np.array(sorted(ids, key=lambda i: rank(self._pieces[i])), np.int64)

    def plan(self, matcher: LLMatcher, ids: Sequence[int], most: int) -> list[int] | None:
        """Find tokens after which the text is complete; None if none are found.

        Args:
            matcher: the grammar after the text.
            ids: the text's tokens.
            most: how many tokens there may be.
        """
        place = _Place().after(b"".join(self._pieces.get(i, b"") for i in ids))
        stack: list[tuple[LLMatcher, _Place, list[int]]] = [(matcher, place, [])]
        for _ in range(min(2 * most + 16, _MOST_STEPS)):
            if not stack:
                return None
            before, place, plan = stack.pop()
            current = before.deep_copy()
            if plan:
                current.consume_token(plan[-1])
                place = place.after(self._pieces[plan[-1]])
            if current.is_error():
                continue
            if current.is_accepting():
                return plan
            if len(plan) >= most:
                continue
            order = self._inside if place.inside else self._outside
            best = order[allowed_tokens(current, self._size)[order]][:_CHOICES]
            stack += [(current, place, [*plan, int(token)]) for token in reversed(best)]
        return None


@dataclass(frozen=True)
class _Place:
    """Where in JSON a text ends: inside a string, and there after a backslash."""

    inside: bool = False
    escaped: bool = False

    def after(self, piece: bytes) -> _Place:
        """Find the place after more text."""
        inside, escaped = self.inside, self.escaped
        for byte in piece:
            if inside and escaped:
                escaped = False
            elif inside and byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                inside = not inside
        return _Place(inside, escaped)


def _rank_outside(piece: bytes) -> int:
    """Rank a piece outside strings: closing brackets first, blanks last."""
    if not piece.strip(b"}]"):
        return 0
    ranks = ((b",", b":"), (b"0", b'""'), (b"null", b"true", b"false"), (b'"',), (b"[", b"{"))
    for rank, equal in enumerate(ranks, start=1):
        if piece in equal:
            return rank
    return 9 if piece[0] in _BLANKS else 7


def _rank_inside(piece: bytes) -> int:
    """Rank a piece inside a string: the end of the string first, backslashes and blanks last."""
    if piece[:1] == b'"' and not piece.strip(b'"}]') and piece.count(b'"') == 1:
        return 0
    if piece == b'":':
        return 1
    return 9 if piece[0] in _BLANKS else 8 if b"\\" in piece or b'"' in piece else 7
