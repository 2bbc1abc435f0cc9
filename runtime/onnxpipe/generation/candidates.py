"""Guess the next tokens, for assisted decoding: by a smaller model, or from the tokens that the row has already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from onnxpipe.errors import UnsupportedError
from onnxpipe.generation.guidance import UnbatchedClassifierFreeGuidanceLogitsProcessor
from onnxpipe.generation.numerics import softmax
from onnxpipe.generation.processors import LogitsProcessorList
from onnxpipe.generation.protocols import Array, Decoder, GenerationModel
from onnxpipe.generation.request import DecodingRequest


@dataclass(frozen=True)
class Guess:
    """Tokens that may come next.

    Attributes:
        tokens: int64 (n,); n may be 0.
        probabilities: float32 (n, vocab): the probabilities that they were drawn from; None where they were not drawn.
    """

    tokens: Array
    probabilities: Array | None = None


class Guesser(Protocol):
    """Guesses the next tokens."""

    def guess(self, ids: Array) -> Guess:
        """Guess the tokens after int64 (length,)."""

    def learn(self, guessed: int, accepted: int) -> None:
        """Take note of how many tokens of the last guess were accepted."""


class PromptLookup:
    """The tokens that followed the row's last few where those occur earlier in it (prompt lookup decoding).

    Args:
        request: the call.
        count: most tokens of a guess.
        ngram: most tokens that must match; if they do not, fewer are tried.
    """

    def __init__(self, request: DecodingRequest, count: int, ngram: int) -> None:
        if count <= 0 or ngram <= 0:
            raise UnsupportedError("Invalid max_matching_ngram_size or num_output_tokens")
        self._request, self._count, self._ngram = request, count, ngram

    def guess(self, ids: Array) -> Guess:
        """See Guesser."""
        room = min(self._count, self._request.max_length - len(ids) - 1)
        for size in range(min(self._ngram, len(ids) - 1), 0, -1):
            windows = np.lib.stride_tricks.sliding_window_view(ids[:-1], size)
            places = np.flatnonzero((windows == ids[-size:]).all(-1))
            if places.size:
                start = int(places[0]) + size
                return Guess(self._before_end(ids[start : start + max(room, 0)]))
        return Guess(ids[:0])

    def learn(self, guessed: int, accepted: int) -> None:
        """Nothing to learn."""

    def _before_end(self, tokens: Array) -> Array:
        eos = self._request.eos
        ends = np.flatnonzero(np.isin(tokens, eos)) if eos is not None else tokens[:0]
        return tokens[: ends[0]] if ends.size else tokens


class Assistant:
    """The tokens that a smaller model generates, with the same processors.

    It guesses `num_assistant_tokens` at most, and stops after an end token or one of low probability
    (`assistant_confidence_threshold`). The schedules "heuristic" and "heuristic_transient" guess two more after a guess
    that was right throughout, else one less; "heuristic" keeps the number in the assistant's config.

    Args:
        request: the call.
        model: the smaller model; its config determines how it guesses, or the call's where it is silent.
    """

    def __init__(self, request: DecodingRequest, model: GenerationModel) -> None:
        self._request, self._model = request, model
        config = model.generation_config.filled(request.config)
        self._schedule = config.num_assistant_tokens_schedule
        self._count = int(config.num_assistant_tokens or 0)
        self._threshold = float(config.assistant_confidence_threshold or 0.0)
        # Guidance runs the model on its own, token by token: that is only for tokens that stay.
        self._processors = LogitsProcessorList(
            one for one in request.processors if not isinstance(one, UnbatchedClassifierFreeGuidanceLogitsProcessor)
        )
        self._decoder: Decoder | None = None
        self._cached = np.empty(0, np.int64)

    def guess(self, ids: Array) -> Guess:
        """See Guesser."""
        count = min(self._count, self._request.max_length - len(ids) - 1)
        if count <= 0:
            return Guess(ids[:0])
        tokens: list[int] = []
        probabilities: list[Array] = []
        row, logits = ids, self._logits(ids)
        while True:
            scores = self._processors(row[None], logits)
            token = (
                int(scores[0].argmax()) if self._request.streams is None else self._request.streams.draw(0, scores[0])
            )
            probability = softmax(scores[0])
            tokens.append(token)
            probabilities.append(probability)
            ended = self._request.eos is not None and token in self._request.eos
            if len(tokens) == count or ended or probability[token] < self._threshold:
                break
            row = np.append(row, token)
            logits = self._logits(row)
        return Guess(np.array(tokens, np.int64), np.stack(probabilities))

    def learn(self, guessed: int, accepted: int) -> None:
        """See Guesser."""
        if self._schedule not in ("heuristic", "heuristic_transient"):
            return
        self._count = self._count + 2 if accepted == guessed else max(1, self._count - 1)
        if self._schedule == "heuristic":
            self._model.generation_config.num_assistant_tokens = self._count

    def _logits(self, ids: Array) -> Array:
        """Compute the model's logits, float32 (1, vocab), after int64 (length,); cached tokens are not run again."""
        if self._decoder is None:
            self._decoder = self._model.start(
                self._request.prompt, self._request.inputs, max_length=self._request.max_length
            )
            logits = self._decoder.prefill()
            self._cached = self._request.prompt[0]
            if len(ids) == len(self._cached):
                return logits
        known = min(len(self._cached), len(ids) - 1)
        same = self._cached[:known] == ids[:known]
        known = known if same.all() else int(same.argmin())
        if known < len(self._cached):
            self._decoder.crop(len(self._cached) - known)
        self._cached = ids
        return self._decoder.step(ids[None, known:])[:, 0]
