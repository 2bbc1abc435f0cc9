"""Greedy search and sampling: one token per row and step."""

from __future__ import annotations

import numpy as np

from onnxpipe.generation.protocols import Array, Decoder
from onnxpipe.generation.request import DecodingRequest, SearchResult, StepRecord
from onnxpipe.generation.seed import RowStreams
from onnxpipe.generation.token_buffer import TokenBuffer

#: From so many rows on, finished rows are dropped from the decoder when they are at least half of it.
_WORTH_DROPPING = 4


def sample(request: DecodingRequest) -> SearchResult:
    """Decode by greedy search, or by sampling with `do_sample`."""
    decoder, writing = request.start(), Writing(request)
    logits = decoder.prefill()
    while writing.write(logits):
        if writing.pads and not writing.record.any:
            writing.decoded = _drop(decoder, writing.decoded, writing.unfinished)
        logits = decoder.step(writing.tokens[writing.decoded, None])[:, 0]
    return writing.result()


class Writing:
    """The rows of one request while they are written: their tokens, random numbers, and which of them have ended.

    Args:
        request: what is asked for.

    Attributes:
        rows: the tokens so far.
        record: the steps' scores.
        tokens: int64 (rows,): those that were written last.
        unfinished: bool (rows,).
        decoded: int64: the rows that the decoder still has.
        pads: whether rows that ended are filled up. Only an end token does that; rows stopped by other criteria
            continue with the batch.
    """

    def __init__(self, request: DecodingRequest) -> None:
        self.request = request
        self.rows = TokenBuffer(request.expanded, request.max_length)
        self.record = StepRecord.of(request.config)
        self.pads = any(hasattr(criterion, "eos_token_id") for criterion in request.criteria)
        self.unfinished = np.ones(request.rows, bool)
        self.decoded = np.arange(request.rows)
        self.tokens = np.zeros(request.rows, np.int64)

    def write(self, logits: Array) -> bool:
        """Choose a token for each row; return whether any row goes on.

        Args:
            logits: float32 (decoded rows, vocab), of the decoder's last step.
        """
        request, decoded = self.request, self.decoded
        scores = _processed(request, self.rows.ids, logits, decoded)
        self.record.add(scores, logits)
        wanted = decoded if request.streams is None else decoded[self.unfinished[decoded] | (not self.pads)]
        tokens = choose(scores, request.streams, wanted, decoded)
        if len(decoded) < request.rows:
            every = np.zeros(request.rows, np.int64)
            every[decoded] = tokens
            tokens = every
        if self.pads:
            tokens = np.where(self.unfinished, tokens, request.pad or 0)
        self.tokens = tokens
        self.rows.append(tokens)
        self.unfinished = self.unfinished & ~request.criteria(self.rows.ids, self.record.so_far())
        if request.streamer is not None:
            request.streamer.put(tokens)
        return bool(self.unfinished.any())

    def going_on(self) -> Array:
        """Return the rows of `decoded` whose tokens are still wanted; all where the record has a score for each."""
        if not self.pads or self.record.any:
            return self.decoded
        return self.decoded[self.unfinished[self.decoded]]

    def result(self) -> SearchResult:
        """End the request: its sequences, and the record of its steps."""
        if self.request.streamer is not None:
            self.request.streamer.end()
        return SearchResult(self.rows.ids, self.record)


def choose(scores: Array, streams: RowStreams | None, wanted: Array, decoded: Array) -> Array:
    """Choose the next token of each row: int64 (rows,).

    Args:
        scores: float32 (rows, vocab).
        streams: random numbers to sample with; None: the best, of equals the first.
        wanted: row numbers that need a token; the others get 0.
        decoded: the number of each row of `scores`.
    """
    if streams is None:
        best: Array = scores.argmax(-1)
        return best
    tokens = np.zeros(len(decoded), np.int64)
    needed = set(wanted.tolist())
    for place, row in enumerate(decoded.tolist()):
        if row in needed:
            tokens[place] = streams.draw(row, scores[place])
    return tokens


def _processed(request: DecodingRequest, ids: Array, logits: Array, decoded: Array) -> Array:
    """Process the scores of the rows that the decoder has."""
    if not request.processors:
        return logits
    if len(decoded) == len(ids):
        return request.processors(ids, logits)
    if request.any_rows:
        return request.processors(ids[decoded], logits)
    # Some processors identify rows by their number: pass all rows, the dropped ones with meaningless scores.
    every = np.full((len(ids), logits.shape[-1]), 0, logits.dtype)
    every[decoded] = logits
    return request.processors(ids, every)[decoded]


def _drop(decoder: Decoder, decoded: Array, unfinished: Array) -> Array:
    """Drop finished rows from the decoder if that at least halves its work; gives the rows that stay."""
    if len(decoded) < _WORTH_DROPPING:
        return decoded
    kept = np.flatnonzero(unfinished[decoded])
    if 2 * kept.size > len(decoded):
        return decoded
    decoder.reorder(kept)
    return decoded[kept]
