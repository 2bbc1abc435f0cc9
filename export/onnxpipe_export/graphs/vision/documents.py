"""Export models that find an answer on a page, or label its words: LayoutLM, LiLT and LayoutLMv3. One graph.

Inputs: input_ids, attention_mask int64 (batch, length), bbox int64 (batch, length, 4) in 0-1000, token_type_ids where
there is more than one type. Outputs for questions: start_logits and end_logits float32 (batch, length); for labels:
logits float32 (batch, length, labels).

For questions LayoutLMv3 takes pixel_values float32 (batch, 3, side, side) too, and the answers of its patches stand
behind those of the tokens. For labels it sees the words alone, as in transformers' pipeline.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxpipe.errors import ExportError
from onnxpipe_export.cases import documents as pages
from onnxpipe_export.cases.text import TokenRow
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.encoder import max_length
from onnxpipe_export.graphs.graph import Case
from onnxpipe_export.graphs.vision import cases as vision_cases
from onnxpipe_export.graphs.wrapped import BATCH, WrappedExport
from onnxpipe_export.precision import makers

_LENGTH, _ANSWER = "sequence_length", "answer_length"
_POINTS, _LABELS = ("start_logits", "end_logits"), ("logits",)
_TYPES = frozenset({"layoutlm", "layoutlmv3", "lilt"})
_PAGES = 8


def describe(checkpoint: Checkpoint) -> list[WrappedExport]:
    """Describe the one graph `model`.

    Raises:
        ExportError: a type that cannot be exported.
    """
    kind = checkpoint.config.model_type
    if kind not in _TYPES:
        reason = " (it needs detectron2 to run in PyTorch)" if kind == "layoutlmv2" else ""
        raise ExportError(
            f"models of the type '{kind}' cannot be exported for {checkpoint.task.name}{reason}; those that can are "
            f"{', '.join(sorted(_TYPES))}"
        )
    labels = checkpoint.task.name == "object-detection"
    model, inputs, outputs = checkpoint.model, _inputs(checkpoint, labels), _LABELS if labels else _POINTS
    longest = max_length(model)
    axes: dict[str, dict[int, str]] = {name: {0: BATCH, 1: _LENGTH} for name in inputs if name != "pixel_values"}
    # patches make the answer longer than the text
    axes |= {name: {0: BATCH, 1: _ANSWER if "pixel_values" in inputs else _LENGTH} for name in outputs}
    if "pixel_values" in inputs:
        axes["pixel_values"] = {0: BATCH}

    def forward(tensors: Mapping[str, Any]) -> dict[str, Any]:
        answer = model(**tensors)
        return {name: answer[name] for name in outputs}

    def feeds(rows: Sequence[TokenRow], extra: int = 0, seed: int = 0) -> dict[str, np.ndarray]:
        found = pages.batch(rows, _padding_id(checkpoint), extra)
        if "pixel_values" in inputs:
            found["pixel_values"] = _pixels(checkpoint, len(rows), seed)
        return {name: found[name] for name in inputs}

    def cases(tokenizer: Any) -> list[Case]:
        rows = pages.page_rows(tokenizer, _PAGES, longest, asked=not labels)
        alone = [Case(feeds([row], seed=n), golden=n == 1, calibrates=True) for n, row in enumerate(rows)]
        room = min(3, longest - max(map(len, rows)))
        return [*alone, Case(feeds(rows[:3])), Case(feeds(rows[4:7], extra=room)), Case(feeds(rows[1::2]))]

    return [
        WrappedExport(
            checkpoint,
            "model",
            inputs,
            outputs,
            axes,
            forward,
            lambda: feeds(pages.page_rows(checkpoint.tokenizer, 3, min(longest, 23), asked=not labels), seed=30),
            cases,
            makers.ENCODER,
            decisions=frozenset(outputs),
            max_length=longest,
        )
    ]


def _inputs(checkpoint: Checkpoint, labels: bool) -> tuple[str, ...]:
    """Name the inputs: token types where there is more than one and the tokenizer gives them, pixels of LayoutLMv3 that
    answers questions."""
    accepted = inspect.signature(checkpoint.model.forward).parameters
    types = int(getattr(checkpoint.config, "type_vocab_size", 0) or 0)
    names = ["input_ids", "bbox", "attention_mask"]
    if types > 1 and "token_type_ids" in checkpoint.tokenizer.model_input_names:
        names.append("token_type_ids")
    if not labels and "pixel_values" in accepted and getattr(checkpoint.config, "visual_embed", True):
        names.append("pixel_values")
    return tuple(names)


def _pixels(checkpoint: Checkpoint, count: int, seed: int) -> np.ndarray:
    side = int(checkpoint.config.input_size)
    return vision_cases.synthetic_pixels(checkpoint, count, side, side, seed)


def _padding_id(checkpoint: Checkpoint) -> int:
    pad = getattr(checkpoint.config, "pad_token_id", None)
    return pad if isinstance(pad, int) and pad >= 0 else 0
