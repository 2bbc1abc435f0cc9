"""Caches of rows that come and go: each row of one buffer is a slot, of which the first are in use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.engine.binding import DeviceArray
from onnxpipe.models.causal_lm.decoder import RaggedDecoder
from onnxpipe.models.causal_lm.graph import CausalGraph, Runner

Array = NDArray[Any]

#: Tokens that a slot has room for at first; it doubles when one is full.
_ROOM = 256


class SlotCache:
    """Keeps the caches of several decodings of one row, and steps them together.

    Implements `onnxpipe.generation.joined.SlotDecoder`.

    Args:
        graph: a graph with GroupQueryAttention, on the CPU.
        slots: the most rows.
    """

    def __init__(self, graph: CausalGraph, slots: int) -> None:
        self._graph, self._slots = graph, slots
        self._runner = Runner(graph, hidden=False)
        self._room = 0
        self._memory: dict[str, Array] = {}
        self._cache: dict[str, DeviceArray] = {}  # the slots in use: views of the memory
        self._lengths = np.zeros(0, np.int64)

    @property
    def rows(self) -> int:
        """How many slots are in use."""
        return len(self._lengths)

    def admit(self, alone: Any) -> Array:
        """Run the prompt of a decoder of one row, which takes the next slot: float32 (1, vocabulary)."""
        decoder: RaggedDecoder = alone
        logits = decoder.prefill().copy()
        length = int(decoder.lengths[0])
        self._fit(length + 1)
        row = len(self._lengths)
        for name, memory in self._memory.items():
            memory[row, :, :length] = decoder.cache[name].numpy()[0, :, :length]
        self._lengths = np.append(self._lengths, length)
        self._bind()
        return logits

    def step(self, tokens: Array) -> Array:
        """Append int64 (rows, 1): float32 (rows, vocabulary), in memory that the next step uses again."""
        self._fit(int(self._lengths.max()) + 1)
        positions = self._lengths[:, None]
        self._lengths = self._lengths + 1
        longest = int(self._lengths.max())
        mask = (np.arange(longest) < self._lengths[:, None]).astype(np.int64)
        feeds = {"input_ids": np.ascontiguousarray(tokens), "position_ids": positions}
        logits = self._runner.run(feeds, mask, positions, 1, self._cache, self._cache, cached=True)
        return np.asarray(logits[:, 0])

    def leave(self, row: int) -> None:
        """Free a slot; the last one in use moves into it."""
        last = len(self._lengths) - 1
        if row != last:
            length = int(self._lengths[last])
            for memory in self._memory.values():
                memory[row, :, :length] = memory[last, :, :length]
            self._lengths[row] = self._lengths[last]
        self._lengths = self._lengths[:last]
        self._bind()

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
