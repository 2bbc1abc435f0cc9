"""Stopping criteria: length, time, end tokens, confidence, or a user's own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from onnxpipe.generation.logs import warn_once
from onnxpipe.generation.numerics import softmax
from onnxpipe.generation.protocols import Array

Scores = tuple[Array, ...] | None


class StoppingCriteria:
    """Base of stopping criteria: call it with int64 (rows, length) and get bool (rows,), True where a row stops."""

    def __call__(self, input_ids: Array, scores: Scores, **kwargs: Any) -> Array:
        """Decide which rows stop.

        Args:
            input_ids: int64 (rows, length): everything so far, the last token included.
            scores: the steps' scores with `output_scores`; else None.
            **kwargs: none are passed; the parameter keeps classes written for transformers working.
        """
        raise NotImplementedError("StoppingCriteria needs to be subclassed")


class MaxLengthCriteria(StoppingCriteria):
    """Stops at `max_length` tokens, the prompt's included."""

    def __init__(self, max_length: int, max_position_embeddings: int | None = None) -> None:
        self.max_length = max_length
        self.max_position_embeddings = max_position_embeddings

    def __call__(self, input_ids: Array, scores: Scores, **kwargs: Any) -> Array:
        """Decide for all rows together."""
        length = input_ids.shape[1]
        done = length >= self.max_length
        limit = self.max_position_embeddings
        if limit is not None and not done and length > limit:
            warn_once(
                "This is a friendly reminder - the current text generation call has exceeded the model's predefined "
                f"maximum length ({limit}). Depending on the model, you may observe exceptions, performance "
                "degradation, or nothing at all."
            )
        return np.full(input_ids.shape[0], done)


class MaxTimeCriteria(StoppingCriteria):
    """Stops after `max_time` seconds, checked after each token."""

    def __init__(self, max_time: float, initial_timestamp: float | None = None) -> None:
        self.max_time = max_time
        # Measured by a clock that nobody sets; a start that was passed is one of `time.time()`, as in transformers.
        since = 0.0 if initial_timestamp is None else time.time() - initial_timestamp
        self._started = time.monotonic() - since

    def __call__(self, input_ids: Array, scores: Scores, **kwargs: Any) -> Array:
        """Decide for all rows together."""
        return np.full(input_ids.shape[0], time.monotonic() - self._started > self.max_time)


class EosTokenCriteria(StoppingCriteria):
    """Stops after any of the end tokens."""

    def __init__(self, eos_token_id: int | Iterable[int]) -> None:
        self.eos_token_id = np.atleast_1d(np.asarray(eos_token_id, np.int64))

    def __call__(self, input_ids: Array, scores: Scores, **kwargs: Any) -> Array:
        """Stop rows whose last token is an end token."""
        if not input_ids.shape[1]:
            return np.zeros(input_ids.shape[0], bool)
        last = input_ids[:, -1:]
        done: Array = (last == self.eos_token_id).any(-1)
        return done


class ConfidenceCriteria(StoppingCriteria):
    """Stops after a token of less probability than the threshold: an assistant stops guessing there."""

    def __init__(self, assistant_confidence_threshold: float) -> None:
        self.assistant_confidence_threshold = assistant_confidence_threshold

    def __call__(self, input_ids: Array, scores: Scores, **kwargs: Any) -> Array:
        """Decide by the first row; assistants have one."""
        if not scores:
            raise ValueError("ConfidenceCriteria needs scores: pass return_dict_in_generate=True, output_scores=True")
        probability = softmax(scores[-1][0])[input_ids[0, -1]]
        return np.full(input_ids.shape[0], bool(probability < self.assistant_confidence_threshold))


class StoppingCriteriaList(list[Callable[..., Any]]):
    """Several criteria; a row stops when any of them stops it."""

    def __call__(self, input_ids: Array, scores: Scores, **kwargs: Any) -> Array:
        """Decide which rows stop, bool (rows,). A criterion may also return one bool for all rows."""
        done = np.zeros(input_ids.shape[0], bool)
        for criterion in self:
            # np.asarray: criteria written for transformers may return a torch tensor or a list.
            done = done | np.asarray(criterion(input_ids, scores, **kwargs)).astype(bool, copy=False).reshape(-1)
        return done

    @property
    def max_length(self) -> int | None:
        """The length at which rows stop, if one is set."""
        return next((one.max_length for one in self if isinstance(one, MaxLengthCriteria)), None)
