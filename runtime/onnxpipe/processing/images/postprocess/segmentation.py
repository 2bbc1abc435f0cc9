"""Segments, as from `post_process_…_segmentation` of transformers' image processors, family by family.

`outputs` are the arrays of a model; `target_sizes` (height, width) of each image, None for the size of the masks.

- semantic: for each image the class of each pixel, (H, W) int64; with `return_segmentation_scores` a mapping of that
  as `segmentation` and the scores of all classes as `segmentation_scores` (classes, H, W).
- panoptic: for each image {"segmentation": (H, W) int32, 0 for no segment, "segments_info": [{"id", "label_id",
  "was_fused", "score"}, …]}; if there are no segments the map is float32 and -1.
- instance: likewise; MaskFormer and its followers count from 0 and have -1 for no segment.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from onnxpipe.processing.images.interpolate import interpolate, resized_planes
from onnxpipe.processing.images.postprocess import segments
from onnxpipe.processing.images.postprocess.eomt import eomt_instance as eomt_instance
from onnxpipe.processing.images.postprocess.eomt import eomt_panoptic as eomt_panoptic
from onnxpipe.processing.images.postprocess.eomt import eomt_semantic as eomt_semantic
from onnxpipe.processing.images.postprocess.outputs import (
    Array,
    Outputs,
    Size,
    each_size,
    field,
)
from onnxpipe.processing.images.postprocess.rle import segment_runs
from onnxpipe.processing.images.postprocess.semantic import class_maps, classes
from onnxpipe.processing.scores import sigmoid, softmax

#: The size to which the masks of Mask2Former are resized before all other steps.
_MASK2FORMER = (384, 384)

Segmentations = list[dict[str, Any]]
"""For each image its map and its segments."""


def semantic(outputs: Outputs, target_sizes: Any = None, return_segmentation_scores: bool = False) -> list[Any]:
    """SegFormer, DPT, BEiT, MobileViT, MobileNetV2, UperNet: resize `logits` (B, classes, h, w) bilinearly."""
    return classes(field(outputs, "logits"), target_sizes, return_segmentation_scores)


def detr_semantic(outputs: Outputs, target_sizes: Any = None, return_segmentation_scores: bool = False) -> list[Any]:
    """DETR: `logits` (B, Q, classes + 1) and `pred_masks` (B, Q, h, w)."""
    logits = class_maps(softmax(field(outputs, "logits"))[..., :-1], field(outputs, "pred_masks"))
    return classes(logits, target_sizes, return_segmentation_scores)


def conditional_detr_semantic(
    outputs: Outputs, target_sizes: Any = None, return_segmentation_scores: bool = False
) -> list[Any]:
    """Conditional DETR: as `detr_semantic`, but without a class for "no object"."""
    logits = class_maps(softmax(field(outputs, "logits")), field(outputs, "pred_masks"))
    return classes(logits, target_sizes, return_segmentation_scores)


def maskformer_semantic(
    outputs: Outputs, target_sizes: Any = None, return_segmentation_scores: bool = False
) -> list[Any]:
    """MaskFormer: `class_queries_logits` (B, Q, classes + 1) and `masks_queries_logits` (B, Q, h, w)."""
    labels, masks = _queries(outputs)
    return classes(class_maps(softmax(labels)[..., :-1], masks), target_sizes, return_segmentation_scores)


oneformer_semantic = maskformer_semantic


def mask2former_semantic(
    outputs: Outputs, target_sizes: Any = None, return_segmentation_scores: bool = False
) -> list[Any]:
    """Mask2Former: as `maskformer_semantic`, with masks resized to 384 x 384."""
    labels, masks = _queries(outputs)
    resized = (interpolate(mask, _MASK2FORMER) for mask in masks)
    return classes(class_maps(softmax(labels)[..., :-1], resized), target_sizes, return_segmentation_scores)


def detr_panoptic(
    outputs: Outputs,
    threshold: float = 0.5,
    mask_threshold: float = 0.5,
    overlap_mask_area_threshold: float = 0.8,
    label_ids_to_fuse: Collection[int] | None = None,
    target_sizes: Any = None,
) -> Segmentations:
    """DETR: `logits` (B, Q, classes + 1) and `pred_masks` (B, Q, h, w).

    Args:
        outputs, target_sizes: see above.
        threshold: class probability that a query must exceed.
        mask_threshold: a pixel is in a query's own mask if class probability times mask probability is at least this.
        overlap_mask_area_threshold: ratio to exceed, of the pixels that a query gets to those of its own mask.
        label_ids_to_fuse: classes whose segments are all one in an image; None for none.
    """
    labels, masks = field(outputs, "logits"), field(outputs, "pred_masks")
    return [
        _panoptic(logits, mask, size, threshold, mask_threshold, overlap_mask_area_threshold, label_ids_to_fuse or ())
        for logits, mask, size in zip(labels, masks, each_size(target_sizes, len(labels)))
    ]


def detr_instance(
    outputs: Outputs,
    threshold: float = 0.5,
    mask_threshold: float = 0.5,
    overlap_mask_area_threshold: float = 0.8,
    target_sizes: Any = None,
    return_coco_annotation: bool | None = False,
) -> Segmentations:
    """DETR: as `detr_panoptic` without fusing; `return_coco_annotation` returns maps as runs (`rle.segment_runs`)."""
    segmentations = detr_panoptic(outputs, threshold, mask_threshold, overlap_mask_area_threshold, None, target_sizes)
    if not return_coco_annotation:
        return segmentations
    # An image in which nothing exceeds the threshold (its map is of floats) keeps its map, as in transformers.
    return [one if one["segmentation"].dtype.kind == "f" else _as_runs([one])[0] for one in segmentations]


def maskformer_panoptic(
    outputs: Outputs,
    threshold: float = 0.5,
    mask_threshold: float = 0.5,
    overlap_mask_area_threshold: float = 0.8,
    label_ids_to_fuse: Collection[int] | None = None,
    target_sizes: Any = None,
) -> Segmentations:
    """MaskFormer: as `detr_panoptic`, from `class_queries_logits` and `masks_queries_logits`."""
    renamed = dict(zip(("logits", "pred_masks"), _queries(outputs)))
    limits = (threshold, mask_threshold, overlap_mask_area_threshold)
    return detr_panoptic(renamed, *limits, label_ids_to_fuse, target_sizes)


def mask2former_panoptic(
    outputs: Outputs,
    threshold: float = 0.5,
    mask_threshold: float = 0.5,
    overlap_mask_area_threshold: float = 0.8,
    label_ids_to_fuse: Collection[int] | None = None,
    target_sizes: Any = None,
) -> Segmentations:
    """Mask2Former: as `maskformer_panoptic`, with masks resized to 384 x 384."""
    labels, masks = _queries(outputs)
    limits = (threshold, mask_threshold, overlap_mask_area_threshold)
    return [
        _panoptic(logits, mask, size, *limits, label_ids_to_fuse or (), first=_MASK2FORMER)
        for logits, mask, size in zip(labels, masks, each_size(target_sizes, len(labels)))
    ]


def oneformer_panoptic(
    outputs: Outputs,
    threshold: float = 0.5,
    mask_threshold: float = 0.5,
    overlap_mask_area_threshold: float = 0.8,
    label_ids_to_fuse: Collection[int] | None = None,
    target_sizes: Any = None,
) -> Segmentations:
    """OneFormer: as `maskformer_panoptic`, with masks resized with antialiasing."""
    labels, masks = _queries(outputs)
    limits = (threshold, mask_threshold, overlap_mask_area_threshold)
    return [
        _panoptic(logits, mask, size, *limits, label_ids_to_fuse or (), antialias=True)
        for logits, mask, size in zip(labels, masks, each_size(target_sizes, len(labels)))
    ]


def _panoptic(
    labels: Array,
    masks: Array,
    size: Size | None,
    threshold: float,
    mask_threshold: float,
    overlap: float,
    fused: Collection[int],
    *,
    first: Size | None = None,
    antialias: bool = False,
) -> dict[str, Any]:
    """Segment one image from labels (Q, classes + 1) and masks (Q, h, w), which are resized to `first` at the start."""
    queries = segments.select_likely(labels, threshold)
    size = size or first or masks.shape[1:]
    if not len(queries.labels):
        return _nothing(size)
    logits = masks[queries.indices]
    if first is not None:
        logits = interpolate(logits, first)
    planes = _planes(sigmoid(logits), size, antialias)
    assigned = segments.assign_pixels(planes, queries.scores, mask_threshold)
    return _result(*segments.panoptic(assigned, queries, overlap, fused))


def _planes(masks: Array, size: Size, antialias: bool = False) -> Iterable[Array]:
    return masks if masks.shape[1:] == size else resized_planes(masks, size, antialias=antialias)


def maskformer_instance(
    outputs: Outputs,
    threshold: float = 0.5,
    mask_threshold: float = 0.5,
    overlap_mask_area_threshold: float = 0.8,
    target_sizes: Any = None,
    return_coco_annotation: bool | None = False,
    return_binary_maps: bool | None = False,
) -> Segmentations:
    """MaskFormer: paint the masks of the likeliest pairs of query and class over each other.

    Args:
        outputs, target_sizes: see above.
        threshold: class probability times mean mask probability that an instance must have.
        mask_threshold, overlap_mask_area_threshold: have no effect, as in transformers.
        return_coco_annotation: return maps as runs (`rle.segment_runs`).
        return_binary_maps: return maps (n, H, W) float32 of 0 and 1, one for each instance, if there are any.

    Raises:
        ValueError: both of the last two are set.
    """
    return _instances(outputs, threshold, target_sizes, None, return_coco_annotation, return_binary_maps)


def mask2former_instance(
    outputs: Outputs,
    threshold: float = 0.5,
    mask_threshold: float = 0.5,
    overlap_mask_area_threshold: float = 0.8,
    target_sizes: Any = None,
    return_coco_annotation: bool | None = False,
    return_binary_maps: bool | None = False,
) -> Segmentations:
    """Mask2Former: as `maskformer_instance`, with masks resized to 384 x 384."""
    return _instances(outputs, threshold, target_sizes, _MASK2FORMER, return_coco_annotation, return_binary_maps)


def _instances(
    outputs: Outputs, threshold: float, target_sizes: Any, first: Size | None, coco: bool | None, maps: bool | None
) -> Segmentations:
    if coco and maps:
        raise ValueError("return_coco_annotation and return_binary_maps can not be both set to True.")
    segmentations: Segmentations = []
    labels, masks = _queries(outputs)
    for logits, mask, size in zip(labels, masks, each_size(target_sizes, len(labels))):
        pairs = segments.best_pairs(logits)
        # The mean probability inside a mask is at most 1, so it cannot lift a class probability over the threshold.
        pairs = pairs.where(pairs.scores >= threshold)
        painted = segments.paint(_confident_masks(mask, pairs, threshold, first), size or first or mask.shape[1:])
        one = _result(painted.segmentation, painted.segments)
        if maps and painted.masks:
            one["segmentation"] = np.stack(painted.masks)
        segmentations.append(one)
    return _as_runs(segmentations) if coco else segmentations


def _confident_masks(
    masks: Array, queries: segments.Queries, threshold: float, first: Size | None
) -> Iterator[tuple[Array, float, int]]:
    """Yield the masks (h, w) bool of queries that reach the threshold, with score and class."""
    for index, score, label in zip(queries.indices, queries.scores, queries.labels):
        logits = masks[index] if first is None else interpolate(masks[index], first)
        inside = logits > 0
        confidence = float(score * segments.mean_probability(logits, inside))
        if confidence >= threshold:
            yield inside, confidence, int(label)


def oneformer_instance(
    outputs: Outputs,
    task_type: str = "instance",
    is_demo: bool = True,
    threshold: float = 0.5,
    mask_threshold: float = 0.5,
    overlap_mask_area_threshold: float = 0.8,
    target_sizes: Any = None,
    return_coco_annotation: bool | None = False,
    *,
    thing_ids: Sequence[int] | None = None,
    class_info_file: str = "",
) -> Segmentations:
    """OneFormer: give each pixel to one of the likeliest pairs of query and class.

    Args:
        outputs, threshold, mask_threshold, overlap_mask_area_threshold, target_sizes: as in `oneformer_panoptic`; the
            masks are used as logits here, as in transformers.
        task_type: "panoptic" keeps only things, no stuff.
        is_demo: keep only pairs whose class probability exceeds the threshold.
        return_coco_annotation: return maps as runs (`rle.segment_runs`).
        thing_ids: the classes that are things; needed for "panoptic" and for ADE20K without `is_demo`.
        class_info_file: that of the image processor; without `is_demo`, the things of ADE20K are renumbered.

    Raises:
        ValueError: `thing_ids` are needed and missing.
    """
    renumber = "ade20k" in class_info_file and not is_demo and "instance" in task_type
    if thing_ids is None and (renumber or task_type == "panoptic"):
        raise ValueError(f"{task_type=} needs thing_ids: the image processor's metadata['thing_ids']")
    segmentations: Segmentations = []
    labels, masks = _queries(outputs)
    for logits, mask, size in zip(labels, masks, each_size(target_sizes, len(labels))):
        pairs = segments.best_pairs(logits)
        if is_demo:
            pairs = pairs.where(pairs.scores > threshold)
        if task_type == "panoptic":
            pairs = pairs.where(np.isin(pairs.labels, list(thing_ids or ())))
        size = size or mask.shape[1:]
        if not len(pairs.labels):
            segmentations.append(_nothing(size))
            continue
        if renumber:
            things = list(thing_ids or ())
            pairs = segments.Queries(pairs.indices, pairs.scores, np.asarray([things.index(i) for i in pairs.labels]))
        planes = _planes(mask[pairs.indices], size, antialias=True)
        assigned = segments.assign_pixels(planes, pairs.scores, mask_threshold)
        one = _result(*segments.panoptic(assigned, pairs, overlap_mask_area_threshold, ()))
        segmentations.extend(_as_runs([one]) if return_coco_annotation else [one])
    return segmentations


def _queries(outputs: Outputs) -> tuple[Array, Array]:
    return field(outputs, "class_queries_logits"), field(outputs, "masks_queries_logits")


def _nothing(size: Size) -> dict[str, Any]:
    return {"segmentation": np.full(size, -1, np.float32), "segments_info": []}


def _result(segmentation: Array, info: list[segments.Segment]) -> dict[str, Any]:
    return {"segmentation": segmentation, "segments_info": info}


def _as_runs(segmentations: Segmentations) -> Segmentations:
    return [{**one, "segmentation": segment_runs(one["segmentation"])} for one in segmentations]
