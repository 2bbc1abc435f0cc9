"""Decode requests together that come and go: each joins when there is room, and leaves when it ends.

A row's tokens are those that it has alone: its processors, criteria and random numbers are its own, and the model's
arithmetic for a row does not depend on the others. A long prompt is run piece by piece, between the steps of the rows
that are being written.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from onnxpipe.generation.protocols import Array
from onnxpipe.generation.request import DecodingRequest, SearchResult
from onnxpipe.generation.sample import Writing
from onnxpipe.processing.arrays import check_numbers


class PartialPrompt(Protocol):
    """A prompt while it is run."""

    @property
    def cached(self) -> int:
        """Tokens that need not be run, as they were run before."""
        ...

    def advance(self) -> Array | None:
        """Run the next piece; return the logits after the prompt, float32 (1, vocab), once it is done."""
        ...


class SlotDecoder(Protocol):
    """A decoder whose rows come and go."""

    def begin(self, tokens: Array, max_length: int, owner: Hashable = None) -> PartialPrompt:
        """Begin the run of a prompt, int64 (length,)."""
        ...

    def admit(self, run: Any, copies: int = 1) -> None:
        """Make the row of a prompt that has been run the last rows here: as many as the prompt has texts."""
        ...

    def step(self, tokens: Array) -> Array:
        """Append int64 (rows, 1): float32 (rows, vocab)."""
        ...

    def leave(self, row: int, tokens: Array, owner: Hashable = None) -> None:
        """Drop a row, whose tokens these are; the last one takes its place."""
        ...


@dataclass
class Finished:
    """A request that left.

    Attributes:
        key: what it joined with.
        cached: tokens of its prompt that were not run again.
        result: its tokens; None if it failed.
        error: why it failed.
    """

    key: object
    cached: int = 0
    result: SearchResult | None = None
    error: Exception | None = None


@dataclass(eq=False)
class _Member:
    key: object
    owner: Hashable
    run: PartialPrompt
    writing: Writing
    prompt: Array = field(default_factory=lambda: np.zeros(0, np.int64))

    def tokens(self, row: int) -> Array:
        """All tokens of a row: the prompt without padding, and what was written."""
        request = self.writing.request
        return np.concatenate([self.prompt, self.writing.rows.ids[row, request.prompt.shape[1] :]])


class JoinedDecoding:
    """The requests that are decoded together.

    Args:
        decoder: keeps the caches of their rows.
    """

    def __init__(self, decoder: SlotDecoder) -> None:
        self._decoder = decoder
        self._arriving: list[_Member] = []  # whose prompts are being run
        self._members: list[_Member] = []
        self._rows: list[tuple[_Member, int]] = []  # for each row of the decoder, whose it is, and which of its rows

    @property
    def active(self) -> int:
        """How many requests go on."""
        return len(self._members) + len(self._arriving)

    def join(self, key: object, request: DecodingRequest, owner: Hashable = None) -> None:
        """Let a request of one prompt join; its rows are the copies of that prompt, which is run once.

        Args:
            key: names it when it leaves.
            request: greedy search or sampling.
            owner: whose it is.
        """
        model: Any = request.model
        prompt = model.prompt_of(request.prompt, request.inputs)
        run = self._decoder.begin(prompt, request.max_length, owner)
        self._arriving.append(_Member(key, owner, run, Writing(request), prompt))

    def step(self) -> list[Finished]:
        """Append a token to every row, and run a piece of the next prompt; return the requests that have ended."""
        found: list[Finished | None] = []
        if self._rows:
            tokens = np.array([[member.writing.tokens[row]] for member, row in self._rows], np.int64)
            logits = self._decoder.step(tokens)
            places: dict[_Member, list[int]] = {}
            for place, (member, _) in enumerate(self._rows):
                places.setdefault(member, []).append(place)
            found += [self._write(member, _rows(logits, own)) for member, own in self._sorted(places)]
        if self._arriving:
            found.append(self._prepare(self._arriving[0]))
        self._drop()
        return [each for each in found if each is not None]

    def _sorted(self, places: dict[_Member, list[int]]) -> list[tuple[_Member, list[int]]]:
        """Put each member's rows in the order in which it counts them: others' rows moved into holes."""
        return [(member, sorted(own, key=lambda place: self._rows[place][1])) for member, own in places.items()]

    def _prepare(self, member: _Member) -> Finished | None:
        """Run a piece of a prompt; once it is done, its rows join the others."""
        try:
            logits = member.run.advance()
        except Exception as error:  # of this prompt alone
            self._arriving.remove(member)
            return _failed(member, error)
        if logits is None:
            return None
        copies = member.writing.request.copies
        self._arriving.remove(member)
        self._decoder.admit(member.run, copies)
        self._members.append(member)
        self._rows += [(member, row) for row in range(copies)]
        return self._write(member, np.repeat(logits, copies, axis=0))

    def _write(self, member: _Member, logits: Array) -> Finished | None:
        request = member.writing.request
        try:
            if not request.config.remove_invalid_values:
                check_numbers("logits", logits)
            if member.writing.write(logits):
                member.writing.decoded = member.writing.going_on()
                return None
            result = member.writing.result()
            request.check_finished(result)
            finished = Finished(member.key, member.run.cached, result)
        except Exception as error:  # of this request alone: its processors, its form
            finished = _failed(member, error)
        self._members.remove(member)
        member.writing.decoded = np.zeros(0, np.int64)
        return finished

    def _drop(self) -> None:
        """Let the decoder drop the rows that have ended, from the last one on: the last one takes a row's place."""
        for place in reversed(range(len(self._rows))):
            member, row = self._rows[place]
            if row in member.writing.decoded:
                continue
            self._decoder.leave(place, member.tokens(row), member.owner)
            last = self._rows.pop()
            if place < len(self._rows):
                self._rows[place] = last


def _rows(logits: Array, places: list[int]) -> Array:
    """Take some rows of logits, without a copy where it is one."""
    return logits[places[0] : places[0] + 1] if len(places) == 1 else logits[places]


def _failed(member: _Member, error: Exception) -> Finished:
    streamer = member.writing.request.streamer
    if streamer is not None:
        streamer.end()
    return Finished(member.key, error=error)
