"""Export OWL-ViT and OWLv2: one graph from an image and candidate labels, to boxes and a score a label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.graph import Case
from onnxpipe_export.graphs.vision import cases as vision_cases
from onnxpipe_export.graphs.wrapped import WrappedExport
from onnxpipe_export.precision import makers

_INPUTS = ("input_ids", "pixel_values", "attention_mask")
_TEXT = ("input_ids", "attention_mask")
_OUTPUTS = ("logits", "pred_boxes")
_WORDS, _LENGTH, _IMAGES = "text_batch_size", "sequence_length", "image_batch_size"


def describe(checkpoint: Checkpoint) -> list[WrappedExport]:
    """Describe the graph `model`: input_ids, attention_mask (images * labels, length), pixel_values (images, 3, h, w).

    Every image has as many labels; logits are (images, places, labels), pred_boxes (images, places, 4).
    """
    model, config = checkpoint.model, checkpoint.config
    side, longest = int(config.vision_config.image_size), int(config.text_config.max_position_embeddings)

    def forward(tensors: Mapping[str, Any]) -> dict[str, Any]:
        answer = model(**tensors)
        return {name: answer[name] for name in _OUTPUTS}

    def example() -> dict[str, np.ndarray]:
        words = vision_cases.token_example(config.text_config, _TEXT, longest)
        words = {name: np.concatenate([array, array]) for name, array in words.items()}
        return words | {"pixel_values": vision_cases.synthetic_pixels(checkpoint, 2, side, side)}

    return [
        WrappedExport(
            checkpoint,
            "model",
            _INPUTS,
            _OUTPUTS,
            {
                "input_ids": {0: _WORDS, 1: _LENGTH},
                "pixel_values": {0: _IMAGES},
                "attention_mask": {0: _WORDS, 1: _LENGTH},
                "logits": {0: _IMAGES, 2: "num_queries"},
                "pred_boxes": {0: _IMAGES},
            },
            forward,
            example,
            lambda tokenizer: _cases(checkpoint, tokenizer, side, longest),
            makers.VISION,
            decisions=frozenset({"logits"}),
            max_length=longest,
            user_feeds=lambda prepared, tokenizer: {
                **vision_cases.tokens(tokenizer, vision_cases.LABELS[:3], _TEXT, longest, padded=True),
                "pixel_values": prepared["pixel_values"],
            },
        )
    ]


def _cases(checkpoint: Checkpoint, tokenizer: Any, side: int, longest: int) -> list[Case]:
    """Make cases of one to six labels, padded to the full length as the processor does and less; one image, and two."""
    cases = []
    for number, words in enumerate((1, 2, 5, 3, 4, 6)):
        labels = (vision_cases.LABELS * 2)[number : number + words]
        for padded in (True, False):
            texts = vision_cases.tokens(tokenizer, labels, _TEXT, longest, padded=padded)
            pixels = vision_cases.synthetic_pixels(checkpoint, 1, side, side, seed=number)
            golden = number == 1 and padded
            cases.append(Case(texts | {"pixel_values": pixels}, golden=golden, calibrates=padded))
    texts = vision_cases.tokens(tokenizer, vision_cases.LABELS[:4], _TEXT, longest, padded=True)
    two = texts | {"pixel_values": vision_cases.synthetic_pixels(checkpoint, 2, side, side, seed=7)}
    return [*cases, Case(two)]
