"""The rules by which Whisper writes timestamps: in pairs around what is said, never back in time."""

from __future__ import annotations

import math

import numpy as np

from onnxpipe.generation.processors import LogitsProcessor
from onnxpipe.generation.protocols import Array
from onnxpipe.generation.whisper.likelihood import log_sum


class WhisperTimeStampLogitsProcessor(LogitsProcessor):
    """Keeps timestamps in order (Radford et al. 2022; transformers' class of this name).

    - never the token that says there are none;
    - after two timestamps text follows, after text and one timestamp a timestamp or the end;
    - a timestamp is later than the last one, or equal to it where it opens what follows;
    - the first token is a timestamp, of at most `max_initial_timestamp_index`;
    - where all timestamps together are likelier than any text, a timestamp.

    Args:
        no_timestamps_token_id: the token that says there are none; timestamps are all tokens after it.
        eos_token_id: the end token; text comes before it.
        begin_index: tokens of the prompt.
        max_initial_timestamp_index: how late the first timestamp may be, in steps; None for any.
    """

    any_rows = True
    only_adds = True

    def __init__(
        self,
        no_timestamps_token_id: int,
        eos_token_id: int,
        begin_index: int,
        max_initial_timestamp_index: int | None = None,
    ) -> None:
        self.no_timestamps_token_id = no_timestamps_token_id
        self.timestamp_begin = no_timestamps_token_id + 1
        self.eos_token_id = eos_token_id
        self.begin_index = begin_index
        self.max_initial_timestamp_index = max_initial_timestamp_index

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        begin, out = self.timestamp_begin, scores.copy()
        out[:, self.no_timestamps_token_id] = -math.inf
        written = input_ids[:, self.begin_index :]
        if written.shape[1]:
            self._order(written, out)
        else:
            out[:, :begin] = -math.inf
            if self.max_initial_timestamp_index is not None:
                out[:, begin + self.max_initial_timestamp_index + 1 :] = -math.inf
        out[log_sum(out[:, begin:]) > out[:, :begin].max(-1), :begin] = -math.inf
        return out

    def _order(self, written: Array, out: Array) -> None:
        """What may not follow int64 (rows, length >= 1) becomes -inf in `out`."""
        begin = self.timestamp_begin
        stamps = written >= begin
        last = stamps[:, -1]
        before = stamps[:, -2] if written.shape[1] > 1 else np.ones(len(written), bool)
        out[last & before, begin:] = -math.inf
        opens = last & ~before
        out[opens, : self.eos_token_id] = -math.inf
        place = written.shape[1] - 1 - stamps[:, ::-1].argmax(-1)  # of the last timestamp
        latest = written[np.arange(len(written)), place]
        bound = np.where(stamps.any(-1), latest + 1 - opens, begin)
        for row in np.flatnonzero(bound > begin).tolist():
            out[row, begin : bound[row]] = -math.inf
