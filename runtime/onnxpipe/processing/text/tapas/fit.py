"""Choose what of a table fits the model: rows from the top, and the first pieces of each cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: The pieces of a cell: their ids, and where the word of each begins among them.
Pieces = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Cut:
    """What is kept of a table.

    Attributes:
        rows: how many rows, without the header.
        pieces: of each cell, the words that begin among so many first pieces.
    """

    rows: int
    pieces: int


def word_starts(tokens: Sequence[str]) -> tuple[int, ...]:
    """For each piece of a cell, where its word begins: WordPiece marks the other pieces of a word with ##."""
    starts, start = [], 0
    for place, token in enumerate(tokens):
        # a cell that begins with a continuation has no word before it
        start = (start if place else -1) if token.startswith("##") else place
        starts.append(start)
    return tuple(starts)


def fit(cells: Sequence[Sequence[Pieces]], rows: int, budget: int, trim: int) -> Cut | None:
    """Choose the most rows of which at least one piece a cell fits, and of each cell the most pieces.

    Args:
        cells: the pieces of the header and of the rows.
        rows: the most rows.
        budget: the most tokens.
        trim: the pieces that a cell is cut to at most; below 0 for no limit. With it, cells are not cut further.

    Returns:
        None if not even the header fits with one row.
    """
    longest = max((len(ids) for row in cells for ids, _ in row), default=0)
    if 0 <= trim < longest:
        longest = trim
    width = max(longest, 1)
    costs = np.zeros((rows + 1, width + 1), np.int64)  # [row, pieces]: the tokens of a row that is cut to so many
    for number, row in enumerate(cells[: rows + 1]):
        starts = np.array([start for _, starts in row for start in starts], np.int64)
        costs[number] = np.bincount(np.clip(starts, 0, width) + 1, minlength=width + 2)[: width + 1].cumsum()
    totals = costs.cumsum(axis=0)
    for kept in range(rows, 0, -1):
        fitting = np.flatnonzero(totals[kept, 1:] <= budget) + 1
        if fitting.size and (trim < 0 or fitting[-1] == width):
            return Cut(kept, int(fitting[-1]))
    return None
