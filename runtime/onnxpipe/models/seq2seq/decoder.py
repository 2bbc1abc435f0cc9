"""The decoder of encoder-decoder models: keeps the encoded prompts of a decoding and the caches of its rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.engine.binding import Binding, DeviceArray
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.seq2seq.graph import Encoded, Seq2SeqGraphs

Array = NDArray[Any]


class Seq2SeqDecoder:
    """Rows of one length; keys and values of the encoded prompts are computed once, and kept once a prompt if they can.

    Implements `onnxpipe.generation.protocols.Decoder`.

    Args:
        graphs: the model.
        prompt: int64 (prompts, length): the first tokens of the decoder.
        encoded: the encoder's output for the prompts.
        copies: rows a prompt.
        hidden: whether `hidden` is wanted.
    """

    def __init__(
        self, graphs: Seq2SeqGraphs, prompt: Array, encoded: Encoded, copies: int = 1, *, hidden: bool = False
    ) -> None:
        if hidden:
            needs_hidden(graphs)
        self._graphs, self._prompt, self._copies = graphs, np.ascontiguousarray(prompt), copies
        self._wanted = ("logits", "last_hidden_state") if hidden else ("logits",)
        self._memory, self._encoded, self._mask = encoded, encoded.states, encoded.mask
        self._origin = np.arange(len(prompt))  # the prompt of each row
        self._held = np.arange(len(prompt))  # the prompt of each row of the encoder's output that is kept
        self._own: dict[str, DeviceArray] = {}
        self._cross: dict[str, DeviceArray] = {}
        self._length = 0
        self._binding = Binding(graphs.steps)
        self.hidden: Array | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self._prompt) * self._copies if not self._own else len(self._origin)

    def prefill(self) -> Array:
        """Run the prompt, once for all its rows; gives the logits after it, float32 (rows, vocabulary)."""
        graphs, rows = self._graphs, len(self._prompt)
        self._own = graphs.buffers(graphs.own, rows, 0)
        if self._memory.cross and graphs.shared:
            self._cross = self._memory.cross
            logits = self.step(self._prompt, keep=self._prompt.shape[1])
        else:
            logits = self._first()
        if self._copies > 1:
            chosen = np.repeat(np.arange(rows), self._copies)
            self.reorder(chosen)
            logits = logits[chosen]
            self.hidden = None if self.hidden is None else self.hidden[chosen]
        return np.asarray(logits[:, -1])

    def _first(self) -> Array:
        """Compute the logits of the prompt, in a run that also gives keys and values of the encoder's output."""
        graphs, rows = self._graphs, len(self._prompt)
        self._cross = graphs.buffers(graphs.cross, rows, self._encoded.shape[1])
        empty = graphs.buffers(graphs.cross, rows, 0)
        present = {graphs.cross[name]: value for name, value in self._cross.items()}
        feeds = {"encoder_hidden_states": self._encoded, **self._own, **empty}
        binding = self._binding if graphs.first is graphs.steps else Binding(graphs.first)
        logits = self._run(binding, self._prompt, feeds, present, cached=False)
        if binding is self._binding:
            self._binding = Binding(graphs.steps)  # without the outputs that only the first run has
        self._memory.cross = self._cross
        return logits

    def step(self, tokens: Array, keep: int = 1) -> Array:
        """Append `tokens`, int64 (rows, n); gives the logits of the last `keep`, float32 (rows, keep, vocabulary)."""
        feeds = {"encoder_hidden_states": self._encoded, **self._own, **self._cross}
        return self._run(self._binding, np.ascontiguousarray(tokens), feeds, {}, cached=True)[:, -keep:]

    def reorder(self, rows: Array) -> None:
        """Let row i continue from the cache of row `rows[i]`; there may be more or fewer rows than before."""
        length = self._length
        if len(rows) == len(self._origin):
            for cache in self._own.values():
                cache.permute(rows, length=length)
        else:
            self._own = {name: cache.take(rows, length=length, room=length) for name, cache in self._own.items()}
        self._origin = self._origin[rows]
        needed = _once(self._origin) if self._graphs.shared else self._origin
        if not np.array_equal(needed, self._held):
            places = {origin: place for place, origin in enumerate(self._held.tolist())}
            chosen = np.array([places[origin] for origin in needed.tolist()], np.int64)
            self._cross = {name: cache.select(chosen) for name, cache in self._cross.items()}
            self._encoded, self._held = self._encoded.select(chosen), needed
            self._mask = None if self._mask is None else self._mask[chosen]

    def crop(self, count: int) -> None:
        """Forget the last `count` tokens of every row."""
        self._length -= count
        every, length = np.arange(len(self._origin)), self._length
        self._own = {name: cache.take(every, length=length, room=length) for name, cache in self._own.items()}

    def _run(
        self,
        binding: Binding,
        tokens: Array,
        feeds: dict[str, Any],
        present: dict[str, DeviceArray],
        *,
        cached: bool,
    ) -> Array:
        graphs = self._graphs
        length = self._length + tokens.shape[1]
        own = graphs.buffers(graphs.own, len(tokens), length)
        known = (graphs.steps if cached else graphs.first).inputs
        feeds = {name: value for name, value in feeds.items() if name in known}
        feeds |= graphs.feeds(tokens, self._mask, cached=cached)
        outputs: dict[str, DeviceArray | None] = dict.fromkeys(self._wanted)
        place = outputs["logits"] = binding.buffer("logits", tokens.shape)
        outputs |= {graphs.own[name]: value for name, value in own.items()}
        found = binding.run(feeds, {**outputs, **present})
        self._own, self._length = own, length
        self.hidden = found.get("last_hidden_state")
        return found["logits"] if place is None else place.numpy()


def needs_hidden(graphs: Seq2SeqGraphs) -> None:
    """Refuse graphs that do not give the last hidden states.

    Raises:
        UnsupportedError: they do not.
    """
    if "last_hidden_state" not in graphs.steps.outputs:
        raise UnsupportedError(
            f"{graphs.steps.path} has no output last_hidden_state, which contrastive search needs: export the model "
            "again with this onnxpipe"
        )


def _once(origin: Array) -> Array:
    """Each prompt once, where all have equally many rows one after the other; else one entry a row."""
    starts = np.flatnonzero(np.r_[True, origin[1:] != origin[:-1]])
    sizes = np.diff(np.r_[starts, len(origin)])
    return origin[starts] if (sizes == sizes[0]).all() else origin
