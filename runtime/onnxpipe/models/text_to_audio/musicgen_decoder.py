"""MusicGen's decoder as the decoding loop wants a model: its rows are the codebooks of pieces of music."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from onnxpipe.bundle import Config
from onnxpipe.engine.binding import Binding, DeviceArray
from onnxpipe.errors import UnsupportedError
from onnxpipe.generation import GenerationConfig
from onnxpipe.generation.codebooks import OPEN, delay_pattern, is_delayed, undelayed
from onnxpipe.models.base import Array
from onnxpipe.models.seq2seq.graph import Seq2SeqGraphs


@dataclass(frozen=True)
class Texts:
    """What a text encoder made of a batch.

    Attributes:
        states: float32 (texts, length, width).
        mask: int64 (texts, length): 1 for tokens.
    """

    states: Array
    mask: Array

    def guided(self) -> Texts:
        """The texts, and after them as many empty ones."""
        nothing = np.zeros_like(self.states), np.zeros_like(self.mask)
        return Texts(np.concatenate([self.states, nothing[0]]), np.concatenate([self.mask, nothing[1]]))

    def repeated(self, copies: int) -> Texts:
        """Each text so many times, one after the other."""
        return Texts(np.repeat(self.states, copies, axis=0), np.repeat(self.mask, copies, axis=0))


@dataclass
class Music:
    """The decoder as `onnxpipe.generation.generate` wants a model: its prompts are the codebooks of texts.

    Attributes:
        graphs: the decoder.
        config: its config.
        name_or_path: what the user called the model.
        texts: what is to be played.
        start_codes: int64 (texts, codebooks, length): the token for none, and the codes that are there already.
        channels: 1, or 2 for stereo.
        guidance: see `CodesDecoder`.
    """

    graphs: Seq2SeqGraphs
    config: Config
    name_or_path: str
    texts: Texts
    start_codes: Array
    channels: int
    guidance: float | None
    is_encoder_decoder: bool = False
    main_input_name: str = "input_ids"
    input_names: frozenset[str] = frozenset({"input_ids", "attention_mask"})
    generation_config: GenerationConfig = field(default_factory=GenerationConfig)

    @cached_property
    def vocab_size(self) -> int:
        """Codes of a codebook."""
        return int(self.config.vocab_size)

    def first(self, max_length: int) -> Array:
        """The prompt, int64 (texts * codebooks, length): the codes that are there, delayed."""
        _, codebooks, length = self.start_codes.shape
        delayed = is_delayed(max_length, codebooks, self.channels)
        codes = self._pattern(max_length)[:, :, :length] if delayed else self.start_codes
        return codes.reshape(-1, length)

    def start(
        self, prompt: Array, inputs: Mapping[str, Any], *, copies: int = 1, max_length: int, hidden: bool = False
    ) -> CodesDecoder:
        """A decoding; see `onnxpipe.generation.protocols.GenerationModel`."""
        ids = prompt.reshape(*self.start_codes.shape[:2], -1)
        return CodesDecoder(self.graphs, ids, self._pattern(max_length), self.texts, copies, self.guidance)

    def codes(self, ids: Array, max_length: int) -> Array:
        """The codes of each piece, int64 (pieces, codebooks, frames), from rows as `generate` gives them."""
        texts, codebooks = self.start_codes.shape[:2]
        split = ids.reshape(texts, codebooks, -1, ids.shape[1])  # a codebook's copies are adjacent
        pattern = self._pattern(max_length)[:, :, None, : ids.shape[1]]
        split = np.where(pattern < 0, split, pattern).swapaxes(1, 2)
        pieces = split.reshape(-1, codebooks, ids.shape[1])
        return undelayed(pieces, max_length, self.channels)

    def _pattern(self, max_length: int) -> Array:
        none = int(self.start_codes[0, 0, 0])
        return delay_pattern(self.start_codes, max_length, self.channels, none)


class CodesDecoder:
    """Rows of codes, one for each text, codebook and copy in this order; the graph sees a copy's codebooks together.

    Implements `onnxpipe.generation.protocols.Decoder`. Guidance (Ho and Salimans 2022) is done here: the graph runs for
    every text and for an empty one, and what the caller sees are the guided logits.

    Args:
        graphs: the decoder.
        ids: int64 (texts, codebooks, length): the codes so far, delayed.
        pattern: int64 (texts, codebooks, max_length): from `onnxpipe.generation.codebooks.delay_pattern`.
        texts: what the text encoder gave.
        copies: pieces of music a text.
        guidance: how far to go beyond what the text alone asks for; None for no guidance.
    """

    hidden: Array | None = None

    def __init__(
        self, graphs: Seq2SeqGraphs, ids: Array, pattern: Array, texts: Texts, copies: int, guidance: float | None
    ) -> None:
        self._graphs, self._guidance = graphs, guidance
        self._shape = (len(ids), ids.shape[1], copies)
        self._ids = np.repeat(ids, copies, axis=0)
        self._pattern = np.repeat(pattern, copies, axis=0)
        self._texts = texts.repeated(copies)
        if guidance is not None:
            self._texts = self._texts.guided()
        self._states = DeviceArray.of(self._texts.states, graphs.steps.device)
        self._own: dict[str, DeviceArray] = {}
        self._cross: dict[str, DeviceArray] = {}
        self._length = 0
        self._binding = Binding(graphs.steps)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        texts, codebooks, copies = self._shape
        return int(texts * codebooks * copies)

    def prefill(self) -> Array:
        """float32 (rows, vocabulary): the guided logits after the codes so far."""
        graphs, rows = self._graphs, len(self._texts.mask)
        self._own = graphs.buffers(graphs.own, rows, 0)
        self._cross = graphs.buffers(graphs.cross, rows, self._texts.mask.shape[1])
        present = {graphs.cross[name]: value for name, value in self._cross.items()}
        binding = self._binding if graphs.first is graphs.steps else Binding(graphs.first)
        logits = self._run(binding, self._ids, graphs.buffers(graphs.cross, rows, 0), present, cached=False)
        if binding is self._binding:
            self._binding = Binding(graphs.steps)  # without the outputs that only the first run has
        return logits[:, -1]

    def step(self, tokens: Array, keep: int = 1) -> Array:
        """Appends `tokens`, int64 (rows, n), where the delays leave the choice; gives the guided logits of the last
        `keep`, float32 (rows, keep, vocabulary)."""
        texts, codebooks, copies = self._shape
        codes = tokens.reshape(texts, codebooks, copies, -1).swapaxes(1, 2).reshape(texts * copies, codebooks, -1)
        given = self._pattern[:, :, self._length : self._length + codes.shape[2]]
        codes = np.where(given == OPEN, codes, given)
        return self._run(self._binding, codes, self._cross, {}, cached=True)[:, -keep:]

    def reorder(self, rows: Array) -> None:
        """Rows of a piece belong together, so none can leave or change its place.

        Raises:
            UnsupportedError: one should.
        """
        if not np.array_equal(rows, np.arange(self.rows)):
            raise UnsupportedError("the codebooks of a piece of music cannot be taken apart: leave beams and ends out")

    def crop(self, count: int) -> None:
        """Forgets the last `count` codes of every row."""
        self._length -= count
        every, length = np.arange(len(self._texts.mask)), self._length
        self._own = {name: cache.take(every, length=length, room=length) for name, cache in self._own.items()}

    def _run(
        self,
        binding: Binding,
        codes: Array,
        cross: dict[str, DeviceArray],
        present: dict[str, DeviceArray],
        *,
        cached: bool,
    ) -> Array:
        """The guided logits, float32 (rows, n, vocabulary), of int64 (texts * copies, codebooks, n)."""
        graphs = self._graphs
        length = self._length + codes.shape[2]
        own = graphs.buffers(graphs.own, len(self._texts.mask), length)
        tokens = codes.reshape(-1, codes.shape[2])
        if self._guidance is not None:
            tokens = np.concatenate([tokens, tokens])
        known = (graphs.steps if cached else graphs.first).inputs
        feeds: dict[str, Any] = {"encoder_hidden_states": self._states, **self._own, **cross}
        feeds = {name: value for name, value in feeds.items() if name in known}
        feeds |= graphs.feeds(np.ascontiguousarray(tokens), self._texts.mask, cached=cached)
        place = binding.buffer("logits", tokens.shape)
        outputs = {"logits": place, **{graphs.own[name]: value for name, value in own.items()}, **present}
        found = binding.run(feeds, outputs)
        self._own, self._length = own, length
        return self._by_row(self._guided(found["logits"] if place is None else place.numpy()))

    def _guided(self, logits: Array) -> Array:
        if self._guidance is None:
            return logits
        with_text, without = np.split(logits, 2)
        return np.asarray(without + (with_text - without) * np.float32(self._guidance))

    def _by_row(self, logits: Array) -> Array:
        """From the graph's order (texts, copies, codebooks) to that of rows."""
        texts, codebooks, copies = self._shape
        split = logits.reshape(texts, copies, codebooks, *logits.shape[1:])
        return split.swapaxes(1, 2).reshape(-1, *logits.shape[1:])
