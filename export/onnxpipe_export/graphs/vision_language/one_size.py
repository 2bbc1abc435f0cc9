"""Vision encoders that take images, or tiles of them, of one size, and synthetic images of that size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.vision import cases as vision_cases
from onnxpipe_export.graphs.wrapped import BATCH, WrappedExport, image_only
from onnxpipe_export.precision import makers

Size = tuple[int, int]
"""Height and width."""


def square_of(checkpoint: Checkpoint) -> Size:
    """Return the size of the images that the tower of a model takes, by its config."""
    side = checkpoint.config.vision_config.image_size
    side = int(side[0] if isinstance(side, (list, tuple)) else side)
    return side, side


def describe_encoder(
    checkpoint: Checkpoint,
    size: Size,
    features: Callable[[Any, Any], Any],
    outputs: tuple[str, ...] = (),
    *,
    eager: bool = True,
) -> WrappedExport:
    """Describe `vision_encoder`: pixel_values (images, 3, height, width) to image_features (images, tokens, width).

    Args:
        checkpoint: the model.
        size: of the images.
        features: from (model, pixel_values) to the features.
        outputs: names of further outputs, which `features` then gives in a tuple.
        eager: see `WrappedExport`.
    """
    model, names = checkpoint.model, ("image_features", *outputs)

    def forward(tensors: Mapping[str, Any]) -> dict[str, Any]:
        found = features(model, tensors["pixel_values"])
        return dict(zip(names, found if outputs else (found,), strict=True))

    return WrappedExport(
        checkpoint,
        "vision_encoder",
        ("pixel_values",),
        names,
        {name: {0: BATCH} for name in ("pixel_values", *names)},
        forward,
        lambda: {"pixel_values": vision_cases.synthetic_pixels(checkpoint, 2, *size)},
        lambda tokenizer: vision_cases.cases_per_size(checkpoint, [size]),
        makers.VISION_ENCODER,
        user_feeds=image_only,
        eager=eager,
    )


def model_features(model: Any, pixels: Any) -> Any:
    """Compute the features of images by the model's own method, (images, tokens, width)."""
    return model.get_image_features(pixel_values=pixels).pooler_output


def synthetic_feeds(checkpoint: Checkpoint, size: Size, number: int) -> dict[str, np.ndarray]:
    """Make pixel_values of the synthetic image with this number, (1, 3, height, width)."""
    return {"pixel_values": vision_cases.synthetic_pixels(checkpoint, 1, *size, seed=number)}
