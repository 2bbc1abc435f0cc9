"""The decoder of encoder-decoder models whose graph keeps nothing: each step runs the whole rows again."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.models.seq2seq.decoder import needs_hidden
from onnxpipe.models.seq2seq.graph import Encoded, Seq2SeqGraphs

Array = NDArray[Any]


class UncachedSeq2SeqDecoder:
    """Rows of one length, with the encoder's output for each.

    Implements `onnxpipe.generation.protocols.Decoder`. For the arguments see `Seq2SeqDecoder`.
    """

    def __init__(
        self, graphs: Seq2SeqGraphs, prompt: Array, encoded: Encoded, copies: int = 1, *, hidden: bool = False
    ) -> None:
        if hidden:
            needs_hidden(graphs)
        self._graphs, self._ids, self._encoded, self._copies = graphs, np.asarray(prompt), encoded, copies
        self._wanted = ("logits", "last_hidden_state") if hidden else ("logits",)
        self._started = False
        self.hidden: Array | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self._ids) * (1 if self._started else self._copies)

    def prefill(self) -> Array:
        """Run the prompt, once for all its rows; gives the logits after it, float32 (rows, vocabulary)."""
        logits = self._run(self._ids.shape[1], 1)
        self._started = True
        if self._copies > 1:
            rows = np.repeat(np.arange(len(self._ids)), self._copies)
            self.reorder(rows)
            logits = logits[rows]
            self.hidden = None if self.hidden is None else self.hidden[rows]
        return np.asarray(logits[:, 0])

    def step(self, tokens: Array, keep: int = 1) -> Array:
        """Append `tokens`, int64 (rows, n); gives the logits of the last `keep`, float32 (rows, keep, vocabulary)."""
        self._ids = np.concatenate([self._ids, tokens], axis=1)
        return self._run(tokens.shape[1], keep)

    def reorder(self, rows: Array) -> None:
        """Let row i continue from row `rows[i]`; there may be more or fewer rows than before."""
        self._ids, self._encoded = self._ids[rows], self._encoded.select(rows)

    def crop(self, count: int) -> None:
        """Forget the last `count` tokens of every row."""
        self._ids = self._ids[:, : self._ids.shape[1] - count]

    def _run(self, new: int, keep: int) -> Array:
        found = self._graphs.whole(np.ascontiguousarray(self._ids), self._encoded, self._wanted)
        hidden = found.get("last_hidden_state")
        self.hidden = None if hidden is None else hidden[:, -new:]
        return found["logits"][:, -keep:]
