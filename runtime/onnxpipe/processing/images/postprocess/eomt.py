"""Segments of EoMT, whose images were padded to squares, or cut into overlapping square patches.

`size` is that of the image processor: {"shortest_edge": …, "longest_edge": … or None}; `target_sizes` are needed. For
the rest see `segmentation.py`.
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
"""Number of its image, and the first and the last + 1 pixel along the long side of the image."""


def eomt_semantic(
    outputs: Outputs, target_sizes: Any, size: Edges, return_segmentation_scores: bool = False
) -> list[Any]:
    """Find the class of each pixel; if `outputs` has `patch_offsets`, in images that are merged from patches."""
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
    """Find panoptic segments, numbered from 0; all segments of a class in `stuff_classes` are one in an image."""
    segmentations: list[dict[str, Any]] = []
    for labels, masks, target in _images(outputs, target_sizes):
        queries = segments.select_likely(labels, threshold)
        if not len(queries.labels):
            segmentations.append({"segmentation": np.full(target, -1, np.float32), "segments_info": []})
            continue
        planes = (sigmoid(plane) for plane in _planes(masks[queries.indices], target, size))
        assigned = segments.assign_pixels(planes, queries.scores, mask_threshold, weighted=False)
        segmentation, info = segments.panoptic_inside(
            assigned, queries, overlap_mask_area_threshold, stuff_classes or ()
        )
        segmentations.append({"segmentation": segmentation, "segments_info": info})
    return segmentations


def eomt_instance(outputs: Outputs, target_sizes: Any, size: Edges, threshold: float = 0.8) -> list[dict[str, Any]]:
    """Find instances by the likeliest class of each query, with masks painted over each other."""
    segmentations: list[dict[str, Any]] = []
    for labels, masks, target in _images(outputs, target_sizes):
        probabilities = softmax(labels)[:, :-1]
        scores, best = probabilities.max(-1), probabilities.argmax(-1)
        queries = segments.Queries(np.arange(len(scores)), scores, best).where(scores >= threshold)
        painted = segments.paint(_confident_masks(masks, queries, threshold, target, size), target)
        info = [{key: one[key] for key in ("id", "label_id", "score")} for one in painted.segments]
        segmentations.append({"segmentation": painted.segmentation, "segments_info": info})
    return segmentations


def _confident_masks(
    masks: Array, queries: segments.Queries, threshold: float, target: Size, size: Edges
) -> Iterator[tuple[Array, float, int]]:
    planes = _planes(masks[queries.indices], target, size)
    for plane, score, label in zip(planes, queries.scores, queries.labels):
        inside = plane > 0
        confidence = float(score * segments.mean_probability(plane, inside))
        if confidence >= threshold:
            yield inside, confidence, int(label)


def _images(outputs: Outputs, target_sizes: Any) -> Iterator[tuple[Array, Array, Size]]:
    labels, masks = field(outputs, "class_queries_logits"), field(outputs, "masks_queries_logits")
    yield from zip(labels, masks, sizes(target_sizes, len(labels)) or [])


def _planes(masks: Array, target: Size, size: Edges) -> Iterator[Array]:
    """Resize masks (n, h, w) to the image's size, without padding."""
    height, width = _unpadded(target, size)
    for mask in masks:
        yield from resized_planes(interpolate(mask, _square(size))[:height, :width], target)


def _square(size: Edges) -> Size:
    shortest, longest = int(size["shortest_edge"] or 0), size.get("longest_edge")
    return shortest, int(longest or shortest)


def _unpadded(target: Size, size: Edges) -> Size:
    """Compute the size of the image within the square, or of the image that is merged from patches."""
    longest = size.get("longest_edge")
    return within_edges(*target, int(size["shortest_edge"] or 0), int(longest) if longest else 10**9)


def _merged(maps: Iterator[Array], patches: Sequence[Patch], targets: Sequence[Size], size: Edges) -> list[Array]:
    """Merge the class maps (classes, h, w) of patches into those of images, by their mean, before resizing."""
    sums: dict[int, Array] = {}
    counts = [np.zeros(max(_unpadded(target, size)), np.float32) for target in targets]
    for patch, (image, start, end) in zip(maps, patches, strict=True):
        target = targets[image]
        if image not in sums:
            sums[image] = np.zeros((len(patch), *_unpadded(target, size)), np.float32)
        along = sums[image] if target[0] > target[1] else sums[image].swapaxes(1, 2)
        along[:, start:end] += patch if target[0] > target[1] else patch.swapaxes(1, 2)
        counts[image][start:end] += 1
    merged = []
    for image, target in enumerate(targets):
        total = np.maximum(counts[image], 1)
        merged.append(sums[image] / (total[:, None] if target[0] > target[1] else total))
    return merged
