"""MusicGen's decoder as a model for the decoding loop: its rows are the codebooks of pieces of music."""

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
class EncodedTexts:
    """The text encoder's output for a batch.

    Attributes:
        states: float32 (texts, length, width).
        mask: int64 (texts, length): 1 for tokens.
    """

    states: Array
    mask: Array

    def guided(self) -> EncodedTexts:
        """Append as many empty texts, for guidance."""
        empty = np.zeros_like(self.states), np.zeros_like(self.mask)
        return EncodedTexts(np.concatenate([self.states, empty[0]]), np.concatenate([self.mask, empty[1]]))

    def repeated(self, copies: int) -> EncodedTexts:
        """Repeat each text, its copies one after the other."""
        return EncodedTexts(np.repeat(self.states, copies, axis=0), np.repeat(self.mask, copies, axis=0))


@dataclass
class MusicDecoder:
    """The decoder as a model for `onnxpipe.generation.generate`: its prompts are the codebooks of texts.

    Attributes:
        graphs: the decoder.
        config: its config.
        name_or_path: what the user called the model.
        texts: the encoded texts.
        start_codes: int64 (texts, codebooks, length): the start token, and the codes to continue.
        channels: 1, or 2 for stereo.
        guidance: see `CodesDecoder`.
    """

    graphs: Seq2SeqGraphs
    config: Config
    name_or_path: str
    texts: EncodedTexts
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

    @property
    def threads(self) -> int:
        """Threads of an operator."""
        return self.graphs.steps.threads

    def first(self, max_length: int) -> Array:
        """Make the prompt, int64 (texts * codebooks, length): the first codes, delayed."""
        _, codebooks, length = self.start_codes.shape
        delayed = is_delayed(max_length, codebooks, self.channels)
        codes = self._pattern(max_length)[:, :, :length] if delayed else self.start_codes
        return codes.reshape(-1, length)

    def start(
        self, prompt: Array, inputs: Mapping[str, Any], *, copies: int = 1, max_length: int, hidden: bool = False
    ) -> CodesDecoder:
        """Begin a decoding; see `onnxpipe.generation.protocols.GenerationModel`."""
        ids = prompt.reshape(*self.start_codes.shape[:2], -1)
        return CodesDecoder(self.graphs, ids, self._pattern(max_length), self.texts, copies, self.guidance)

    def codes(self, ids: Array, max_length: int) -> Array:
        """Take the codes of each piece, int64 (pieces, codebooks, frames), from the rows that `generate` gives."""
        texts, codebooks = self.start_codes.shape[:2]
        split = ids.reshape(texts, codebooks, -1, ids.shape[1])  # a codebook's copies are adjacent
        pattern = self._pattern(max_length)[:, :, None, : ids.shape[1]]
        split = np.where(pattern < 0, split, pattern).swapaxes(1, 2)
        pieces = split.reshape(-1, codebooks, ids.shape[1])
        return undelayed(pieces, max_length, self.channels)

    def _pattern(self, max_length: int) -> Array:
        start = int(self.start_codes[0, 0, 0])
        return delay_pattern(self.start_codes, max_length, self.channels, start)


class CodesDecoder:
    """Rows of codes, one for each text, codebook and copy in this order; the graph sees a copy's codebooks together.

    Implements `onnxpipe.generation.protocols.Decoder`. Guidance (Ho and Salimans 2022) is done here: the graph runs for
    every text and for an empty one, and the caller gets the guided logits.

    Args:
        graphs: the decoder.
        ids: int64 (texts, codebooks, length): the codes so far, delayed.
        pattern: int64 (texts, codebooks, max_length): from `onnxpipe.generation.codebooks.delay_pattern`.
        texts: the encoded texts.
        copies: pieces of music per text.
        guidance: the factor by which the text's effect on the logits is scaled; None for no guidance.
    """

    hidden: Array | None = None

    def __init__(
        self,
        graphs: Seq2SeqGraphs,
        ids: Array,
        pattern: Array,
        texts: EncodedTexts,
        copies: int,
        guidance: float | None,
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
        """Number of rows."""
        texts, codebooks, copies = self._shape
        return int(texts * codebooks * copies)

    def prefill(self) -> Array:
        """Run the codes so far; gives the guided logits after them, float32 (rows, vocabulary)."""
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
        """Append `tokens`, int64 (rows, n), where the delays do not fix a code; gives the guided logits of the last
        `keep`, float32 (rows, keep, vocabulary)."""
        texts, codebooks, copies = self._shape
        codes = tokens.reshape(texts, codebooks, copies, -1).swapaxes(1, 2).reshape(texts * copies, codebooks, -1)
        pattern = self._pattern[:, :, self._length : self._length + codes.shape[2]]
        codes = np.where(pattern == OPEN, codes, pattern)
        return self._run(self._binding, codes, self._cross, {}, cached=True)[:, -keep:]

    def reorder(self, rows: Array) -> None:
        """Refuse any other order: the rows of a piece belong together, so none can leave or change its place.

        Raises:
            UnsupportedError: `rows` is another order.
        """
        if not np.array_equal(rows, np.arange(self.rows)):
            raise UnsupportedError(
                "the codebooks of a piece of music belong together: leave beam search and end tokens out"
            )

    def crop(self, count: int) -> None:
        """Forget the last `count` codes of every row."""
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
        """Compute the guided logits, float32 (rows, n, vocabulary), for int64 (texts * copies, codebooks, n)."""
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
        results = binding.run(feeds, outputs)
        self._own, self._length = own, length
        return self._by_row(self._guided(results["logits"] if place is None else place.numpy()))

    def _guided(self, logits: Array) -> Array:
        if self._guidance is None:
            return logits
        with_text, without = np.split(logits, 2)
        return np.asarray(without + (with_text - without) * np.float32(self._guidance))

    def _by_row(self, logits: Array) -> Array:
        """Reorder the graph's rows (texts, copies, codebooks) to the caller's (texts, codebooks, copies)."""
        texts, codebooks, copies = self._shape
        split = logits.reshape(texts, copies, codebooks, *logits.shape[1:])
        return split.swapaxes(1, 2).reshape(-1, *logits.shape[1:])
