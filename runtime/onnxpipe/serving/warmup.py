"""Warm a pipeline up: its first runs are slow, and must not be a client's."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np

from onnxpipe.tasks.base.generation import GenerationPipeline
from onnxpipe.tasks.registry import task_spec

logger = logging.getLogger("onnxpipe.serving")

_TEXTS = ("Hi", "The quick brown fox jumps over the lazy dog, and the dog does not mind it at all.")


def warm_up(pipe: Any) -> None:
    """Answer a small input and one of usual size. One that the model does not take is left out."""
    for value, options in _inputs(pipe):
        try:
            pipe(value, **options)
        except Exception as error:  # the model takes other inputs than a made-up one
            logger.info("%s was not warmed up with %.50r: %s", pipe.task, value, error)


def _inputs(pipe: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    spec = task_spec(pipe.task)
    options: dict[str, Any] = {}
    if isinstance(pipe, GenerationPipeline) and pipe.model.can_generate():
        options = {"max_new_tokens": 2}
    if spec.needs_labels:
        options["candidate_labels"] = ["one", "two"]
    for number, text in enumerate(_TEXTS):
        parts: dict[str, Any] = {}
        for part in spec.parts:
            media = part.name in ("image", "images", "audio", "video")
            parts[part.name] = _media(spec.input, number) if media else [text, text] if part.is_list else text
        if parts:
            yield (list(parts.values()) if spec.parts_as_list else parts), options
        elif spec.input in ("image", "audio"):
            yield _media(spec.input, number), options
        elif spec.input == "text":
            yield text, options


def _media(kind: Any, number: int) -> Any:
    if kind == "audio":
        return {"raw": np.zeros(16_000, np.float32), "sampling_rate": 16_000}
    return np.full((64, 64, 3) if not number else (480, 640, 3), 127, np.uint8)
