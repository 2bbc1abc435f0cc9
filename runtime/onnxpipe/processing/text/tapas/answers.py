"""Read the cells of an answer off TAPAS's scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.processing.scores import sigmoid

Array = NDArray[Any]
#: A cell: its row and its column, from 0.
Cell = tuple[int, int]

_SEGMENT, _COLUMN, _ROW = 0, 1, 2


def cell_probabilities(logits: Array, types: Array, mask: Array | None = None) -> dict[Cell, float]:
    """Compute the probability of each cell: the mean over its tokens.

    Args:
        logits: a score for each token, (tokens,).
        types: the token types, int64 (tokens, 7).
        mask: 1 for tokens, 0 for padding, (tokens,).
    """
    probabilities = sigmoid(logits.astype(np.float32))
    if mask is not None:
        probabilities = probabilities * mask
    found: dict[Cell, list[float]] = {}
    for probability, (segment, column, row) in zip(probabilities.tolist(), types[:, :3].tolist()):
        if segment == 1 and column > 0 and row > 0:
            found.setdefault((row - 1, column - 1), []).append(probability)
    return {cell: float(np.mean(values)) for cell, values in found.items()}


def cells_of(logits: Array, types: Array, mask: Array | None = None, threshold: float = 0.5) -> list[Cell]:
    """List the cells of an answer, row by row: those whose probability is above the threshold.

    Args:
        logits, types, mask: as in `cell_probabilities`.
        threshold: a probability.
    """
    return sorted(cell for cell, value in cell_probabilities(logits, types, mask).items() if value > threshold)


def mark_answer(types: Array, before: dict[Cell, float]) -> Array:
    """Return token types that mark the cells of the answer before, for a question that follows from it.

    Args:
        types: the token types of the question, int64 (tokens, 7).
        before: the probabilities of that answer's cells.
    """
    marked = types.copy()
    for place, (segment, column, row) in enumerate(types[:, :3].tolist()):
        inside = segment == 1 and column > 0 and row > 0
        marked[place, 3] = int(inside and before.get((row - 1, column - 1), 0.0) > 0.5)
    return marked
