"""Compute how likely a text is, without keeping all scores: those of an hour of speech would fill gigabytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxpipe.generation.processors import LogitsProcessor
from onnxpipe.generation.protocols import Array
from onnxpipe.generation.request import SearchResult


class Likelihood(LogitsProcessor):
    """The last processor of a decoding: records what the log-softmax of each step subtracts from the scores.

    For greedy search, sampling and beam search; not where scores are computed for some of the rows at a time.

    Args:
        temperature: of sampling, which the scores are multiplied by, so that the model's own probabilities count.
        length_penalty: of beam search.
    """

    only_adds = True

    def __init__(self, temperature: float, length_penalty: float) -> None:
        self._scale, self._penalty = np.float32(temperature), length_penalty
        self._mass: list[Array] = []  # a step's log of the sum of exp(scores): float32 (rows,)
        self._chosen: list[Array] = []  # a step's chosen score: float32 (rows,)
        self._last: Array | None = None

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """Return the same scores."""
        if self._last is not None:
            self._choose(input_ids[:, -1])
        scaled = scores * self._scale
        self._mass.append(log_sum(scaled))
        self._last = scaled
        return scores

    def averages(self, result: SearchResult, start: int, counts: Sequence[int]) -> Array:
        """Average the log-probabilities of the first `counts[i]` tokens after `start` of each row: float32 (rows,)."""
        if result.beam_indices is not None and result.sequences_scores is not None:
            totals = result.sequences_scores * np.array(counts, np.float32) ** self._penalty
            beams = result.beam_indices
            for row, count in enumerate(counts):
                totals[row] -= sum(self._mass[step][beams[row, step]] for step in range(count))
            return np.asarray(totals / np.array(counts, np.float32))
        self._choose(result.sequences[:, -1])
        each = np.stack(self._chosen) - np.stack(self._mass)
        return np.array([each[:count, row].mean() for row, count in enumerate(counts)], np.float32)

    def _choose(self, tokens: Array) -> None:
        assert self._last is not None
        self._chosen.append(self._last[np.arange(len(tokens)), tokens % self._last.shape[1]])


def recorded_averages(result: SearchResult, start: int, counts: Sequence[int]) -> Array:
    """The same from recorded scores, for searches that `Likelihood` is not for."""
    steps = result.record.scores or []
    means = []
    for row, count in enumerate(counts):
        total = 0.0
        for step in range(count):
            place = row if result.beam_indices is None else int(result.beam_indices[row, step])
            scores = steps[step][place]
            total += float(scores[result.sequences[row, start + step]] - log_sum(scores[None])[0])
        means.append(total / max(count, 1))
    return np.array(means, np.float32)


def log_sum(scores: Array) -> Array:
    """Log of the sum of exp, over the last axis: float32 (rows,); -inf for a row of nothing but -inf."""
    best = scores.max(-1, keepdims=True)
    best = np.where(np.isfinite(best), best, np.float32(0))
    with np.errstate(divide="ignore"):
        total = np.log(np.exp(scores - best).sum(-1))
    return np.asarray(total + best[:, 0])
