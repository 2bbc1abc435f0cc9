"""Count the words in which two texts differ: the word error rate of transcripts."""

from __future__ import annotations

import re
from collections.abc import Iterable

_OTHER = re.compile(r"[^a-z0-9' ]+")


def words(text: str) -> list[str]:
    """Split an English text into words, in lower case and without punctuation."""
    return _OTHER.sub(" ", text.lower().replace("mr.", "mister")).split()


def errors(transcript: str, spoken: str) -> int:
    """Count the fewest words inserted, deleted or replaced that turn `transcript` into `spoken` (Levenshtein)."""
    left, right = words(transcript), words(spoken)
    row = list(range(len(right) + 1))
    for i, word in enumerate(left, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(right, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]


def error_rate(pairs: Iterable[tuple[str, str]]) -> float:
    """Compute the word error rate of pairs (transcript, spoken), in percent."""
    wrong = total = 0
    for transcript, spoken in pairs:
        wrong += errors(transcript, spoken)
        total += len(words(spoken))
    return 100 * wrong / total
