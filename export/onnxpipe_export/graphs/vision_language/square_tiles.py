"""InternVL, Gemma 3, PaliGemma: images or tiles of one size, whose features the model computes without loops.

The decoders of the Gemma families take token_type_ids (batch, length), which say what sees what; see `text_models`.
"""

from __future__ import annotations

import numpy as np

from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.causal_lm.graph import ExtraInput
from onnxpipe_export.graphs.vision_language import text_models
from onnxpipe_export.graphs.vision_language.family import Family
from onnxpipe_export.graphs.vision_language.one_size import (
    describe_encoder,
    model_features,
    square_of,
    synthetic_feeds,
)


def describe(checkpoint: Checkpoint) -> Family:
    """Describe the family of a checkpoint."""
    size = square_of(checkpoint)
    # A decoder beside the tower may refuse to go back from plain attention (Gemma 2).
    vision = describe_encoder(checkpoint, size, model_features, eager=False)

    def image(number: int) -> dict[str, np.ndarray]:
        return synthetic_feeds(checkpoint, size, number)

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
