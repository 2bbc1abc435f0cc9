"""The input and the output of a search: `DecodingRequest` and `SearchResult`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from onnxpipe.generation.config import GenerationConfig
from onnxpipe.generation.processors import LogitsProcessorList
from onnxpipe.generation.protocols import Array, Decoder, GenerationModel, Streamer
from onnxpipe.generation.seed import RowStreams
from onnxpipe.generation.stopping import StoppingCriteriaList
from onnxpipe.processing.arrays import check_numbers


@dataclass(frozen=True)
class DecodingRequest:
    """One call to `generate`, ready to be decoded.

    Attributes:
        model: the model.
        config: every parameter, defaults filled in, lengths in tokens of the whole row.
        prompt: int64 (prompts, length): the decoder's first tokens.
        inputs: the model's other arguments.
        copies: rows per prompt.
        eos: int64 (n,): the end tokens, or None.
        pad: the token that fills finished rows, or None.
        processors: applied to the scores of all rows.
        criteria: decide when rows stop.
        streams: the rows' random numbers; None without sampling.
        streamer: takes tokens as they are generated, or None.
        max_length: most tokens of a row.
    """

    model: GenerationModel
    config: GenerationConfig
    prompt: Array
    inputs: Mapping[str, Any]
    copies: int
    eos: Array | None
    pad: int | None
    processors: LogitsProcessorList
    criteria: StoppingCriteriaList
    streams: RowStreams | None
    streamer: Streamer | None
    max_length: int

    @property
    def prompts(self) -> int:
        """Number of prompts."""
        return len(self.prompt)

    @property
    def rows(self) -> int:
        """Number of rows that are decoded."""
        return self.prompts * self.copies

    @property
    def expanded(self) -> Array:
        """int64 (rows, length): each prompt once per row."""
        return np.repeat(self.prompt, self.copies, axis=0)

    @property
    def any_rows(self) -> bool:
        """Whether the processors can be called with some of the rows only."""
        return all(getattr(one, "any_rows", False) for one in self.processors)

    def check_finished(self, result: SearchResult) -> None:
        """Let processors say that a text ended before it had the form that they hold it to."""
        for processor in self.processors:
            check = getattr(processor, "check_finished", None)
            if check is not None:
                check(result.sequences)

    def start(self, *, copies: int | None = None, hidden: bool = False) -> Decoder:
        """Make a decoder of all prompts, with `copies` rows each.

        Args:
            copies: rows a prompt; None for those of the request.
            hidden: whether its `hidden` is wanted.
        """
        decoder = self.model.start(
            self.prompt,
            self.inputs,
            copies=self.copies if copies is None else copies,
            max_length=self.max_length,
            hidden=hidden,
        )
        if self.config.remove_invalid_values:
            return decoder
        return cast("Decoder", NumbersOnly(decoder))


class NumbersOnly:
    """A decoder whose logits are checked: NaN is the largest number for a search, and its token would be chosen."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)

    def prefill(self) -> Array:
        """See `Decoder.prefill`."""
        return check_numbers("logits", self._decoder.prefill())

    def step(self, tokens: Array, keep: int = 1) -> Array:
        """See `Decoder.step`."""
        return check_numbers("logits", self._decoder.step(tokens, keep))


@dataclass
class StepRecord:
    """The scores and logits of each step, if the call returns them."""

    scores: list[Array] | None
    logits: list[Array] | None

    @classmethod
    def of(cls, config: GenerationConfig) -> StepRecord:
        """Make an empty record of what the config asks for."""
        named = bool(config.return_dict_in_generate)
        return cls([] if named and config.output_scores else None, [] if named and config.output_logits else None)

    @property
    def any(self) -> bool:
        """Whether anything is recorded."""
        return self.scores is not None or self.logits is not None

    def add(self, scores: Array, logits: Array) -> None:
        """Record one step, float32 (rows, vocab) each. It copies them, as a decoder may use its memory again."""
        if self.scores is not None:
            self.scores.append(scores.copy())
        if self.logits is not None:
            self.logits.append(logits.copy())

    def so_far(self) -> tuple[Array, ...] | None:
        """The scores so far, in the form that stopping criteria take."""
        return None if self.scores is None else tuple(self.scores)


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        sequences: int64 (rows, length).
        record: the steps' scores and logits.
        sequences_scores: float32 (rows,), with beams.
        beam_indices: int32 (rows, generated), with beams.
    """

    sequences: Array
    record: StepRecord = field(default_factory=lambda: StepRecord(None, None))
    sequences_scores: Array | None = None
    beam_indices: Array | None = None
