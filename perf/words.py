"""How far two texts differ, in words: for what recognisers of speech heard."""

from __future__ import annotations

import re
from collections.abc import Iterable

_OTHER = re.compile(r"[^a-z0-9' ]+")


def words(text: str) -> list[str]:
    """The words of an English text, in small letters and without punctuation."""
    return _OTHER.sub(" ", text.lower().replace("mr.", "mister")).split()


def errors(heard: str, spoken: str) -> int:
    """The fewest words put in, left out or replaced that make `spoken` out of `heard` (Levenshtein)."""
    left, right = words(heard), words(spoken)
    row = list(range(len(right) + 1))
    for i, word in enumerate(left, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(right, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]


def error_rate(pairs: Iterable[tuple[str, str]]) -> float:
    """Percent: the errors of all (heard, spoken), a hundred words spoken. Known as WER."""
    wrong = total = 0
    for heard, spoken in pairs:
        wrong += errors(heard, spoken)
        total += len(words(spoken))
    return 100 * wrong / total
