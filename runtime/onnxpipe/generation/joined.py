"""Decode requests together that come and go: each joins when there is room, and leaves when it ends.

A row's tokens are those that it has alone: its processors, criteria and random numbers are its own, and the model's
arithmetic for a row does not depend on the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from onnxpipe.generation.protocols import Array, Decoder
from onnxpipe.generation.request import DecodingRequest, SearchResult
from onnxpipe.generation.sample import Writing
from onnxpipe.processing.arrays import check_numbers


class SlotDecoder(Protocol):
    """A decoder whose rows come and go."""

    def admit(self, alone: Decoder) -> Array:
        """Run the prompt of a decoder of one row, which becomes the last row here: float32 (1, vocab)."""
        ...

    def step(self, tokens: Array) -> Array:
        """Append int64 (rows, 1): float32 (rows, vocab)."""
        ...

    def leave(self, row: int) -> None:
        """Drop a row; the last one takes its place."""
        ...


@dataclass
class Finished:
    """A request that left.

    Attributes:
        key: what it joined with.
        result: its tokens; None if it failed.
        error: why it failed.
    """

    key: object
    result: SearchResult | None = None
    error: Exception | None = None


@dataclass
class _Member:
    key: object
    writing: Writing


class JoinedDecoding:
    """The requests that are decoded together.

    Args:
        decoder: keeps their caches; one row each, in the order of the members.
    """

    def __init__(self, decoder: SlotDecoder) -> None:
        self._decoder = decoder
        self._members: list[_Member] = []

    @property
    def active(self) -> int:
        """How many requests go on."""
        return len(self._members)

    def join(self, key: object, request: DecodingRequest) -> Finished | None:
        """Let a request of one row join; return it at once if its first token was its last.

        Args:
            key: names it when it leaves.
            request: greedy search or sampling.

        Raises:
            Exception: the prompt cannot be run; the others go on.
        """
        alone = request.model.start(request.prompt, request.inputs, copies=1, max_length=request.max_length)
        logits = self._decoder.admit(alone)
        member = _Member(key, Writing(request))
        self._members.append(member)
        return self._write(len(self._members) - 1, logits)

    def step(self) -> list[Finished]:
        """Append a token to every row; return the requests that have ended."""
        tokens = np.array([member.writing.tokens for member in self._members], np.int64)
        logits = self._decoder.step(tokens)
        found = []
        for row in reversed(range(len(self._members))):  # a row that leaves is replaced by one that was seen already
            finished = self._write(row, logits[row : row + 1])
            if finished is not None:
                found.append(finished)
        return found

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
            finished = Finished(member.key, result)
        except Exception as error:  # of this request alone: its processors, its form
            if request.streamer is not None:
                request.streamer.end()
            finished = Finished(member.key, error=error)
        self._decoder.leave(row)
        last = self._members.pop()
        if row < len(self._members):
            self._members[row] = last
        return finished
