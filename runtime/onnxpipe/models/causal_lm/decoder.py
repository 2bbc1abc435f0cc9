"""Decoders of causal models: keep the caches of a decoding's rows, in buffers that stay where the model runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.engine.binding import DeviceArray
from onnxpipe.models.causal_lm.graph import CausalGraph, Runner
from onnxpipe.models.causal_lm.inputs import DecoderInputs, TokenIds

Array = NDArray[Any]

#: Tokens beyond the prompt that a shared buffer has room for at first; it doubles when it is full, as generation
#: usually ends long before a large `max_length`.
_ROOM = 256


class RaggedDecoder:
    """Rows of different lengths, each beginning at position 0; past and present are one buffer with room to spare.

    Implements `onnxpipe.generation.protocols.Decoder`.

    Args:
        graph: a graph with GroupQueryAttention.
        prompts: int64 (length,) each, without padding.
        copies: rows a prompt.
        max_length: most tokens of a row.
        hidden: whether `hidden` is wanted.
        inputs: makes what the graph is fed for tokens; None: their ids.
    """

    def __init__(
        self,
        graph: CausalGraph,
        prompts: Sequence[Array],
        copies: int,
        max_length: int,
        *,
        hidden: bool,
        inputs: DecoderInputs | None = None,
    ) -> None:
        self._graph, self._prompts, self._copies, self._max_length = graph, prompts, copies, max_length
        self._inputs = TokenIds(prompts) if inputs is None else inputs
        self._origin = np.arange(len(prompts))  # the prompt of each row
        self._runner = Runner(graph, hidden)
        self._lengths = np.array([len(prompt) for prompt in prompts], np.int64)  # tokens in the cache, row by row
        self._room = 0
        self._cache: dict[str, DeviceArray] = {}

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self._prompts) * self._copies if not self._cache else len(self._lengths)

    @property
    def cache(self) -> dict[str, DeviceArray]:
        """The caches by name, of all rows."""
        return self._cache

    @property
    def lengths(self) -> Array:
        """int64 (rows,): tokens in the caches, row by row."""
        return self._lengths

    def resume(self, arrays: Mapping[str, Array], length: int) -> None:
        """Begin the one row with tokens that were run before, instead of with `prefill`.

        Args:
            arrays: their caches by name, (1, heads, at least `length`, size); they are copied.
            length: how many.
        """
        self._room = max(min(length + _ROOM, self._max_length), length)
        self._cache = self._graph.buffers(1, self._room)
        for name, cache in self._cache.items():
            cache.numpy()[:, :, :length] = arrays[name][:, :, :length]
        self._lengths = np.array([length], np.int64)

    @property
    def hidden(self) -> Array | None:
        """float32 (rows, tokens, width): the last hidden states of the last call's tokens."""
        return self._runner.hidden

    def prefill(self) -> Array:
        """Run the prompt, once for all its rows; gives the logits after it, float32 (rows, vocabulary)."""
        width = int(self._lengths.max())
        room = max(min(width + _ROOM, self._max_length), width)
        self._room = room if self._copies == 1 else width
        self._cache = self._graph.buffers(len(self._prompts), self._room)
        inside = np.arange(width) < self._lengths[:, None]
        positions = np.where(inside, np.arange(width), 0)
        tokens = self._inputs.prompt(inside, positions)
        apart = bool(self._graph.states) and not inside.all()
        if apart:
            logits = self._runner.run_apart(tokens, inside, self._cache)
        else:
            logits = self._run(tokens, inside.astype(np.int64), positions, 1, cached=False)
        if (
            self._runner.hidden is not None and not apart
        ):  # moves the padding to the left, so that the last entry is the last token's
            moved = (np.arange(width) - (width - self._lengths[:, None])) % width
            self._runner.hidden = np.take_along_axis(self._runner.hidden, moved[:, :, None], axis=1)
        if self._copies > 1:
            rows = np.repeat(np.arange(len(self._prompts)), self._copies)
            self._take(rows, room)
            logits = logits[rows]
            if self._runner.hidden is not None:
                self._runner.hidden = self._runner.hidden[rows]
        return np.asarray(logits[:, 0])

    def step(self, tokens: Array, keep: int = 1) -> Array:
        """Append `tokens`, int64 (rows, n); gives the logits of the last `keep`, float32 (rows, keep, vocabulary)."""
        count = tokens.shape[1]
        if count > 1 and self.rows > 1:  # ONNX Runtime continues several rows by one token at a time
            parts, hidden = [], []
            for i in range(count):
                parts.append(self.step(tokens[:, i : i + 1]).copy())
                hidden.append(self._runner.hidden)
            if self._runner.hidden is not None:
                self._runner.hidden = np.concatenate([part for part in hidden if part is not None], axis=1)
            return np.concatenate(parts[-keep:], axis=1)
        longest = int(self._lengths.max()) + count
        if longest > self._room:
            self._take(np.arange(self.rows), max(longest, min(2 * self._room, self._max_length)))
        positions = self._lengths[:, None] + np.arange(count)
        self._lengths = self._lengths + count
        mask = mask_of(self._lengths, longest)
        return self._run(self._inputs.step(tokens, positions, self._origin), mask, positions, keep, cached=True)

    def reorder(self, rows: Array) -> None:
        """Let row i continue from the cache of row `rows[i]`; there may be more or fewer rows than before."""
        if len(rows) != self.rows:
            self._take(rows, self._room)
            return
        length = int(self._lengths.max())
        for cache in self._cache.values():
            cache.permute(rows, length=length)
        self._lengths, self._origin = self._lengths[rows], self._origin[rows]

    def crop(self, count: int) -> None:
        """Forget the last `count` tokens of every row: entries beyond a row's length are never read.

        Raises:
            UnsupportedError: the model keeps states.
        """
        self._graph.check_crop()
        self._lengths = self._lengths - count

    def _take(self, rows: Array, room: int) -> None:
        length = int(self._lengths.max())
        self._cache = {name: cache.take(rows, length=length, room=room) for name, cache in self._cache.items()}
        self._lengths, self._origin, self._room = self._lengths[rows], self._origin[rows], room

    def _run(self, tokens: dict[str, Array], mask: Array, positions: Array, keep: int, *, cached: bool) -> Array:
        # a state is written to other memory than it is read from: no operator for it promises to read first
        present = {**self._cache, **self._graph.new_states(len(mask))} if self._graph.states else self._cache
        logits = self._runner.run(tokens, mask, positions, keep, self._cache, present, cached=cached)
        self._cache = present
        return logits


class PaddedDecoder:
    """Rows padded on the left to one length; the caches grow by concatenation in the graph.

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
        self._graph, self._prompts, self._copies = graph, prompts, copies
        self._inputs = TokenIds(prompts) if inputs is None else inputs
        self._origin = np.arange(len(prompts))  # the prompt of each row
        self._runner = Runner(graph, hidden)
        self._cache: dict[str, DeviceArray] = {}
        self._mask = np.zeros((len(prompts), 0), np.int64)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self._prompts) * self._copies if not self._cache else len(self._mask)

    @property
    def hidden(self) -> Array | None:
        """float32 (rows, tokens, width): the last hidden states of the last call's tokens."""
        return self._runner.hidden

    def prefill(self) -> Array:
        """Run the prompt, once for all its rows; gives the logits after it, float32 (rows, vocabulary)."""
        width = max(len(prompt) for prompt in self._prompts)
        lengths = np.array([len(prompt) for prompt in self._prompts])
        inside = np.arange(width) >= width - lengths[:, None]
        tokens = self._inputs.prompt(inside, count_places(inside))
        if self._graph.states and not inside.all():
            self._cache, self._mask = self._graph.buffers(len(inside), width), inside.astype(np.int64)
            logits = self._runner.run_apart(tokens, inside, self._cache)
        else:
            self._cache = self._graph.buffers(len(self._prompts), 0)
            logits = self._run(tokens, inside.astype(np.int64), count_places(inside), 1, cached=False)
        if self._copies > 1:
            rows = np.repeat(np.arange(len(self._prompts)), self._copies)
            self.reorder(rows)
            logits = logits[rows]
            if self._runner.hidden is not None:
                self._runner.hidden = self._runner.hidden[rows]
        return np.asarray(logits[:, 0])

    def step(self, tokens: Array, keep: int = 1) -> Array:
        """Append `tokens`, int64 (rows, n); gives the logits of the last `keep`, float32 (rows, keep, vocabulary)."""
        whole = np.concatenate([self._mask, np.ones(tokens.shape, np.int64)], axis=1)
        places = count_places(whole)[:, -tokens.shape[1] :]
        return self._run(self._inputs.step(tokens, places, self._origin), whole, places, keep, cached=True)

    def reorder(self, rows: Array) -> None:
        """Let row i continue from the cache of row `rows[i]`; there may be more or fewer rows than before."""
        if len(rows) == len(self._mask) and (rows == np.arange(len(rows))).all():
            return
        length = self._mask.shape[1]
        self._cache = {name: cache.take(rows, length=length, room=length) for name, cache in self._cache.items()}
        self._mask, self._origin = self._mask[rows], self._origin[rows]

    def crop(self, count: int) -> None:
        """Forget the last `count` tokens of every row.

        Raises:
            UnsupportedError: the model keeps states.
        """
        self._graph.check_crop()
        kept = self._mask.shape[1] - count
        self._mask = self._mask[:, :kept]
        every = np.arange(len(self._mask))
        self._cache = {name: cache.take(every, length=kept, room=kept) for name, cache in self._cache.items()}

    def _run(self, tokens: dict[str, Array], mask: Array, places: Array, keep: int, *, cached: bool) -> Array:
        present = self._graph.buffers(len(mask), mask.shape[1])
        logits = self._runner.run(tokens, mask, places, keep, self._cache, present, cached=cached)
        self._cache, self._mask = present, mask
        return logits


def mask_of(lengths: Array, longest: int) -> Array:
    """Make the mask of rows that begin at 0, int64 (rows, longest)."""
    if len(lengths) == 1:
        return np.ones((1, longest), np.int64)
    return np.asarray((np.arange(longest) < lengths[:, None]).astype(np.int64))


def count_places(mask: Array) -> Array:
    """Count each token's place in its row, int64 (rows, length), 0 for padding at its left."""
    return np.asarray(np.maximum(mask.cumsum(axis=1) - 1, 0))
