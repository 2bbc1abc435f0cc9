"""Export Grounding DINO: one graph from an image and a text of candidate labels, to boxes and a score a token."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from onnxpipe_export import tracing
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.graph import Case
from onnxpipe_export.graphs.shapes import sizes_as_tensors
from onnxpipe_export.graphs.vision import cases as vision_cases
from onnxpipe_export.graphs.vision.patches import traceable
from onnxpipe_export.graphs.vision.windows import forgetful
from onnxpipe_export.graphs.wrapped import BATCH, WrappedExport
from onnxpipe_export.precision import makers

_WORDS = ("input_ids", "token_type_ids", "attention_mask")
_INPUTS = ("pixel_values", *_WORDS, "pixel_mask")
_OUTPUTS = ("logits", "pred_boxes")
_SIDES = {2: "height", 3: "width"}

_LABELS = ("a cat. a remote control.", "dog.", "person. a red car. the river. two people near a tree. bird.")


def describe(checkpoint: Checkpoint) -> list[WrappedExport]:
    """Describe the graph `model`: logits (batch, queries, longest text), pred_boxes (batch, queries, 4)."""
    model = checkpoint.model
    longest = min(int(checkpoint.config.max_text_len), int(checkpoint.config.text_config.max_position_embeddings))

    def forward(tensors: Mapping[str, Any]) -> dict[str, Any]:
        with forgetful(model):
            answer = model(**tensors)
        return {name: answer[name] for name in _OUTPUTS}

    return [
        WrappedExport(
            checkpoint,
            "model",
            _INPUTS,
            _OUTPUTS,
            {
                "pixel_values": {0: BATCH, **_SIDES},
                **{name: {0: BATCH, 1: "sequence_length"} for name in _WORDS},
                "pixel_mask": {0: BATCH, 1: "height", 2: "width"},
                "logits": {0: BATCH, 1: "num_queries"},
                "pred_boxes": {0: BATCH, 1: "num_queries"},
            },
            forward,
            lambda: _example(checkpoint),
            lambda tokenizer: _cases(checkpoint, tokenizer, longest),
            makers.VISION,
            decisions=frozenset({"logits"}),
            max_length=longest,
            replacements=lambda: _replaced(model),
            eager=False,
            user_feeds=lambda prepared, tokenizer: {
                **prepared,
                **vision_cases.tokens(tokenizer, _LABELS[:1], _WORDS, longest),
            },
        )
    ]


@contextlib.contextmanager
def _replaced(model: Any) -> Iterator[None]:
    """Replace functions that loop over tokens, or use operators that ONNX does not have (isin, cummax)."""
    file = sys.modules[type(model).__module__]
    words = model.model.text_backbone.config
    attention = words._attn_implementation_internal
    with contextlib.ExitStack() as stack:
        stack.enter_context(traceable(model))
        # The mask of phrases is boolean, which eager attention would add to the scores as 0 and 1.
        stack.enter_context(tracing.replaced(words, "_attn_implementation_internal", attention))
        stack.enter_context(sizes_as_tensors())
        stack.enter_context(tracing.replaced(file, "generate_masks_with_special_tokens_and_transfer_map", phrase_masks))
        for module in model.modules():
            if type(module).__name__.endswith("ContrastiveEmbedding"):
                stack.enter_context(tracing.replaced(module, "forward", _ContrastiveEmbedding(module)))
        yield


def phrase_masks(input_ids: Any, special_tokens: Any) -> tuple[Any, Any]:
    """Find which tokens are of one phrase, and their positions in it.

    A phrase is what lies between two delimiters, with its closing one; the first and the last token of a row, and what
    follows the last delimiter, are phrases of one token.

    Args:
        input_ids: int64 (batch, length).
        special_tokens: ids of the delimiters, int64 (n,).

    Returns:
        bool (batch, length, length), and int64 (batch, length).
    """
    import torch

    length = torch.as_tensor(input_ids.shape[1])
    place = torch.arange(length)
    delimiter = (input_ids[..., None] == special_tokens).any(-1)
    later = place[:, None] <= place
    # (batch, token, candidate)
    following = torch.where(delimiter[:, None] & later, place, length).amin(2)
    before = torch.where(delimiter[:, None] & (place < place[:, None]), place, -1).amax(2)
    whole = (following != 0) & (following != length - 1) & (following != length)
    together = (following[:, :, None] == following[:, None]) & whole[:, None]
    own = (place[:, None] == place)[None]
    return own | together, torch.where(whole, place - before - 1, 0)


class _ContrastiveEmbedding:
    """Scores of queries and tokens, -inf up to the longest text: by padding, where the original fills a tensor."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __call__(self, vision_hidden_state: Any, text_hidden_state: Any, text_token_mask: Any) -> Any:
        import torch

        scores = vision_hidden_state @ text_hidden_state.transpose(1, 2)
        if getattr(self._module, "bias", None) is not None:  # mm-grounding-dino
            scores = scores / vision_hidden_state.shape[-1] ** 0.5 + self._module.bias
        scores = scores.masked_fill(~text_token_mask[:, None], float("-inf"))
        missing = self._module.max_text_len - scores.shape[-1]
        return torch.nn.functional.pad(scores, (0, missing), value=float("-inf"))


def _sizes(checkpoint: Checkpoint) -> list[tuple[int, int]]:
    size = checkpoint.preprocessor.get("size", {})
    short = int(size.get("shortest_edge", size.get("height", 800)))
    return vision_cases.sizes(short, max(short * 4 // 3, 1), multiple=1)


def _feeds(
    checkpoint: Checkpoint, words: Mapping[str, np.ndarray], size: tuple[int, int], seed: int
) -> dict[str, np.ndarray]:
    """Add images to the rows of `words`; those after the first are smaller than the batch, as the mask says."""
    count = len(words["input_ids"])
    values = vision_cases.synthetic_pixels(checkpoint, count, *size, seed=seed)
    mask = np.ones((count, *size), np.int64)
    for row in range(1, count):
        down, right = size[0] * (8 - row % 3) // 8, size[1] * (7 - row % 2) // 8
        mask[row, down:] = 0
        mask[row, :, right:] = 0
    return {**words, "pixel_values": values * mask[:, None].astype(np.float32), "pixel_mask": mask}


def _example(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    words = vision_cases.token_example(checkpoint.config.text_config, _WORDS, 11)
    words["input_ids"][:, 4] = words["input_ids"][:, 7] = 1012  # a delimiter of phrases
    return _feeds(checkpoint, words, _sizes(checkpoint)[1], 3)


def _cases(checkpoint: Checkpoint, tokenizer: Any, longest: int) -> list[Case]:
    """Make cases of few labels and many, at the usual size and others; batches with padded texts and images."""
    shapes = _sizes(checkpoint)

    def feeds(texts: tuple[str, ...], size: tuple[int, int], seed: int) -> dict[str, np.ndarray]:
        return _feeds(checkpoint, vision_cases.tokens(tokenizer, texts, _WORDS, longest), size, seed)

    cases = [
        Case(feeds((text,), shapes[number % 2 * 3], number), golden=number == 1, calibrates=True)
        for number, text in enumerate(_LABELS)
    ]
    cases += [Case(feeds((_LABELS[0],), size, 5), calibrates=True) for size in shapes[1:3]]
    return [*cases, Case(feeds(_LABELS, shapes[0], 7)), Case(feeds(_LABELS[:2], shapes[2], 8))]
