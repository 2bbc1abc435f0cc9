"""From the masks of queries to a map of segments: queries compete for pixels, and winners of enough of them stay.

Masks are resized one at a time, only those of queries that can win, and never kept at full size: memory does not grow
with the number of queries.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.processing.images.interpolate import interpolate
from onnxpipe.processing.images.postprocess.outputs import Array, Size
from onnxpipe.processing.images.postprocess.ranking import topk_unsorted
from onnxpipe.processing.scores import sigmoid, softmax

Segment = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Queries:
    """The queries of a picture that found something.

    Attributes:
        indices: (n,) their numbers among all queries.
        scores: (n,) float32 probability of the class.
        labels: (n,) class.
    """

    indices: Array
    scores: Array
    labels: Array

    def where(self, keep: Array) -> Queries:
        """Some of them."""
        return Queries(self.indices[keep], self.scores[keep], self.labels[keep])


def likely(class_logits: Array, threshold: float) -> Queries:
    """The queries (Q, classes + 1) whose likeliest class is not the last ("no object") and exceeds a threshold."""
    probabilities = softmax(class_logits)
    scores, labels = probabilities.max(-1), probabilities.argmax(-1)
    every = Queries(np.arange(len(scores)), scores, labels)
    return every.where((labels != class_logits.shape[-1] - 1) & (scores > threshold))


def best_pairs(class_logits: Array) -> Queries:
    """As many pairs of query and class as there are queries (Q, classes + 1): the likeliest ones, in torch's order."""
    probabilities = softmax(class_logits)[:, :-1]
    flat = probabilities.reshape(-1)
    best = topk_unsorted(flat, len(probabilities))
    return Queries(best // probabilities.shape[1], flat[best], best % probabilities.shape[1])


@dataclass(frozen=True, slots=True)
class Contest:
    """Which query has each pixel.

    Attributes:
        winners: (H, W) place of the winner among the queries.
        sure: (H, W) whether the winner's own mask has the pixel.
        won: (n,) pixels won.
        claimed: (n,) pixels that the query's own mask has.
    """

    winners: Array
    sure: Array
    won: Array
    claimed: Array


def contest(masks: Iterable[Array], scores: Array, mask_threshold: float, *, weighted: bool = True) -> Contest:
    """Gives each pixel to the query whose score times mask is largest there.

    Args:
        masks: (H, W) float32 of each query; may share one buffer.
        scores: (n,).
        mask_threshold: a mask has the pixels where it is at least this.
        weighted: it is score times mask that must be so; else the mask.
    """
    best: Array = np.empty(0)
    winners, sure, larger = best, best, best
    claimed = np.zeros(len(scores), np.int64)
    for place, (mask, score) in enumerate(zip(masks, scores)):
        strength = mask * score
        own = (strength if weighted else mask) >= mask_threshold
        claimed[place] = np.count_nonzero(own)
        if place == 0:
            best, winners, sure, larger = strength, np.zeros(mask.shape, np.uint16), own, np.empty(mask.shape, bool)
            continue
        np.greater(strength, best, out=larger)
        np.copyto(winners, place, where=larger)
        np.copyto(sure, own, where=larger)
        np.maximum(best, strength, out=best)
    return Contest(winners, sure, np.bincount(winners.reshape(-1), minlength=len(scores)), claimed)


def panoptic(found: Contest, queries: Queries, overlap: float, fused: Collection[int]) -> tuple[Array, list[Segment]]:
    """The map (H, W) int32 of segments from 1 on, 0 for no segment, and the segments.

    Args:
        found: the contest among the queries.
        queries: they.
        overlap: part of its own mask that a query must have won, to exceed (it wins pixels outside it too).
        fused: classes of which all segments are one.
    """
    segments: list[Segment] = []
    ids = np.zeros(len(queries.labels), np.int32)
    of_class: dict[int, int] = {}
    last = 0
    for place in np.flatnonzero(_large_enough(found.won, found.claimed, overlap)):
        label = int(queries.labels[place])
        # The next segment takes up counting where the last one stood: after a fused one an id may come twice, as in
        # transformers.
        last = of_class.get(label, last + 1)
        ids[place] = last
        if label in fused:
            of_class[label] = last
        segments.append(
            {"id": last, "label_id": label, "was_fused": label in fused, "score": rounded(queries.scores[place])}
        )
    return ids[found.winners], segments


def panoptic_sure(
    found: Contest, queries: Queries, overlap: float, fused: Collection[int]
) -> tuple[Array, list[Segment]]:
    """EoMT's form: ids from 0, -1 for no segment, and segments have only pixels that are in their own masks too."""
    segments: list[Segment] = []
    ids = np.full(len(queries.labels), -1, np.int64)
    of_class: dict[int, int] = {}
    sure = np.bincount(found.winners[found.sure].reshape(-1), minlength=len(ids))
    for place in np.flatnonzero(_large_enough(found.won, found.claimed, overlap) & (sure > 0)):
        label = int(queries.labels[place])
        if label in of_class:
            ids[place] = of_class[label]
            continue
        ids[place] = len(segments)
        if label in fused:
            of_class[label] = len(segments)
        segments.append({"id": len(segments), "label_id": label, "score": rounded(queries.scores[place])})
    return np.where(found.sure, ids[found.winners], -1), segments


def _large_enough(won: Array, claimed: Array, overlap: float) -> Array:
    some = (won > 0) & (claimed > 0)
    ratio = np.divide(won, claimed, where=some, out=np.zeros(len(won)))
    return some & (ratio.astype(np.float32).astype(np.float64) > overlap)  # as torch divides whole numbers


@dataclass(frozen=True, slots=True)
class Instances:
    """Masks painted over each other, later ones on top.

    Attributes:
        segmentation: (H, W) float32 number of the topmost mask, -1 for none.
        segments: what is known of each.
        masks: (H, W) float32 of 0 and 1 of each.
    """

    segmentation: Array
    segments: list[Segment]
    masks: list[Array]


def paint(masks: Iterable[tuple[Array, float, int]], size: Size) -> Instances:
    """Paints masks (h, w) bool, each with its score and class, in the size asked for; empty ones are left out."""
    found = Instances(np.full(size, -1, np.float32), [], [])
    for small, score, label in masks:
        mask = small if small.shape == size else interpolate(small, size, "nearest")
        if mask.any():
            number = len(found.segments)
            found.segmentation[mask] = number
            found.segments.append({"id": number, "label_id": label, "was_fused": False, "score": round(score, 6)})
            found.masks.append(mask.astype(np.float32))
    return found


def quality(logits: Array, inside: Array) -> np.float32:
    """Mean probability of a mask (h, w) inside of it, float32."""
    total = sigmoid(logits[inside]).sum(dtype=np.float32)
    return np.float32(total / (np.float32(np.count_nonzero(inside)) + np.float32(1e-6)))


def rounded(score: Any) -> float:
    """A score as it is given, to six places."""
    return round(float(score), 6)
