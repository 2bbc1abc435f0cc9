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
    decoder = request.start()
    rows, record = TokenBuffer(request.expanded, request.max_length), StepRecord.of(request.config)
    # Only an end token fills the rest of a row with padding; rows stopped by other criteria continue with the batch.
    pads = any(hasattr(criterion, "eos_token_id") for criterion in request.criteria)
    unfinished = np.ones(request.rows, bool)
    decoded = np.arange(request.rows)  # the rows that the decoder still has
    logits = decoder.prefill()
    while True:
        scores = _processed(request, rows.ids, logits, decoded)
        record.add(scores, logits)
        tokens = np.zeros(request.rows, np.int64)
        tokens[decoded] = choose(scores, request.streams, decoded[unfinished[decoded] | (not pads)], decoded)
        if pads:
            tokens = np.where(unfinished, tokens, request.pad or 0)
        rows.append(tokens)
        unfinished &= ~request.criteria(rows.ids, record.so_far())
        if request.streamer is not None:
            request.streamer.put(tokens)
        if not unfinished.any():
            break
        if pads and not record.any:
            decoded = _drop(decoder, decoded, unfinished)
        logits = decoder.step(tokens[decoded, None])[:, 0]
    if request.streamer is not None:
        request.streamer.end()
    return SearchResult(rows.ids, record)


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
