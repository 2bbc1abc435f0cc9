"""Prompts that whole vision-language models are compared on: with no image, one, two, and videos, between texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe_export.cases.text import SENTENCES, padded
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.graph import Feeds
from onnxpipe_export.graphs.vision_language.family import Family, join_images, original_images
from onnxpipe_export.graphs.vision_language.graph import family_of

_PROMPTS: Sequence[tuple[int, Sequence[int], int]] = ((4, (0,), 3), (2, (1, 2), 5), (7, (), 0), (0, (3,), 4))
"""Tokens before, numbers of the synthetic images, tokens after."""
_WITH_VIDEOS = (3, (0, 1), (1,), 4)
"""Tokens before, numbers of the synthetic videos and images, tokens after."""


@dataclass(frozen=True)
class _Row:
    """A prompt: its ids, and the inputs for its images and videos."""

    ids: Sequence[int]
    images: Sequence[Feeds]
    videos: Sequence[Feeds] = ()


def batches(checkpoint: Checkpoint, tokenizer: Any) -> list[Feeds]:
    """Make the model's inputs for each prompt alone, then for all together, padded as the runtime pads them.

    At the left, so that a decoder goes on with tokens; an encoder's positions begin with the text.
    """
    family = family_of(checkpoint)
    texts = [list(tokenizer(sentence).input_ids) for sentence in SENTENCES]
    rows = []
    for text, (before, numbers, after) in zip(texts, _PROMPTS):
        images = [family.image(number) for number in numbers]
        ids = [*text[:before], *_image_ids(checkpoint, family, images), *text[before : before + after]]
        rows.append(_Row(ids, images))
    if family.videos is not None:
        before, named, numbers, after = _WITH_VIDEOS
        videos, images = [family.videos.make(number) for number in named], [family.image(each) for each in numbers]
        marks = [token for video in videos for token in family.videos.placeholders(video)]
        marks += _image_ids(checkpoint, family, images)
        text = texts[len(_PROMPTS) + 1]  # the sentence before it is one word
        rows.append(_Row([*text[:before], *marks, *text[before : before + after]], images, videos))
    return [*(_batch(checkpoint, family, [row]) for row in rows), _batch(checkpoint, family, rows)]


def _image_ids(checkpoint: Checkpoint, family: Family, images: Sequence[Feeds]) -> list[int]:
    """Return the ids that stand for the images of a prompt."""
    counts = feature_counts(checkpoint.model, family, images)
    each = [placeholders(checkpoint, family, image, count) for image, count in zip(images, counts, strict=True)]
    return [token for tokens in each for token in tokens]


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


def _batch(checkpoint: Checkpoint, family: Family, rows: Sequence[_Row]) -> dict[str, np.ndarray]:
    model = checkpoint.model
    pad = getattr(model.generation_config, "pad_token_id", None) or 0
    words = padded([row.ids for row in rows], pad, left=not model.config.is_encoder_decoder)
    images, videos = family.join([row.images for row in rows]), join_images([row.videos for row in rows])
    return {**words, **family.token_inputs(words["input_ids"]), **images, **videos}
