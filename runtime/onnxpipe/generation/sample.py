"""Greedy search and sampling: one token a row and step."""

from __future__ import annotations

import numpy as np

from onnxpipe.generation.protocols import Array, Decoder
from onnxpipe.generation.rows import Rows
from onnxpipe.generation.run import Found, Record, Run
from onnxpipe.generation.seed import RowStreams

#: From so many rows on, those that are finished leave the decoder when they are at least half of it.
_WORTH_DROPPING = 4


def sample(run: Run) -> Found:
    """Greedy search, or sampling where the config says `do_sample`."""
    decoder = run.start()
    rows, record = Rows(run.expanded, run.max_length), Record.of(run.config)
    # Only an end token fills the rest of a row with padding; rows stopped by other criteria go on with the batch.
    pads = any(hasattr(criterion, "eos_token_id") for criterion in run.criteria)
    unfinished = np.ones(run.rows, bool)
    decoded = np.arange(run.rows)  # the rows that the decoder still has
    logits = decoder.prefill()
    while True:
        scores = _processed(run, rows.ids, logits, decoded)
        record.add(scores, logits)
        tokens = np.zeros(run.rows, np.int64)
        tokens[decoded] = choose(scores, run.streams, decoded[unfinished[decoded] | (not pads)], decoded)
        if pads:
            tokens = np.where(unfinished, tokens, run.pad or 0)
        rows.append(tokens)
        unfinished &= ~run.criteria(rows.ids, record.so_far())
        if run.streamer is not None:
            run.streamer.put(tokens)
        if not unfinished.any():
            break
        if pads and not record.any:
            decoded = _drop(decoder, decoded, unfinished)
        logits = decoder.step(tokens[decoded, None])[:, 0]
    if run.streamer is not None:
        run.streamer.end()
    return Found(rows.ids, record)


def choose(scores: Array, streams: RowStreams | None, wanted: Array, decoded: Array) -> Array:
    """The next token of each row: int64 (rows,).

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


def _processed(run: Run, ids: Array, logits: Array, decoded: Array) -> Array:
    """The scores of the rows that the decoder has."""
    if not run.processors:
        return logits
    if len(decoded) == len(ids):
        return run.processors(ids, logits)
    if run.any_rows:
        return run.processors(ids[decoded], logits)
    # Some processors know rows by their number: give them all, the dropped ones with scores of no meaning.
    every = np.full((len(ids), logits.shape[-1]), 0, logits.dtype)
    every[decoded] = logits
    return run.processors(ids, every)[decoded]


def _drop(decoder: Decoder, decoded: Array, unfinished: Array) -> Array:
    """Takes finished rows out of the decoder where that halves its work at least; the rows that stay."""
    if len(decoded) < _WORTH_DROPPING:
        return decoded
    kept = np.flatnonzero(unfinished[decoded])
    if 2 * kept.size > len(decoded):
        return decoded
    decoder.reorder(kept)
    return decoded[kept]
