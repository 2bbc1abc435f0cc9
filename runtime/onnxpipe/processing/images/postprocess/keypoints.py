"""Keypoints, as from `post_process_keypoint_matching` and `post_process_keypoint_detection` of transformers."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxpipe.processing.images.postprocess.outputs import Array, Outputs, field, sizes


def superglue(outputs: Outputs, target_sizes: Any, threshold: float = 0.0) -> list[dict[str, Array]]:
    """SuperGlue, LightGlue: find the matching points of a pair of images.

    Args:
        outputs: `keypoints` (B, 2, points, 2) as x, y in fractions of the image, `mask` (B, 2, points), `matches` and
            `matching_scores` (B, 2, points): the index of the match among the points of the other image, or -1.
        target_sizes: for each pair the (height, width) of both images, (B, 2, 2).
        threshold: score that a match must exceed.

    Returns:
        For each pair {"keypoints0": (n, 2) int32 x, y, "keypoints1": likewise, "matching_scores": (n,)}.

    Raises:
        ValueError: another number of sizes, or sizes that are not (B, 2, 2).
    """
    mask, matches = field(outputs, "mask"), field(outputs, "matches")
    targets = np.asarray(target_sizes)
    if len(targets) != len(mask):
        raise ValueError("Make sure that you pass in as many target sizes as the batch dimension of the mask")
    if targets.shape[1:] != (2, 2):
        raise ValueError("Each element of target_sizes must contain the size (h, w) of each image of the batch")
    points = _pixels(field(outputs, "keypoints"), targets[:, :, None])
    return [
        _matched(*rows, threshold)
        for rows in zip(mask > 0, points, matches[:, 0], field(outputs, "matching_scores")[:, 0])
    ]


lightglue = superglue


def superpoint(outputs: Outputs, target_sizes: Any) -> list[dict[str, Array]]:
    """SuperPoint: find the keypoints of an image.

    Args:
        outputs: `keypoints` (B, points, 2) as x, y in fractions of the image, `scores` and `mask` (B, points),
            `descriptors` (B, points, D).
        target_sizes: (height, width) of each image.

    Returns:
        For each image {"keypoints": (n, 2) int32 x, y, "scores": (n,), "descriptors": (n, D)}.
    """
    mask = field(outputs, "mask") != 0
    targets = np.asarray(sizes(target_sizes, len(mask), "mask"))
    points = _pixels(field(outputs, "keypoints"), targets[:, None])
    scores, descriptors = field(outputs, "scores"), field(outputs, "descriptors")
    return [
        {"keypoints": points[i][keep], "scores": scores[i][keep], "descriptors": descriptors[i][keep]}
        for i, keep in enumerate(mask)
    ]


def _pixels(points: Array, targets: Array) -> Array:
    """Convert x, y from fractions to whole pixels of images of (height, width)."""
    return (points.astype(np.float32, copy=False) * targets[..., ::-1].astype(np.float32)).astype(np.int32)


def _matched(mask: Array, points: Array, matches: Array, scores: Array, threshold: float) -> dict[str, Array]:
    first, second = points[0][mask[0]], points[1][mask[1]]
    partners, scores = matches[mask[0]].astype(np.intp), scores[mask[0]]
    valid = (scores > threshold) & (partners > -1) & (partners < len(second))
    return {
        "keypoints0": first[valid],
        "keypoints1": second[partners[valid]],
        "matching_scores": scores[valid],
    }
