"""Decode with a model whose rotary frequencies are others for long rows: what a cache holds is then computed again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.models.causal_lm.uncached import CausalDecoder

Array = NDArray[Any]

#: Begins a decoding: (prompts, rows a prompt).
Start = Callable[[Sequence[Array], int], CausalDecoder]


class SwitchingDecoder:
    """Begins again on all tokens of its rows where one of them becomes longer than a limit, or is cut back to it.

    Keys are cached with their rotation, so those of a row that crosses the limit are not those that it would have if it
    were run at once. transformers does the same for Phi-3. Implements `onnxpipe.generation.protocols.Decoder`.

    Args:
        start: begins a decoding.
        prompts: int64 (length,) each, without padding.
        copies: rows a prompt.
        limit: tokens of a row beyond which its rotary frequencies are others.
    """

    def __init__(self, start: Start, prompts: Sequence[Array], copies: int, limit: int) -> None:
        self._start, self._limit = start, limit
        self._decoder = start(prompts, copies)
        self._tokens = [prompt for prompt in prompts for _ in range(copies)]
        self._hidden: Array | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self._decoder.rows

    @property
    def hidden(self) -> Array | None:
        """float32 (rows, tokens, width): the last hidden states of the last call's tokens."""
        return self._hidden

    def prefill(self) -> Array:
        """Run the prompts; gives the logits after them, float32 (rows, vocabulary)."""
        logits = self._decoder.prefill()
        self._hidden = self._decoder.hidden
        return logits

    def step(self, tokens: Array, keep: int = 1) -> Array:
        """Append `tokens`, int64 (rows, n); gives the logits of the last `keep`, float32 (rows, keep, vocabulary)."""
        count = tokens.shape[1]
        crosses = any(len(row) <= self._limit < len(row) + count for row in self._tokens)
        if crosses and count > 1:  # each token's logits are those of a row that ends with it
            parts, hidden = [], []
            for i in range(count):
                parts.append(self.step(tokens[:, i : i + 1]).copy())
                hidden.append(self._hidden)
            self._hidden = None if hidden[0] is None else np.concatenate([one for one in hidden if one is not None], 1)
            return np.concatenate(parts[-keep:], axis=1)
        self._tokens = [np.concatenate([row, new]) for row, new in zip(self._tokens, tokens, strict=True)]
        if not crosses:
            logits = self._decoder.step(tokens, keep)
            self._hidden = self._decoder.hidden
            return logits
        logits = self._again()[:, None]
        found = self._decoder.hidden
        self._hidden = None if found is None else found[:, -1:]
        return logits

    def reorder(self, rows: Array) -> None:
        """Let row i continue from row `rows[i]`; there may be more or fewer rows than before."""
        self._tokens = [self._tokens[row] for row in rows]
        self._decoder.reorder(rows)

    def crop(self, count: int) -> None:
        """Forget the last `count` tokens of every row."""
        crosses = any(len(row) - count <= self._limit < len(row) for row in self._tokens)
        self._tokens = [row[: len(row) - count] for row in self._tokens]
        if crosses:
            self._again()
        else:
            self._decoder.crop(count)

    def _again(self) -> Array:
        """Run all tokens so far anew; gives the logits after them, float32 (rows, vocabulary)."""
        self._decoder = self._start(self._tokens, 1)
        return self._decoder.prefill()
