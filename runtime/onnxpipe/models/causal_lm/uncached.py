"""Decoders whose graphs keep nothing: each step runs the whole rows again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.models.causal_lm.decoder import PaddedDecoder, RaggedDecoder, count_places
from onnxpipe.models.causal_lm.graph import CausalGraph, Runner
from onnxpipe.models.causal_lm.inputs import DecoderInputs, TokenIds

Array = NDArray[Any]


class UncachedDecoder:
    """Rows padded on the left to one length; what the graph is fed for them is kept instead of caches.

    Implements `onnxpipe.generation.protocols.Decoder`. For the arguments see `RaggedDecoder`.
    """

    def __init__(
        self,
        graph: CausalGraph,
        prompts: Sequence[Array],
        copies: int,
        *,
        hidden: bool,
        inputs: DecoderInputs | None = None,
    ) -> None:
        self._prompts, self._copies = prompts, copies
        self._inputs = TokenIds(prompts) if inputs is None else inputs
        self._origin = np.arange(len(prompts))  # the prompt of each row
        self._runner = Runner(graph, hidden)
        self._fed: dict[str, Array] = {}
        self._mask = np.zeros((len(prompts), 0), np.int64)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self._mask) if self._fed else len(self._prompts) * self._copies

    @property
    def hidden(self) -> Array | None:
        """float32 (rows, tokens, width): the last hidden states of the last call's tokens."""
        return self._runner.hidden

    def prefill(self) -> Array:
        """Run the prompt, once for all its rows; gives the logits after it, float32 (rows, vocabulary)."""
        lengths = np.array([len(prompt) for prompt in self._prompts])
        inside = np.arange(lengths.max()) >= lengths.max() - lengths[:, None]
        self._mask = inside.astype(np.int64)
        self._fed = self._inputs.prompt(inside, count_places(self._mask))
        logits = self._run(1)
        if self._copies > 1:
            rows = np.repeat(np.arange(len(self._prompts)), self._copies)
            self.reorder(rows)
            logits = logits[rows]
            if self._runner.hidden is not None:
                self._runner.hidden = self._runner.hidden[rows]
        return np.asarray(logits[:, 0])

    def step(self, tokens: Array, keep: int = 1) -> Array:
        """Append `tokens`, int64 (rows, n); gives the logits of the last `keep`, float32 (rows, keep, vocabulary)."""
        count = tokens.shape[1]
        self._mask = np.concatenate([self._mask, np.ones(tokens.shape, np.int64)], axis=1)
        new = self._inputs.step(tokens, count_places(self._mask)[:, -count:], self._origin)
        self._fed = {
            name: np.concatenate([value, new[name]], axis=_rows_axis(name, value) + 1)
            for name, value in self._fed.items()
        }
        logits = self._run(keep)
        if self._runner.hidden is not None:
            self._runner.hidden = self._runner.hidden[:, -count:]
        return logits

    def reorder(self, rows: Array) -> None:
        """Let row i continue from row `rows[i]`; there may be more or fewer rows than before."""
        self._fed = {name: value.take(rows, _rows_axis(name, value)) for name, value in self._fed.items()}
        self._mask, self._origin = self._mask[rows], self._origin[rows]

    def crop(self, count: int) -> None:
        """Forget the last `count` tokens of every row."""
        kept = np.arange(self._mask.shape[1] - count)
        self._fed = {name: value.take(kept, _rows_axis(name, value) + 1) for name, value in self._fed.items()}
        self._mask = self._mask[:, kept]

    def _run(self, keep: int) -> Array:
        return self._runner.run(self._fed, self._mask, count_places(self._mask), keep, {}, {}, cached=False)


CausalDecoder = RaggedDecoder | PaddedDecoder | UncachedDecoder


def _rows_axis(name: str, value: Array) -> int:
    """The axis of rows; that of tokens is the next. Only positions may have axes before these."""
    return value.ndim - 2 if name == "position_ids" else 0
