"""The rules of Whisper's timestamps: in pairs around the text, never back in time."""

from __future__ import annotations

import math

import numpy as np

from onnxpipe.generation.processors import LogitsProcessor
from onnxpipe.generation.protocols import Array
from onnxpipe.generation.whisper.likelihood import log_sum


class WhisperTimeStampLogitsProcessor(LogitsProcessor):
    """Keeps timestamps in order (Radford et al. 2022; transformers' class of this name).

    - the token for "no timestamps" is never generated;
    - after two timestamps text follows; after text and one timestamp, a timestamp or the end;
    - a timestamp is later than the last one, or equal to it if it begins a segment;
    - the first token is a timestamp, of at most `max_initial_timestamp_index`;
    - if all timestamps together are likelier than any text token, a timestamp is generated.

    Args:
        no_timestamps_token_id: the token for "no timestamps"; all tokens after it are timestamps.
        eos_token_id: the end token; all tokens before it are text.
        begin_index: tokens of the prompt.
        max_initial_timestamp_index: the latest step of the first timestamp; None for any.
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
        generated = input_ids[:, self.begin_index :]
        if generated.shape[1]:
            self._order(generated, out)
        else:
            out[:, :begin] = -math.inf
            if self.max_initial_timestamp_index is not None:
                out[:, begin + self.max_initial_timestamp_index + 1 :] = -math.inf
        out[log_sum(out[:, begin:]) > out[:, :begin].max(-1), :begin] = -math.inf
        return out

    def _order(self, generated: Array, out: Array) -> None:
        """Set tokens in `out` that must not follow int64 (rows, length >= 1) to -inf."""
        begin = self.timestamp_begin
        stamps = generated >= begin
        last = stamps[:, -1]
        before = stamps[:, -2] if generated.shape[1] > 1 else np.ones(len(generated), bool)
        out[last & before, begin:] = -math.inf
        opens = last & ~before
        out[opens, : self.eos_token_id] = -math.inf
        place = generated.shape[1] - 1 - stamps[:, ::-1].argmax(-1)  # of the last timestamp
        latest = generated[np.arange(len(generated)), place]
        bound = np.where(stamps.any(-1), latest + 1 - opens, begin)
        for row in np.flatnonzero(bound > begin).tolist():
            out[row, begin : bound[row]] = -math.inf
