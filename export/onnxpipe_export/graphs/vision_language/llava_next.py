"""LLaVA-NeXT and LLaVA-OneVision: `vision_encoder` takes tiles, and gives the end of a row of features as well.

How the tiles of an image are laid out and where rows end depends on its size; the runtime does that.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.graph import Feeds
from onnxpipe_export.graphs.vision import cases as vision_cases
from onnxpipe_export.graphs.vision_language.family import Family, Videos
from onnxpipe_export.graphs.vision_language.llava import project
from onnxpipe_export.graphs.vision_language.one_size import describe_encoder, square_of

_SHAPES = ((1.0, 1.8), (2.3, 0.9), (0.7, 0.8), (1.4, 2.9))
"""Sizes of the synthetic images, as multiples of a tile's side: height, width."""


def describe(checkpoint: Checkpoint) -> Family:
    """Describe the family of a LLaVA-NeXT or LLaVA-OneVision checkpoint."""

    def features(model: Any, pixels: Any) -> tuple[Any, Any]:
        return project(model, pixels), model.model.image_newline.expand(pixels.shape[0], -1)

    grouped = checkpoint.config.model_type == "llava_onevision"
    videos = Videos(lambda number: _video(checkpoint, number), lambda video: _video_placeholders(checkpoint, video))
    return Family(
        describe_encoder(checkpoint, square_of(checkpoint), features, ("image_newline",)),
        lambda number: _image(checkpoint, number),
        lambda rows: _join(rows, grouped=grouped),
        videos=videos if grouped else None,
    )


def _image(checkpoint: Checkpoint, number: int) -> dict[str, np.ndarray]:
    """Make pixel_values (1, tiles, 3, side, side) and image_sizes (1, 2) of an image of one of several shapes."""
    config, (side, _) = checkpoint.config, square_of(checkpoint)
    height, width = (round(factor * side) for factor in _SHAPES[number % len(_SHAPES)])
    home = sys.modules[type(checkpoint.model).__module__]
    count = home.image_size_to_num_patches([height, width], config.image_grid_pinpoints, side)
    pixels = vision_cases.synthetic_pixels(checkpoint, count, side, side, seed=20 * number)
    return {"pixel_values": pixels[None], "image_sizes": np.array([[height, width]])}


def _video(checkpoint: Checkpoint, number: int) -> dict[str, np.ndarray]:
    """Make pixel_values_videos (1, 2, 3, side, side): a video of two frames."""
    side, _ = square_of(checkpoint)
    pixels = vision_cases.synthetic_pixels(checkpoint, 2, side, side, seed=20 * number + 7)
    return {"pixel_values_videos": pixels[None]}


def _video_placeholders(checkpoint: Checkpoint, video: Feeds) -> list[int]:
    """Return the ids of a video: a quarter of a tile's for each frame, and one for the end."""
    tower = checkpoint.config.vision_config
    across = -(-(int(tower.image_size) // int(tower.patch_size)) // 2)
    return [int(checkpoint.config.video_token_id)] * (video["pixel_values_videos"].shape[1] * across**2 + 1)


def _join(rows: Sequence[Sequence[Feeds]], *, grouped: bool) -> dict[str, np.ndarray]:
    """Join images, with tiles of zeros behind those that have fewer; if `grouped`, count each row's images too."""
    images = [image for row in rows for image in row]
    if not images:
        return {}
    most = max(image["pixel_values"].shape[1] for image in images)
    pads = [(0, most - image["pixel_values"].shape[1]) for image in images]
    padded = [np.pad(image["pixel_values"], ((0, 0), pad, (0, 0), (0, 0), (0, 0))) for image, pad in zip(images, pads)]
    joined = {
        "pixel_values": np.concatenate(padded),
        "image_sizes": np.concatenate([image["image_sizes"] for image in images]),
    }
    return joined | ({"batch_num_images": np.array([len(row) for row in rows if row])} if grouped else {})
