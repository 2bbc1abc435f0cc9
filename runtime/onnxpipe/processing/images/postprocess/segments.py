"""Convert the masks of queries to a map of segments: each pixel goes to one query, small segments are dropped.

Masks are resized one at a time, only those of queries that can get a pixel, and are never kept at full size: memory
does not grow with the number of queries.
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
    """The queries of an image that stand for an object.

    Attributes:
        indices: (n,) their numbers among all queries.
        scores: (n,) float32 probability of the class.
        labels: (n,) class.
    """

    indices: Array
    scores: Array
    labels: Array

    def where(self, keep: Array) -> Queries:
        """Select queries by a mask (n,) bool."""
        return Queries(self.indices[keep], self.scores[keep], self.labels[keep])


def select_likely(class_logits: Array, threshold: float) -> Queries:
    """Select the queries (Q, classes + 1) whose likeliest class is not the last ("no object") and over a threshold."""
    probabilities = softmax(class_logits)
    scores, labels = probabilities.max(-1), probabilities.argmax(-1)
    every = Queries(np.arange(len(scores)), scores, labels)
    return every.where((labels != class_logits.shape[-1] - 1) & (scores > threshold))


def best_pairs(class_logits: Array) -> Queries:
    """Select the likeliest pairs of query and class, as many as queries (Q, classes + 1), in torch's order."""
    probabilities = softmax(class_logits)[:, :-1]
    flat = probabilities.reshape(-1)
    best = topk_unsorted(flat, len(probabilities))
    return Queries(best // probabilities.shape[1], flat[best], best % probabilities.shape[1])


@dataclass(frozen=True, slots=True)
class PixelAssignment:
    """Which query gets each pixel.

    Attributes:
        winners: (H, W) place of the winner among the queries.
        inside: (H, W) whether the pixel is in the winner's own mask.
        won: (n,) number of pixels that a query gets.
        claimed: (n,) number of pixels in the query's own mask.
    """

    winners: Array
    inside: Array
    won: Array
    claimed: Array


def assign_pixels(
    masks: Iterable[Array], scores: Array, mask_threshold: float, *, weighted: bool = True
) -> PixelAssignment:
    """Give each pixel to the query whose score times mask is largest there.

    Args:
        masks: (H, W) float32 of each query; may share one buffer.
        scores: (n,).
        mask_threshold: a pixel is in a query's own mask where the mask is at least this.
        weighted: compare score times mask with the threshold; else the mask alone.
    """
    best: Array = np.empty(0)
    winners, inside, larger = best, best, best
    claimed = np.zeros(len(scores), np.int64)
    for place, (mask, score) in enumerate(zip(masks, scores)):
        strength = mask * score
        own = (strength if weighted else mask) >= mask_threshold
        claimed[place] = np.count_nonzero(own)
        if place == 0:
            best, winners, inside, larger = strength, np.zeros(mask.shape, np.uint16), own, np.empty(mask.shape, bool)
            continue
        np.greater(strength, best, out=larger)
        np.copyto(winners, place, where=larger)
        np.copyto(inside, own, where=larger)
        np.maximum(best, strength, out=best)
    return PixelAssignment(winners, inside, np.bincount(winners.reshape(-1), minlength=len(scores)), claimed)


def panoptic(
    assigned: PixelAssignment, queries: Queries, overlap: float, fused: Collection[int]
) -> tuple[Array, list[Segment]]:
    """Build the map (H, W) int32 of segments, numbered from 1 (0 for no segment), and the list of segments.

    Args:
        assigned: the pixels of the queries.
        queries: the queries.
        overlap: ratio to exceed, of the pixels that a query gets (also outside its own mask) to those of its mask.
        fused: classes whose segments are all one.
    """
    segments: list[Segment] = []
    ids = np.zeros(len(queries.labels), np.int32)
    of_class: dict[int, int] = {}
    last = 0
    for place in np.flatnonzero(_large_enough(assigned.won, assigned.claimed, overlap)):
        label = int(queries.labels[place])
        # Ids count on from the last segment: after a fused one an id may be used twice, as in transformers.
        last = of_class.get(label, last + 1)
        ids[place] = last
        if label in fused:
            of_class[label] = last
        segments.append(
            {"id": last, "label_id": label, "was_fused": label in fused, "score": rounded(queries.scores[place])}
        )
    return ids[assigned.winners], segments


def panoptic_inside(
    assigned: PixelAssignment, queries: Queries, overlap: float, fused: Collection[int]
) -> tuple[Array, list[Segment]]:
    """Build the map and the segments for EoMT: ids from 0, -1 for no segment, only pixels inside a query's own mask."""
    segments: list[Segment] = []
    ids = np.full(len(queries.labels), -1, np.int64)
    of_class: dict[int, int] = {}
    kept = np.bincount(assigned.winners[assigned.inside].reshape(-1), minlength=len(ids))
    for place in np.flatnonzero(_large_enough(assigned.won, assigned.claimed, overlap) & (kept > 0)):
        label = int(queries.labels[place])
        if label in of_class:
            ids[place] = of_class[label]
            continue
        ids[place] = len(segments)
        if label in fused:
            of_class[label] = len(segments)
        segments.append({"id": len(segments), "label_id": label, "score": rounded(queries.scores[place])})
    return np.where(assigned.inside, ids[assigned.winners], -1), segments


def _large_enough(won: Array, claimed: Array, overlap: float) -> Array:
    some = (won > 0) & (claimed > 0)
    ratio = np.divide(won, claimed, where=some, out=np.zeros(len(won)))
    return some & (ratio.astype(np.float32).astype(np.float64) > overlap)  # as torch divides whole numbers


@dataclass(frozen=True, slots=True)
class Instances:
    """Masks painted over each other, later ones on top.

    Attributes:
        segmentation: (H, W) float32 number of the topmost mask, -1 for none.
        segments: id, class and score of each.
        masks: (H, W) float32 of 0 and 1 of each.
    """

    segmentation: Array
    segments: list[Segment]
    masks: list[Array]


def paint(masks: Iterable[tuple[Array, float, int]], size: Size) -> Instances:
    """Paint masks (h, w) bool, each with its score and class, at that size; empty ones are left out."""
    painted = Instances(np.full(size, -1, np.float32), [], [])
    for small, score, label in masks:
        mask = small if small.shape == size else interpolate(small, size, "nearest")
        if mask.any():
            number = len(painted.segments)
            painted.segmentation[mask] = number
            painted.segments.append({"id": number, "label_id": label, "was_fused": False, "score": round(score, 6)})
            painted.masks.append(mask.astype(np.float32))
    return painted


def mean_probability(logits: Array, inside: Array) -> np.float32:
    """Compute the mean probability of a mask (h, w) over the pixels inside it, float32."""
    total = sigmoid(logits[inside]).sum(dtype=np.float32)
    return np.float32(total / (np.float32(np.count_nonzero(inside)) + np.float32(1e-6)))


def rounded(score: Any) -> float:
    """Round a score to six places, as in transformers."""
    return round(float(score), 6)
