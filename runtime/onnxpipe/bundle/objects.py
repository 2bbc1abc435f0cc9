"""The objects that a detector finds, which are a set: which of one answer is which of another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

OBJECTS = ("logits", "pred_boxes")
"""What a detector says of its objects: scores (batch, objects, labels) and boxes (batch, objects, 4)."""

_MOVED = 1e-3
"""Objects that differ by less than this share of the largest magnitude are in their places."""


def same_order(reference: Mapping[str, Array], got: Mapping[str, Array]) -> Mapping[str, Array]:
    """The outputs `got` with the objects of a detector (logits and pred_boxes) in the order of `reference`'s.

    A detector's answer is a set. Many rank their queries by a score, and two that are as good as equal may change
    places; so each object is compared with the one that is most like it. Outputs of other models come back as they are.
    """
    if not _is_detector(reference) or not _is_detector(got):
        return got
    found = {name: np.array(value) for name, value in got.items()}
    for row in range(len(reference["logits"])):
        wanted, given = ({name: values[name][row] for name in OBJECTS} for values in (reference, got))
        order = _nearest(_objects(wanted, reference), _objects(given, reference))
        for name, value in found.items():
            if name in reference and value.shape[:2] == reference["logits"].shape[:2]:
                value[row] = got[name][row, order]
    return found


def _is_detector(outputs: Mapping[str, Array]) -> bool:
    """Whether these are the scores and boxes of objects, (batch, objects, labels) and (batch, objects, 4)."""
    return all(name in outputs and outputs[name].ndim == 3 for name in OBJECTS)


def surer(name: str, reference: Mapping[str, Array]) -> Array | None:
    """Which of a detector's objects, all batches in a row, are among the surer half of theirs; None for other outputs.

    Detectors of two stages choose the objects that they look at, and which come last is by a hair's breadth.
    """
    if name not in OBJECTS or not _is_detector(reference):
        return None
    if reference[name].shape[-1] == 1:
        return None  # of one label alone the scores are one vector of all objects
    scores = reference["logits"].max(axis=-1, initial=-np.inf)
    middle = np.median(scores, axis=1, keepdims=True)
    return np.asarray(scores >= middle).reshape(-1)


def _objects(row: Mapping[str, Array], reference: Mapping[str, Array]) -> Array:
    """Logits and box of each object as one vector, both of like magnitude; 0 for what is not finite."""
    parts = []
    for name, value in row.items():
        whole = reference[name]
        largest = float(np.abs(whole).max(where=np.isfinite(whole), initial=0.0)) or 1.0
        parts.append(np.where(np.isfinite(value), value, 0.0).astype(np.float64) / largest)
    return np.concatenate(parts, axis=-1)


def _nearest(wanted: Array, given: Array) -> Array:
    """For each row of `wanted` the row of `given` that is its own: the closest pairs first, each row once."""
    count = len(wanted)
    order = np.arange(count)
    if np.abs(wanted - given).max(initial=0.0) < _MOVED:
        return order
    squares = (wanted**2).sum(1)[:, None] + (given**2).sum(1)[None] - 2 * wanted @ given.T
    distances = np.nan_to_num(squares, nan=np.inf)
    best, back = distances.argmin(1), distances.argmin(0)
    mutual = back[best] == order
    order[mutual] = best[mutual]
    wanting, free = np.flatnonzero(~mutual), np.setdiff1d(np.arange(count), best[mutual])
    rest = distances[np.ix_(wanting, free)]
    for _ in range(len(wanting)):
        one, other = np.unravel_index(int(rest.argmin()), rest.shape)
        order[wanting[one]] = free[other]
        rest[one], rest[:, other] = np.inf, np.inf
    return order
