"""Processors of scores that requests ask for: penalties of tokens that came already, and log-probabilities."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class CountPenalty:
    """Lowers the scores of tokens that were generated already, as OpenAI's API defines it.

    Args:
        frequency: for each time that a token came.
        presence: once for a token that came at all.
    """

    def __init__(self, frequency: float, presence: float) -> None:
        self._frequency, self._presence = frequency, presence
        self._prompt: int | None = None

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """Process the scores of one step: float32 (rows, vocab)."""
        if self._prompt is None:
            self._prompt = input_ids.shape[1]
        lowered = scores.copy()
        for row, ids in enumerate(input_ids[:, self._prompt :]):
            tokens, counts = np.unique(ids, return_counts=True)
            lowered[row, tokens] -= self._frequency * counts + self._presence
        return lowered


@dataclass(frozen=True)
class TokenScore:
    """The log-probability of a generated token, and those of the likeliest tokens in its place."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass
class LogprobRecorder:
    """Notes the log-probabilities of each step, before temperature.

    Attributes:
        most: how many tokens of each step.
        steps: for each step, the log-probabilities of all tokens until the chosen one is known, then what is asked for.
    """

    most: int
    steps: list[list[TokenScore]] = field(default_factory=list)  # for each row
    _pending: Array | None = None

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """Take the scores of one step; they stay as they are."""
        if self._pending is None:
            self.steps = [[] for _ in input_ids]
        else:
            self._settle(input_ids[:, -1])
        shifted = scores.astype(np.float64) - scores.max(-1, keepdims=True)
        self._pending = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
        return scores

    def _settle(self, chosen: Any) -> None:
        assert self._pending is not None
        for row, token in enumerate(chosen):
            values = self._pending[row]
            best = np.argsort(-values, kind="stable")[: self.most]
            top = tuple((int(each), float(values[each])) for each in best)
            self.steps[row].append(TokenScore(int(token), float(values[token]), top))

    def finish(self, row: int, generated: list[int]) -> list[TokenScore]:
        """Return the scores of a row's tokens, of which the last is only known now."""
        found = self.steps[row][: len(generated)] if self.steps else []
        if len(found) < len(generated) and self._pending is not None:
            values, token = self._pending[row], generated[-1]
            best = np.argsort(-values, kind="stable")[: self.most]
            top = tuple((int(each), float(values[each])) for each in best)
            found = [*found, TokenScore(token, float(values[token]), top)]
        return found
