"""Caches of rows that come and go: each row of one buffer is a slot, of which the first are in use.

What a row that left has in its cache is kept for a while: a prompt that begins with the same tokens, such as the next
turn of a chat, continues from there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.engine.binding import DeviceArray
from onnxpipe.models.causal_lm.decoder import RaggedDecoder, mask_of
from onnxpipe.models.causal_lm.graph import CausalGraph, Runner

Array = NDArray[Any]

#: Tokens that a slot has room for at first; it doubles when one is full.
_ROOM = 256
#: Tokens of a prompt that are run at once: the rows that are being written wait for no more.
_CHUNK = 128
#: Fewer tokens in common are run again.
_WORTH_KEEPING = 16
#: Tokens of rows that left that are kept, for each slot.
_KEPT = 2048


@dataclass(frozen=True, eq=False)
class _Kept:
    """The cache of a row that left: its tokens, whose it was, and the arrays (1, heads, tokens, size) by name."""

    tokens: Array
    owner: Hashable
    arrays: dict[str, Array]


class PromptRun:
    """A prompt while it is run, piece by piece, apart from the rows that are being written.

    Args:
        graph: the graph.
        tokens: int64 (length,).
        max_length: most tokens of the row.
        known: the cache of a row that begins with the same tokens; None if there is none.
        cached: how many of them.

    Attributes:
        cached: tokens that need not be run.
    """

    def __init__(self, graph: CausalGraph, tokens: Array, max_length: int, known: _Kept | None, cached: int) -> None:
        self.cached = cached
        self.tokens = tokens
        first = tokens[:_CHUNK] if known is None else tokens[:cached]
        self.decoder = RaggedDecoder(graph, [first], 1, max_length, hidden=False)
        self._done = cached
        if known is not None:
            self.decoder.resume(known.arrays, cached)

    def advance(self) -> Array | None:
        """Run the next piece; return the logits after the prompt, float32 (1, vocabulary), once it is done."""
        piece = self.tokens[self._done : self._done + _CHUNK]
        logits = self.decoder.step(piece[None])[:, -1] if self._done else self.decoder.prefill()
        self._done += len(piece)
        return logits.copy() if self._done == len(self.tokens) else None


class SlotCache:
    """Keeps the caches of several decodings of one row, and steps them together.

    Implements `onnxpipe.generation.joined.SlotDecoder`.

    Args:
        graph: a graph with GroupQueryAttention, on the CPU.
        slots: the most rows.
        keep: keep what rows that left have in their caches.
    """

    def __init__(self, graph: CausalGraph, slots: int, *, keep: bool = True) -> None:
        self._graph, self._slots, self._keeps = graph, slots, keep
        self._runner = Runner(graph, hidden=False)
        self._room = 0
        self._memory: dict[str, Array] = {}
        self._cache: dict[str, DeviceArray] = {}  # the slots in use: views of the memory
        self._lengths = np.zeros(0, np.int64)
        self._kept: deque[_Kept] = deque()  # the one used last at the end

    @property
    def rows(self) -> int:
        """How many slots are in use."""
        return len(self._lengths)

    def begin(self, tokens: Array, max_length: int, owner: Hashable = None) -> PromptRun:
        """Begin the run of a prompt.

        Args:
            tokens: int64 (length,).
            max_length: most tokens of the row.
            owner: whose it is; only what is kept of the same owner's rows is used again, so that how long it takes
                tells nobody what others have asked.
        """
        best, cached = None, _WORTH_KEEPING - 1
        for kept in self._kept:
            same = _common(kept.tokens, tokens) if kept.owner == owner else 0
            if same > cached:
                best, cached = kept, same
        if best is None:
            return PromptRun(self._graph, tokens, max_length, None, 0)
        self._kept.remove(best)
        self._kept.append(best)
        return PromptRun(self._graph, tokens, max_length, best, cached)

    def admit(self, run: Any, copies: int = 1) -> None:
        """Give the row of a prompt that has been run the next slots: one for each text that continues it."""
        decoder: RaggedDecoder = run.decoder
        length = int(decoder.lengths[0])
        self._fit(length + 1)
        first = len(self._lengths)
        for name, memory in self._memory.items():
            memory[first : first + copies, :, :length] = decoder.cache[name].numpy()[0, :, :length]
        self._lengths = np.append(self._lengths, [length] * copies)
        self._bind()

    def step(self, tokens: Array) -> Array:
        """Append int64 (rows, 1): float32 (rows, vocabulary), in memory that the next step uses again."""
        self._fit(int(self._lengths.max()) + 1)
        positions = self._lengths[:, None]
        self._lengths = self._lengths + 1
        longest = int(self._lengths.max())
        mask = mask_of(self._lengths, longest)
        feeds = {"input_ids": np.ascontiguousarray(tokens), "position_ids": positions}
        logits = self._runner.run(feeds, mask, positions, 1, self._cache, self._cache, cached=True)
        return np.asarray(logits[:, 0])

    def leave(self, row: int, tokens: Array, owner: Hashable = None) -> None:
        """Free a slot; the last one in use moves into it.

        Args:
            row: which.
            tokens: int64: those of the row, of which the first are in its cache.
            owner: see `begin`.
        """
        length = int(self._lengths[row])
        if self._keeps and _WORTH_KEEPING <= length <= _KEPT:
            arrays = {name: memory[row : row + 1, :, :length].copy() for name, memory in self._memory.items()}
            self._keep(_Kept(np.array(tokens[:length]), owner, arrays))
        last = len(self._lengths) - 1
        if row != last:
            length = int(self._lengths[last])
            for memory in self._memory.values():
                memory[row, :, :length] = memory[last, :, :length]
            self._lengths[row] = self._lengths[last]
        self._lengths = self._lengths[:last]
        self._bind()

    def _keep(self, kept: _Kept) -> None:
        """Keep the cache of a row, instead of those that it goes on from, and of the oldest that have no room."""
        self._kept = deque(
            each for each in self._kept
            if each.owner != kept.owner or _common(each.tokens, kept.tokens) < len(each.tokens)
        )  # fmt: skip
        self._kept.append(kept)
        while sum(len(each.tokens) for each in self._kept) > self._slots * _KEPT or len(self._kept) > self._slots:
            self._kept.popleft()

    def _fit(self, length: int) -> None:
        """Make room for rows of so many tokens."""
        if length <= self._room:
            return
        room = max(length, 2 * self._room, _ROOM)
        before, used = self._memory, int(self._lengths.max()) if len(self._lengths) else 0
        self._memory = {}
        for name, cache in self._graph.buffers(1, room).items():
            memory = np.zeros((self._slots, *cache.shape[1:]), cache.dtype)
            if used:
                rows = len(self._lengths)
                memory[:rows, :, :used] = before[name][:rows, :, :used]
            self._memory[name] = memory
        self._room = room
        self._bind()

    def _bind(self) -> None:
        """Show the graph the slots in use."""
        rows, device = len(self._lengths), self._graph.session.device
        self._cache = {name: DeviceArray.of(memory[:rows], device) for name, memory in self._memory.items()}


def _common(kept: Array, tokens: Array) -> int:
    """Count the first tokens that two rows share; the last of a prompt is always run, as its logits are needed."""
    length = min(len(kept), len(tokens) - 1)
    different = np.flatnonzero(kept[:length] != tokens[:length])
    return int(different[0]) if len(different) else length
