"""Find the likeliest class of each pixel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from onnxpipe.processing.images.interpolate import interpolate, resized_argmax
from onnxpipe.processing.images.postprocess.outputs import Array, Size, each_size
from onnxpipe.processing.model_output import ModelOutput
from onnxpipe.processing.scores import sigmoid


def classes(logits: Iterable[Array], target_sizes: Any, with_scores: bool) -> list[Any]:
    """Find the likeliest class of each pixel from the logits (classes, h, w) of each image; see `segmentation`."""
    images = list(logits)
    return [_classes(image, size, with_scores) for image, size in zip(images, each_size(target_sizes, len(images)))]


def _classes(logits: Array, size: Size | None, with_scores: bool) -> Any:
    if not with_scores and size is not None:
        return resized_argmax(logits, size)
    scores = logits if size is None else interpolate(logits, size)
    winners = scores.argmax(0)
    return ModelOutput(segmentation=winners, segmentation_scores=scores) if with_scores else winners


def class_maps(probabilities: Array, masks: Iterable[Array]) -> Iterator[Array]:
    """Yield for each image (classes, h, w): the sum over queries of class probability (Q, classes) · mask (Q, h, w)."""
    for label, mask in zip(probabilities, masks):
        flat = sigmoid(mask).reshape(len(mask), -1)
        yield (label.T @ flat).reshape(-1, *mask.shape[1:])
