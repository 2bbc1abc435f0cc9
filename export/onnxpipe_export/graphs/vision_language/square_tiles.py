"""InternVL, Gemma 3, PaliGemma: images or tiles of one size, whose features the model computes without loops.

The decoders of the Gemma families take token_type_ids (batch, length), which say what sees what; see `text_models`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.causal_lm.graph import ExtraInput
from onnxpipe_export.graphs.vision import cases as vision_cases
from onnxpipe_export.graphs.vision_language import text_models
from onnxpipe_export.graphs.vision_language.family import Family
from onnxpipe_export.graphs.wrapped import BATCH, WrappedExport, image_only
from onnxpipe_export.precision import makers


def describe(checkpoint: Checkpoint) -> Family:
    """Describe the family of a checkpoint."""
    vision, image = _vision(checkpoint), lambda number: _image(checkpoint, number)
    token = int(checkpoint.config.image_token_id)
    if checkpoint.config.model_type == "gemma3":
        marks = [int(checkpoint.config.boi_token_index), int(checkpoint.config.eoi_token_index)]
        return Family(
            vision,
            image,
            placeholders=lambda image, count: [marks[0], *[token] * count, marks[1]],
            token_inputs=lambda ids: {"token_type_ids": (ids == token).astype(np.int64)},
            text=text_models.where_images_see_themselves,
            extras=(ExtraInput("token_type_ids", dtype="int64", value=0),),
        )
    if checkpoint.config.model_type == "paligemma":
        return Family(
            vision,
            image,
            token_inputs=lambda ids: {"token_type_ids": np.zeros_like(ids)},
            text=text_models.where_prompts_see_themselves,
            extras=(ExtraInput("token_type_ids", dtype="int64", value=1),),
        )
    return Family(vision, image)


def _side(checkpoint: Checkpoint) -> int:
    side = checkpoint.config.vision_config.image_size
    return int(side[0] if isinstance(side, (list, tuple)) else side)


def _image(checkpoint: Checkpoint, number: int) -> dict[str, np.ndarray]:
    side = _side(checkpoint)
    return {"pixel_values": vision_cases.synthetic_pixels(checkpoint, 1, side, side, seed=number)}


def _vision(checkpoint: Checkpoint) -> WrappedExport:
    """Describe `vision_encoder`: pixel_values (tiles, 3, side, side) to image_features (tiles, tokens, width)."""
    model, side = checkpoint.model, _side(checkpoint)

    def forward(tensors: Mapping[str, Any]) -> dict[str, Any]:
        return {"image_features": model.get_image_features(pixel_values=tensors["pixel_values"]).pooler_output}

    return WrappedExport(
        checkpoint,
        "vision_encoder",
        ("pixel_values",),
        ("image_features",),
        {"pixel_values": {0: BATCH}, "image_features": {0: BATCH}},
        forward,
        lambda: {"pixel_values": vision_cases.synthetic_pixels(checkpoint, 2, side, side)},
        lambda tokenizer: vision_cases.cases_per_size(checkpoint, [(side, side)]),
        makers.VISION_ENCODER,
        user_feeds=image_only,
        eager=False,  # a decoder beside the tower may refuse to go back (Gemma 2)
    )
