"""Prompts with images that whole vision-language models are compared on: none, one and two, between texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxpipe_export.cases.text import SENTENCES, padded
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.graph import Feeds
from onnxpipe_export.graphs.vision_language.family import Family, original_images
from onnxpipe_export.graphs.vision_language.graph import family_of

_PROMPTS: Sequence[tuple[int, Sequence[int], int]] = ((4, (0,), 3), (2, (1, 2), 5), (7, (), 0), (0, (3,), 4))
"""Tokens before, numbers of the synthetic images, tokens after."""


def batches(checkpoint: Checkpoint, tokenizer: Any) -> list[Feeds]:
    """Make the model's inputs for each prompt alone, then for all together, padded as the runtime pads them.

    At the left, so that a decoder goes on with tokens; an encoder's positions begin with the text.
    """
    family = family_of(checkpoint)
    rows = [_row(checkpoint, family, tokenizer, number) for number in range(len(_PROMPTS))]
    return [*(_batch(checkpoint, family, [row]) for row in rows), _batch(checkpoint, family, rows)]


def _row(checkpoint: Checkpoint, family: Family, tokenizer: Any, number: int) -> tuple[list[int], list[Feeds]]:
    before, numbers, after = _PROMPTS[number]
    text = list(tokenizer(SENTENCES[number]).input_ids)
    images = [family.image(each) for each in numbers]
    counts = feature_counts(checkpoint.model, family, images)
    marks = [
        token
        for image, count in zip(images, counts, strict=True)
        for token in placeholders(checkpoint, family, image, count)
    ]
    return [*text[:before], *marks, *text[before : before + after]], images


def feature_counts(model: Any, family: Family, images: Sequence[Feeds]) -> list[int]:
    """Count the features of each image of a prompt, by the original; they may depend on the others."""
    if not images:
        return []
    together = original_images(model, family.join([images]))
    if len(together) == len(images):
        return [len(features) for features in together]
    return [sum(map(len, original_images(model, family.join([[image]])))) for image in images]


def placeholders(checkpoint: Checkpoint, family: Family, image: Feeds, count: int) -> list[int]:
    """Return the ids that stand for an image of so many features in a prompt."""
    if family.placeholders is not None:
        return family.placeholders(image, count)
    return [int(checkpoint.config.image_token_id)] * count


def _batch(
    checkpoint: Checkpoint, family: Family, rows: Sequence[tuple[list[int], Sequence[Feeds]]]
) -> dict[str, np.ndarray]:
    model = checkpoint.model
    pad = getattr(model.generation_config, "pad_token_id", None) or 0
    words = padded([ids for ids, _ in rows], pad, left=not model.config.is_encoder_decoder)
    images = family.join([images for _, images in rows])
    return {**words, **family.token_inputs(words["input_ids"]), **images}
