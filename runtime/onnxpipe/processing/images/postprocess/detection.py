"""Boxes, as from `post_process_object_detection` of transformers' image processors, family by family.

Every function takes the model's outputs (`logits` (B, queries, classes) and `pred_boxes` (B, queries, 4) as centre x,
centre y, width, height in fractions of the image), a `threshold` that a score must exceed, and `target_sizes`: (height,
width) of each image, for boxes in its pixels; None for boxes in fractions of the image. It returns for each image of
the batch {"scores": (n,), "labels": (n,), "boxes": (n, 4) as left, top, right, bottom}. Boxes are not clipped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from onnxpipe.processing.images.postprocess.outputs import Array, Outputs, field, largest, sizes
from onnxpipe.processing.scores import sigmoid, softmax

Detections = list[dict[str, Any]]


def detr(outputs: Outputs, threshold: float = 0.5, target_sizes: Any = None) -> Detections:
    """DETR, YOLOS, Table Transformer: take the likeliest class of each query; the last class means "no object"."""
    probabilities = softmax(field(outputs, "logits"))[..., :-1]
    boxes = _boxes(outputs, target_sizes)
    return _above(threshold, probabilities.max(-1), probabilities.argmax(-1), boxes)


def conditional_detr(
    outputs: Outputs, threshold: float = 0.5, target_sizes: Any = None, top_k: int = 100
) -> Detections:
    """Conditional and Deformable DETR: take the `top_k` likeliest pairs of query and class (sigmoid scores)."""
    return _best_pairs(outputs, threshold, target_sizes, top_k)


deformable_detr = conditional_detr


def rt_detr(
    outputs: Outputs, threshold: float = 0.5, target_sizes: Any = None, use_focal_loss: bool = True
) -> Detections:
    """RT-DETR, RT-DETRv2, D-FINE: take the likeliest pairs of query and class, as many as there are queries.

    Args:
        outputs, threshold, target_sizes: as above.
        use_focal_loss: whether the model was trained with it; if not, its outputs are read like DETR's.
    """
    if not use_focal_loss:
        return detr(outputs, threshold, target_sizes)
    return _best_pairs(outputs, threshold, target_sizes, field(outputs, "logits").shape[1])


def owlvit(outputs: Outputs, threshold: float = 0.1, target_sizes: Any = None) -> Detections:
    """OWL-ViT: take the likeliest text query of each patch (sigmoid scores)."""
    logits = field(outputs, "logits")
    boxes = _boxes(outputs, target_sizes)
    return _above(threshold, sigmoid(logits.max(-1)), logits.argmax(-1), boxes)


def owlv2(outputs: Outputs, threshold: float = 0.1, target_sizes: Any = None) -> Detections:
    """OWLv2: as `owlvit`, for images that were padded to squares."""
    targets = sizes(target_sizes, len(field(outputs, "logits")))
    return owlvit(outputs, threshold, None if targets is None else [(max(pair), max(pair)) for pair in targets])


def grounding_dino(outputs: Outputs, threshold: float = 0.1, target_sizes: Any = None) -> Detections:
    """Grounding DINO: as `owlvit`; labels are the positions of the likeliest tokens in the text."""
    return owlvit(outputs, threshold, target_sizes)


def grounding_dino_phrases(
    outputs: Outputs,
    input_ids: Any,
    decode: Callable[[Sequence[int]], str],
    threshold: float = 0.25,
    text_threshold: float = 0.25,
    target_sizes: Any = None,
) -> Detections:
    """Grounding DINO: label each box with its words (`post_process_grounded_object_detection`).

    Args:
        outputs, threshold, target_sizes: as above.
        input_ids: the texts' tokens, (B, tokens).
        decode: converts tokens to text.
        text_threshold: probability that a token must exceed to be one of the words of a box.

    Returns:
        As above, with the words as `text_labels` and as `labels`.
    """
    probabilities = sigmoid(field(outputs, "logits"))
    detections = _above(threshold, probabilities.max(-1), probabilities > text_threshold, _boxes(outputs, target_sizes))
    for ids, image in zip(np.asarray(input_ids), detections):
        inner = image["labels"][:, 1:-1]  # without the two special tokens at the ends
        image["text_labels"] = image["labels"] = [decode(ids[1 + np.flatnonzero(row)].tolist()) for row in inner]
    return detections


def _best_pairs(outputs: Outputs, threshold: float, target_sizes: Any, count: int) -> Detections:
    probabilities = sigmoid(field(outputs, "logits"))
    flat = probabilities.reshape(len(probabilities), -1)
    best = np.stack([largest(row, count) for row in flat])
    queries, labels = np.divmod(best, probabilities.shape[-1])
    boxes = np.take_along_axis(_boxes(outputs, target_sizes), queries[..., None], 1)
    return _above(threshold, np.take_along_axis(flat, best, 1), labels, boxes)


def _boxes(outputs: Outputs, target_sizes: Any) -> Array:
    """Convert boxes to corners, (B, queries, 4)."""
    targets = sizes(target_sizes, len(field(outputs, "logits")))
    centre, extent = np.split(field(outputs, "pred_boxes").astype(np.float32, copy=False), 2, -1)
    corners = np.concatenate([centre - 0.5 * extent, centre + 0.5 * extent], -1)
    if targets is None:
        return corners
    return np.asarray(corners * np.asarray([[w, h, w, h] for h, w in targets], np.float32)[:, None])


def _above(threshold: float, scores: Array, labels: Array, boxes: Array) -> Detections:
    detections = []
    for score, label, box in zip(scores, labels, boxes):
        keep = score > threshold
        detections.append({"scores": score[keep], "labels": label[keep], "boxes": box[keep]})
    return detections
