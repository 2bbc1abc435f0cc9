"""Segments of EoMT, whose pictures were padded, or cut into overlapping patches, to squares.

`size` is the image processor's: {"shortest_edge": …, "longest_edge": … or None}; `target_sizes` are needed. For the
rest see `segmentation.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from onnxpipe.processing.images.interpolate import interpolate, resized_planes
from onnxpipe.processing.images.postprocess import segments
from onnxpipe.processing.images.postprocess.outputs import Array, Outputs, Size, field, sizes
from onnxpipe.processing.images.postprocess.semantic import class_maps, classes
from onnxpipe.processing.images.transforms import within_edges
from onnxpipe.processing.scores import sigmoid, softmax

Edges = Mapping[str, int | None]
Patch = tuple[int, int, int]
"""Number of its picture, first and last pixel + 1 along the picture's long side."""


def eomt_semantic(
    outputs: Outputs, target_sizes: Any, size: Edges, return_segmentation_scores: bool = False
) -> list[Any]:
    """The class of each pixel; where `outputs` has `patch_offsets`, of pictures put together from patches."""
    labels, masks = field(outputs, "class_queries_logits"), field(outputs, "masks_queries_logits")
    full = (interpolate(mask, _square(size)) for mask in masks)
    maps: Any = class_maps(softmax(labels)[..., :-1], full)
    patches = outputs.get("patch_offsets")
    if patches is not None and len(patches):
        targets = sizes(target_sizes, len(target_sizes)) or []
        maps = _merged(maps, [(int(i), int(start), int(end)) for i, start, end in patches], targets, size)
    return classes(maps, target_sizes, return_segmentation_scores)


def eomt_panoptic(
    outputs: Outputs,
    target_sizes: Any,
    size: Edges,
    threshold: float = 0.8,
    mask_threshold: float = 0.5,
    overlap_mask_area_threshold: float = 0.8,
    stuff_classes: Collection[int] | None = None,
) -> list[dict[str, Any]]:
    """Segments from 0 on; `stuff_classes` are those of which all segments of a picture are one."""
    found: list[dict[str, Any]] = []
    for labels, masks, target in _pictures(outputs, target_sizes):
        queries = segments.likely(labels, threshold)
        if not len(queries.labels):
            found.append({"segmentation": np.full(target, -1, np.float32), "segments_info": []})
            continue
        planes = (sigmoid(plane) for plane in _planes(masks[queries.indices], target, size))
        won = segments.contest(planes, queries.scores, mask_threshold, weighted=False)
        segmentation, info = segments.panoptic_sure(won, queries, overlap_mask_area_threshold, stuff_classes or ())
        found.append({"segmentation": segmentation, "segments_info": info})
    return found


def eomt_instance(outputs: Outputs, target_sizes: Any, size: Edges, threshold: float = 0.8) -> list[dict[str, Any]]:
    """The likeliest class of each query, masks painted over each other."""
    found: list[dict[str, Any]] = []
    for labels, masks, target in _pictures(outputs, target_sizes):
        probabilities = softmax(labels)[:, :-1]
        scores, best = probabilities.max(-1), probabilities.argmax(-1)
        queries = segments.Queries(np.arange(len(scores)), scores, best).where(scores >= threshold)
        painted = segments.paint(_rated(masks, queries, threshold, target, size), target)
        info = [{key: one[key] for key in ("id", "label_id", "score")} for one in painted.segments]
        found.append({"segmentation": painted.segmentation, "segments_info": info})
    return found


def _rated(
    masks: Array, queries: segments.Queries, threshold: float, target: Size, size: Edges
) -> Iterator[tuple[Array, float, int]]:
    planes = _planes(masks[queries.indices], target, size)
    for plane, score, label in zip(planes, queries.scores, queries.labels):
        inside = plane > 0
        rating = float(score * segments.quality(plane, inside))
        if rating >= threshold:
            yield inside, rating, int(label)


def _pictures(outputs: Outputs, target_sizes: Any) -> Iterator[tuple[Array, Array, Size]]:
    labels, masks = field(outputs, "class_queries_logits"), field(outputs, "masks_queries_logits")
    yield from zip(labels, masks, sizes(target_sizes, len(labels)) or [])


def _planes(masks: Array, target: Size, size: Edges) -> Iterator[Array]:
    """Masks (n, h, w) at the picture's size, without padding."""
    height, width = _seen(target, size)
    for mask in masks:
        yield from resized_planes(interpolate(mask, _square(size))[:height, :width], target)


def _square(size: Edges) -> Size:
    shortest, longest = int(size["shortest_edge"] or 0), size.get("longest_edge")
    return shortest, int(longest or shortest)


def _seen(target: Size, size: Edges) -> Size:
    """What of the square is the picture, or what it is put together to."""
    longest = size.get("longest_edge")
    return within_edges(*target, int(size["shortest_edge"] or 0), int(longest) if longest else 10**9)


def _merged(maps: Iterator[Array], patches: Sequence[Patch], targets: Sequence[Size], size: Edges) -> list[Array]:
    """Class maps (classes, h, w) of pictures: the mean of their patches, before they are resized."""
    sums: dict[int, Array] = {}
    counts = [np.zeros(max(_seen(target, size)), np.float32) for target in targets]
    for patch, (picture, start, end) in zip(maps, patches, strict=True):
        target = targets[picture]
        if picture not in sums:
            sums[picture] = np.zeros((len(patch), *_seen(target, size)), np.float32)
        along = sums[picture] if target[0] > target[1] else sums[picture].swapaxes(1, 2)
        along[:, start:end] += patch if target[0] > target[1] else patch.swapaxes(1, 2)
        counts[picture][start:end] += 1
    merged = []
    for picture, target in enumerate(targets):
        total = np.maximum(counts[picture], 1)
        merged.append(sums[picture] / (total[:, None] if target[0] > target[1] else total))
    return merged
