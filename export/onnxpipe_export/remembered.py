"""Remember what the original answered, so that one export asks it once for the same input.

A certificate compares each precision with the same answers, and generation runs the same images and recordings through
an encoder in each search. The original's own rounding is measured by asking it again (`exact`): not from memory.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

import numpy as np
import torch
from transformers.utils import ModelOutput

from onnxpipe_export import tracing

_Answer = TypeVar("_Answer")

_MOST = 1_000_000_000
"""Bytes of answers that one memory keeps."""
_PARTS = ("get_image_features", "get_video_features")

_asking_again: ContextVar[bool] = ContextVar("asking_again", default=False)


class Memory:
    """Answers by their question, until they take too many bytes together."""

    def __init__(self) -> None:
        self._answers: dict[Hashable, Any] = {}
        self._bytes = 0

    def answer(self, question: Any, ask: Callable[[], _Answer]) -> _Answer:
        """Return the answer to a question, which is asked the first time and inside of `asking_again`.

        Args:
            question: arrays, tensors, numbers and texts, and containers of them; anything else is always asked.
            ask: gives the answer: arrays, tensors, and containers of them.
        """
        key = None if _asking_again.get() else _key(question)
        if key is None:
            return ask()
        if key in self._answers:
            known: _Answer = self._answers[key]
            return known
        answer = ask()
        self._bytes += _size(answer)
        if self._bytes <= _MOST:
            self._answers[key] = answer
        return answer


@contextlib.contextmanager
def asking_again() -> Iterator[None]:
    """Use no memory inside."""
    token = _asking_again.set(True)
    try:
        yield
    finally:
        _asking_again.reset(token)


@contextlib.contextmanager
def encoders_of(model: Any) -> Iterator[None]:
    """Remember inside what the encoders of a model that generates answer: of text, recordings, images and videos."""
    with contextlib.ExitStack() as stack:
        base = getattr(model, getattr(model, "base_model_prefix", "") or "model", None)
        for name in _PARTS:
            if base is not None and hasattr(base, name):
                stack.enter_context(tracing.replaced(base, name, _remembering(getattr(base, name))))
        encoder = model.get_encoder() if model.config.is_encoder_decoder else None
        if encoder is not None and encoder is not model:
            stack.enter_context(tracing.replaced(encoder, "forward", _remembering(encoder.forward)))
        yield


def _remembering(part: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function of tensors remember its answers."""
    memory = Memory()

    @functools.wraps(part)
    def remembering(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_inference_mode_enabled() or torch.jit.is_tracing():
            return part(*args, **kwargs)
        answer = memory.answer((args, kwargs), lambda: part(*args, **kwargs))
        return type(answer)(**answer) if isinstance(answer, ModelOutput) else answer  # callers change its fields

    return remembering


def _key(value: Any) -> Hashable | None:
    """Return what tells one question from another; None where that cannot be said."""
    if isinstance(value, torch.Tensor):
        return _key(value.detach().numpy())
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, hashlib.sha256(np.ascontiguousarray(value).data).digest()
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return type(value).__name__, value
    if isinstance(value, (tuple, list)):
        parts = tuple(_key(each) for each in value)
        return None if None in parts else parts
    return _key(sorted(value.items())) if isinstance(value, Mapping) else None


def _size(value: Any) -> int:
    """Count the bytes of the arrays and tensors in an answer."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return int(value.nbytes)
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, (tuple, list)) else ()
    return sum(map(_size, parts))
