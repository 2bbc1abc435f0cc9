"""Masks of everything in an image (SAM, SAM 2): crops and grids of points before the model, filtering of masks after.

Source: `transformers.models.sam.image_processing_sam` and Kirillov et al., "Segment Anything" (2023), appendix B.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxpipe.processing.images.interpolate import interpolate, interpolate_cropped
from onnxpipe.processing.images.postprocess.outputs import Array, Size
from onnxpipe.processing.images.postprocess.rle import decode, encode

#: Pixels from a crop's edge within which a box counts as cut off by it.
_NEAR = 20.0


def generate_crop_boxes(
    image: Any,
    target_size: int,
    crop_n_layers: int = 0,
    overlap_ratio: float = 512 / 1500,
    points_per_crop: int = 32,
    crop_n_points_downscale_factor: int = 1,
) -> tuple[Array, Array, list[Array], Array]:
    """Generate the crops of an image that the model is run on, and a grid of points in each.

    Args:
        image: PIL image, or array (H, W, 3).
        target_size: the long side of the model's input.
        crop_n_layers: layer i = 1 … cuts the image into 2^i crops a side; 0 for the whole image alone.
        overlap_ratio: how far the crops of layer 1 overlap, as a fraction of the image's short side.
        points_per_crop: points a side of the grid.
        crop_n_points_downscale_factor: in layer i the points a side are divided by this to the power of i.

    Returns:
        boxes (crops, 4) float32 as left, top, right, bottom; points (1, points, crops, 2) float64 as x, y in the
        model's input; the crops as arrays (3, h, w); labels (1, points, crops) int64, all 1.

    Raises:
        ValueError: a list of images, or layers whose grids have different numbers of points.
    """
    if isinstance(image, (list, tuple)):
        raise ValueError("Only one image is allowed for crop generation.")
    pixels = np.asarray(image).transpose(2, 0, 1)
    layers = _crops_by_layer(pixels.shape[1:], crop_n_layers, overlap_ratio)
    sides = [int(points_per_crop / crop_n_points_downscale_factor**i) for i in range(len(layers))]
    if len(set(sides)) > 1 or sides[0] < 1:
        raise ValueError(
            f"{points_per_crop=} and {crop_n_points_downscale_factor=} give grids of {sides} points a side; all layers "
            "must have the same, and at least 1"
        )
    boxes = [box for layer in layers for box in layer]
    crops = [pixels[:, top:bottom, left:right] for left, top, right, bottom in boxes]
    points = np.stack([_grid(sides[0], target_size, (crop.shape[1], crop.shape[2])) for crop in crops], 1)[None]
    return np.asarray(boxes, np.float32), points, crops, np.ones(points.shape[:3], np.int64)


def _crops_by_layer(size: Sequence[int], layers: int, overlap_ratio: float) -> list[list[tuple[int, int, int, int]]]:
    """List the boxes (left, top, right, bottom) of each layer; layer 0 is the whole image."""
    height, width = size
    crops = [[(0, 0, width, height)]]
    for layer in range(1, layers + 1):
        count = 2**layer
        overlap = int(overlap_ratio * min(height, width) * (2 / count))
        wide, high = (math.ceil((overlap * (count - 1) + side) / count) for side in (width, height))
        lefts, tops = ([(part - overlap) * i for i in range(count)] for part in (wide, high))
        crops.append(
            [
                (left, top, min(left + wide, width), min(top + high, height))
                for left, top in itertools.product(lefts, tops)
            ]
        )
    return crops


def _grid(count: int, target_size: int, size: Size) -> Array:
    """Place `count` x `count` points (n, 2) as x, y in a crop of (height, width) with the long side `target_size`."""
    part = np.linspace(1 / (2 * count), 1 - 1 / (2 * count), count)
    scale = target_size * 1.0 / max(size)
    # In two steps, because the resized crop has whole pixels: the scales of its sides differ a little.
    y, x = (part * side * (int(side * scale + 0.5) / side) for side in size)
    x, y = np.meshgrid(x, y)
    return np.stack([x, y], -1).reshape(-1, 2)


def post_process_masks(
    masks: Any,
    original_sizes: Any,
    reshaped_input_sizes: Any,
    mask_threshold: float = 0.0,
    binarize: bool = True,
    pad_size: Mapping[str, int] | None = None,
) -> list[Array]:
    """SAM: resize masks to the sizes of their images.

    Args:
        masks: for each image (…, h, w) logits, the model's output.
        original_sizes: (height, width) of each image.
        reshaped_input_sizes: (height, width) of each image in the model's input, without padding.
        mask_threshold: a pixel belongs to a mask where the logit exceeds it.
        binarize: return bool; else the logits.
        pad_size: {"height": …, "width": …} of the model's input; None for 1024 x 1024.

    Returns:
        For each image (…, height, width).
    """
    padded = (1024, 1024) if pad_size is None else (pad_size["height"], pad_size["width"])
    sizes = zip(masks, _pairs(original_sizes), _pairs(reshaped_input_sizes), strict=True)
    return [
        _binary(interpolate_cropped(np.asarray(mask), padded, reshaped, original), mask_threshold, binarize)
        for mask, original, reshaped in sizes
    ]


def post_process_masks_sam2(
    masks: Any,
    original_sizes: Any,
    mask_threshold: float = 0.0,
    binarize: bool = True,
    max_hole_area: float = 0.0,
    max_sprinkle_area: float = 0.0,
    apply_non_overlapping_constraints: bool = False,
    reshaped_input_sizes: Any = None,
) -> list[Array]:
    """SAM 2: resize masks to the sizes of their images.

    Args:
        masks, original_sizes, mask_threshold, binarize: as in `post_process_masks`.
        max_hole_area, max_sprinkle_area: must be 0: transformers accepts them and ignores them.
        apply_non_overlapping_constraints: give each pixel to the likeliest object only (objects: the first axis).
        reshaped_input_sizes: ignored, because SAM 2 does not pad.

    Raises:
        ValueError: an area other than 0.
    """
    if max_hole_area or max_sprinkle_area:
        raise ValueError("max_hole_area and max_sprinkle_area are not supported (transformers ignores them)")
    resized = []
    for mask, size in zip(masks, _pairs(original_sizes), strict=True):
        logits = interpolate(np.asarray(mask), size)
        if apply_non_overlapping_constraints and len(logits) > 1:
            winner = logits.argmax(0, keepdims=True) == np.arange(len(logits))[:, None, None, None]
            logits = np.where(winner, logits, np.minimum(logits, -10.0))
        resized.append(_binary(logits, mask_threshold, binarize))
    return resized


def _pairs(sizes: Any) -> list[Size]:
    return [(int(height), int(width)) for height, width in np.asarray(sizes).tolist()]


def _binary(logits: Array, threshold: float, binarize: bool) -> Array:
    return logits > threshold if binarize else logits


def filter_masks(
    masks: Any,
    iou_scores: Any,
    original_size: Sequence[int],
    cropped_box_image: Any,
    pred_iou_thresh: float = 0.88,
    stability_score_thresh: float = 0.95,
    mask_threshold: float = 0,
    stability_score_offset: float = 1,
) -> tuple[list[dict[str, list[int]]], Array, Array]:
    """Select the masks of a crop that are good enough.

    Args:
        masks: (points, masks a point, h, w) logits at the crop's size.
        iou_scores: (points, masks a point) quality as the model estimates it.
        original_size: (height, width) of the whole image.
        cropped_box_image: the position of the crop in it: left, top, right, bottom.
        pred_iou_thresh: quality to exceed; 0 for any.
        stability_score_thresh: intersection over union to exceed, between the masks at a threshold moved up and at one
            moved down; 0 for any.
        mask_threshold: a pixel belongs to a mask where its logit exceeds it.
        stability_score_offset: how far the threshold is moved.

    Returns:
        masks of the whole image (`rle.encode`), scores (n,) float32, boxes (n, 4) int64 as left, top, right, bottom
        (of the last pixels inside). Masks that a crop's edge cuts off are dropped.

    Raises:
        ValueError: different numbers of masks and scores.
    """
    logits, scores = np.asarray(masks), np.asarray(iou_scores).reshape(-1)
    logits = logits.reshape(-1, *logits.shape[-2:])
    if len(logits) != len(scores):
        raise ValueError("masks and iou_scores must have the same batch size.")
    crop = [int(side) for side in cropped_box_image]
    if pred_iou_thresh > 0.0:
        good = scores > pred_iou_thresh
        logits, scores = logits[good], scores[good]
    if stability_score_thresh > 0.0:
        good = _stability(logits, mask_threshold, stability_score_offset) > stability_score_thresh
        logits, scores = logits[good], scores[good]
    inside = logits > mask_threshold
    boxes = mask_boxes(inside)
    whole = ~_cut_off(boxes, crop, original_size)
    boxes = boxes[whole] + np.asarray([crop[0], crop[1], crop[0], crop[1]])
    return [encode(_in_image(mask, crop, original_size)) for mask in inside[whole]], scores[whole], boxes


def _stability(logits: Array, threshold: float, offset: float) -> Array:
    inner, outer = (
        np.asarray([np.count_nonzero(mask > limit) for mask in logits], np.float32)
        for limit in (threshold + offset, threshold - offset)
    )
    with np.errstate(invalid="ignore"):
        return np.asarray(inner / outer)


def mask_boxes(masks: Array) -> Array:
    """Compute the boxes (n, 4) int64 of masks (n, h, w) bool: left, top, right, bottom pixel; zeros if empty."""
    rows, columns = np.asarray(masks.any(2)), np.asarray(masks.any(1))
    (tops, bottoms), (lefts, rights) = _ends(rows), _ends(columns)
    return np.asarray(np.stack([lefts, tops, rights, bottoms], -1) * rows.any(1, keepdims=True))


def _ends(rows: Array) -> tuple[Array, Array]:
    """Return the first and the last place that is set in each row (n, length) bool."""
    return rows.argmax(1), rows.shape[1] - 1 - rows[:, ::-1].argmax(1)


def _cut_off(boxes: Array, crop: Sequence[int], size: Sequence[int]) -> Array:
    """Return whether a box ends at the edge of the crop, where that is not an edge of the image."""
    placed = boxes + np.asarray([crop[0], crop[1], crop[0], crop[1]])
    at_crop = np.abs(placed - np.asarray(crop)) <= _NEAR
    at_image = np.abs(placed - np.asarray([0, 0, size[1], size[0]])) <= _NEAR
    return np.asarray((at_crop & ~at_image).any(1))


def _in_image(mask: Array, crop: Sequence[int], size: Sequence[int]) -> Array:
    left, top, right, bottom = crop
    if (left, top, right, bottom) == (0, 0, size[1], size[0]):
        return mask
    whole = np.zeros((int(size[0]), int(size[1])), bool)
    whole[top:bottom, left:right] = mask
    return whole


def post_process_for_mask_generation(
    all_masks: Sequence[Mapping[str, Any]], all_scores: Any, all_boxes: Any, crops_nms_thresh: float
) -> tuple[list[Array], Array, list[Mapping[str, Any]], Array]:
    """Drop masks whose boxes overlap those of better masks; return the rest, best first.

    Args:
        all_masks, all_scores, all_boxes: those of `filter_masks`, of all batches of points and crops.
        crops_nms_thresh: intersection over union of two boxes above which the worse mask is dropped.

    Returns:
        masks (height, width) bool, scores (n,), masks run-length encoded, boxes (n, 4).
    """
    scores, boxes = np.asarray(all_scores), np.asarray(all_boxes)
    kept = nms(boxes, scores, crops_nms_thresh)
    encoded = [all_masks[i] for i in kept]
    return [decode(rle) for rle in encoded], scores[kept], encoded, boxes[kept]


def nms(boxes: Array, scores: Array, iou_threshold: float) -> Array:
    """Non-maximum suppression: return the boxes that no better box overlaps too much, as indices, best first.

    Args:
        boxes: (n, 4) left, top, right, bottom.
        scores: (n,); of equal scores the first counts as better.
        iou_threshold: intersection over union above which a box is dropped.

    Source: `torchvision.ops.nms`, in float32 as it is.
    """
    order = np.argsort(-scores, kind="stable")
    left, top, right, bottom = boxes[order].astype(np.float32).T
    areas = (right - left) * (bottom - top)
    alive = np.ones(len(order), bool)
    for i in range(len(order)):
        if not alive[i]:
            continue
        wide = np.maximum(np.minimum(right[i], right[i + 1 :]) - np.maximum(left[i], left[i + 1 :]), 0)
        high = np.maximum(np.minimum(bottom[i], bottom[i + 1 :]) - np.maximum(top[i], top[i + 1 :]), 0)
        shared = wide * high
        with np.errstate(invalid="ignore", divide="ignore"):
            alive[i + 1 :] &= ~(shared / (areas[i] + areas[i + 1 :] - shared) > iou_threshold)
    return order[alive]
