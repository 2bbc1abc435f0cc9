"""OWL-ViT and OWLv2: one graph from a picture and the words to look for, to boxes and a score a word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.graph import Case
from onnxpipe_export.graphs.vision import cases as questions
from onnxpipe_export.graphs.wrapped import WrappedGraph
from onnxpipe_export.precision import makers

_INPUTS = ("input_ids", "pixel_values", "attention_mask")
_TEXT = ("input_ids", "attention_mask")
_OUTPUTS = ("logits", "pred_boxes")
_WORDS, _LENGTH, _IMAGES = "text_batch_size", "sequence_length", "image_batch_size"


def describe(checkpoint: Checkpoint) -> list[WrappedGraph]:
    """The graph `model`: input_ids and attention_mask (pictures * words, length), pixel_values (pictures, 3, h, w).

    Every picture has as many words; logits are (pictures, places, words), pred_boxes (pictures, places, 4).
    """
    model, config = checkpoint.model, checkpoint.config
    side, longest = int(config.vision_config.image_size), int(config.text_config.max_position_embeddings)

    def forward(given: Mapping[str, Any]) -> dict[str, Any]:
        answer = model(**given)
        return {name: answer[name] for name in _OUTPUTS}

    def example() -> dict[str, np.ndarray]:
        words = questions.token_example(config.text_config, _TEXT, longest)
        words = {name: np.concatenate([array, array]) for name, array in words.items()}
        return words | {"pixel_values": questions.pictures(checkpoint, 2, side, side)}

    return [
        WrappedGraph(
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
            shown=lambda prepared, tokenizer: {
                **questions.tokens(tokenizer, questions.LABELS[:3], _TEXT, longest, padded=True),
                "pixel_values": prepared["pixel_values"],
            },
        )
    ]


def _cases(checkpoint: Checkpoint, tokenizer: Any, side: int, longest: int) -> list[Case]:
    """One to six words, cut to the full length as the processor does and to less; one picture, and two."""
    cases = []
    for number, words in enumerate((1, 2, 5, 3, 4, 6)):
        chosen = (questions.LABELS * 2)[number : number + words]
        for padded in (True, False):
            texts = questions.tokens(tokenizer, chosen, _TEXT, longest, padded=padded)
            picture = questions.pictures(checkpoint, 1, side, side, seed=number)
            golden = number == 1 and padded
            cases.append(Case(texts | {"pixel_values": picture}, golden=golden, calibrates=padded))
    texts = questions.tokens(tokenizer, questions.LABELS[:4], _TEXT, longest, padded=True)
    two = texts | {"pixel_values": questions.pictures(checkpoint, 2, side, side, seed=7)}
    return [*cases, Case(two)]
