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

    def admit(self, run: Any) -> None:
        """Make the row of a prompt that has been run the last row here."""
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


@dataclass
class _Member:
    key: object
    owner: Hashable
    run: PartialPrompt
    writing: Writing
    prompt: Array = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def tokens(self) -> Array:
        """All its tokens: the prompt without padding, and what was written."""
        request = self.writing.request
        return np.concatenate([self.prompt, self.writing.rows.ids[0, request.prompt.shape[1] :]])


class JoinedDecoding:
    """The requests that are decoded together.

    Args:
        decoder: keeps their caches; one row each, in the order of the members.
    """

    def __init__(self, decoder: SlotDecoder) -> None:
        self._decoder = decoder
        self._arriving: list[_Member] = []  # whose prompts are being run
        self._members: list[_Member] = []

    @property
    def active(self) -> int:
        """How many requests go on."""
        return len(self._members) + len(self._arriving)

    def join(self, key: object, request: DecodingRequest, owner: Hashable = None) -> None:
        """Let a request of one row join.

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
        if self._members:
            tokens = np.array([member.writing.tokens for member in self._members], np.int64)
            logits = self._decoder.step(tokens)
            rows = reversed(range(len(self._members)))  # whatever takes a row's place was seen already
            found += [self._write(row, logits[row : row + 1]) for row in rows]
        if self._arriving:
            found.append(self._prepare(self._arriving[0]))
        return [each for each in found if each is not None]

    def _prepare(self, member: _Member) -> Finished | None:
        """Run a piece of a prompt; once it is done, its row joins the others."""
        try:
            logits = member.run.advance()
        except Exception as error:  # of this prompt alone
            self._arriving.remove(member)
            return _failed(member, error)
        if logits is None:
            return None
        self._arriving.remove(member)
        self._decoder.admit(member.run)
        self._members.append(member)
        return self._write(len(self._members) - 1, logits)

    def _write(self, row: int, logits: Array) -> Finished | None:
        member = self._members[row]
        request = member.writing.request
        try:
            if not request.config.remove_invalid_values:
                check_numbers("logits", logits)
            if member.writing.write(logits):
                return None
            result = member.writing.result()
            request.check_finished(result)
            finished = Finished(member.key, member.run.cached, result)
        except Exception as error:  # of this request alone: its processors, its form
            finished = _failed(member, error)
        self._decoder.leave(row, member.tokens, member.owner)
        last = self._members.pop()
        if row < len(self._members):
            self._members[row] = last
        return finished


def _failed(member: _Member, error: Exception) -> Finished:
    streamer = member.writing.request.streamer
    if streamer is not None:
        streamer.end()
    return Finished(member.key, error=error)
