"""Match the objects of two answers of a detector: they are sets, in any order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

OBJECTS = ("logits", "pred_boxes")
"""The outputs of a detector: scores (batch, objects, labels) and boxes (batch, objects, 4)."""

_MOVED = 1e-3
"""Objects that differ by less than this share of the largest magnitude are in their places."""


def same_order(reference: Mapping[str, Array], got: Mapping[str, Array]) -> Mapping[str, Array]:
    """Sort the objects of a detector (logits and pred_boxes) in `got` to the order of `reference`'s.

    A detector's answer is a set. Many rank their queries by a score, and two of nearly equal score may change
    places; so each object is compared with the one most similar to it. Outputs of other models come back unchanged.
    """
    if not _is_detector(reference) or not _is_detector(got):
        return got
    sorted_outputs = {name: np.array(value) for name, value in got.items()}
    for row in range(len(reference["logits"])):
        wanted, given = ({name: values[name][row] for name in OBJECTS} for values in (reference, got))
        order = _nearest(_objects(wanted, reference), _objects(given, reference))
        for name, value in sorted_outputs.items():
            if name in reference and value.shape[:2] == reference["logits"].shape[:2]:
                value[row] = got[name][row, order]
    return sorted_outputs


def _is_detector(outputs: Mapping[str, Array]) -> bool:
    """Whether these are the scores and boxes of objects, (batch, objects, labels) and (batch, objects, 4)."""
    return all(name in outputs and outputs[name].ndim == 3 for name in OBJECTS)


def more_confident(name: str, reference: Mapping[str, Array]) -> Array | None:
    """Tell which of a detector's objects, batch after batch, are in the more confident half; None for other outputs.

    Detectors of two stages choose the objects that they refine, and which ones come last depends on tiny differences.
    """
    if name not in OBJECTS or not _is_detector(reference):
        return None
    if reference[name].shape[-1] == 1:
        return None  # with a single label the scores are one vector of all objects
    scores = reference["logits"].max(axis=-1, initial=-np.inf)
    middle = np.median(scores, axis=1, keepdims=True)
    return np.asarray(scores >= middle).reshape(-1)


def _objects(row: Mapping[str, Array], reference: Mapping[str, Array]) -> Array:
    """Join logits and box of each object to one vector, both of similar magnitude; 0 for values that are not finite."""
    parts = []
    for name, value in row.items():
        whole = reference[name]
        largest = float(np.abs(whole).max(where=np.isfinite(whole), initial=0.0)) or 1.0
        parts.append(np.where(np.isfinite(value), value, 0.0).astype(np.float64) / largest)
    return np.concatenate(parts, axis=-1)


def _nearest(wanted: Array, given: Array) -> Array:
    """Match each row of `wanted` with a row of `given`: the closest pairs first, each row once."""
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
