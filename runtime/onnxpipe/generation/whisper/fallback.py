"""Trying again: a text that repeats itself, or that the model does not believe, is drawn at a higher temperature."""

from __future__ import annotations

import math
import zlib

import numpy as np

from onnxpipe.generation.numerics import softmax
from onnxpipe.generation.protocols import Array
from onnxpipe.generation.whisper.protocols import Listener
from onnxpipe.generation.whisper.settings import Settings
from onnxpipe.generation.whisper.start import next_logits
from onnxpipe.generation.whisper.writing import Batch, Extras, Written, write

#: Below this temperature a text is sure enough to go before the next window's.
_SURE = 0.5


def write_or_skip(
    model: Listener, settings: Settings, extras: Extras, batch: Batch, limit: int, start: int
) -> list[tuple[Written, bool]]:
    """Each window's text at the first temperature that gives a good one, else at the last; and whether it is silence.

    A window is judged by itself alone: transformers, which mixes up the windows of a batch here, finds the same where
    there is one recording.

    Args:
        model: the model.
        settings: the call.
        extras: what the caller adds.
        batch: the windows.
        limit: most tokens of a row, prompt included.
        start: where in the prompt the start token stands.
    """
    silence = _silence(model, settings, batch, start)
    found: list[Written | None] = [None] * len(batch.rows)
    skipped = [False] * len(found)
    left = np.arange(len(found))
    for temperature in settings.temperatures:
        again = []
        some = batch if len(left) == len(found) else batch.of(left)
        for place, written in zip(left.tolist(), write(model, settings, extras, some, temperature, limit), strict=True):
            found[place] = written
            skipped[place] = _doubted(written, settings) and silence[place]
            if not skipped[place] and (_doubted(written, settings) or _repeats(written, settings, model)):
                again.append(place)
        left = np.array(again, np.int64)
        if not again:
            break
    return [(written, skip) for written, skip in zip(found, skipped, strict=True) if written is not None]


def is_sure(written: Written) -> bool:
    """Whether a text may go before the next window's."""
    return written.temperature < _SURE


def compression_ratio(tokens: Array, vocabulary: int) -> float:
    """Bytes of int64 (n,) tokens over those that zlib makes of them: high where they repeat themselves.

    A token has as many bytes, the lowest first, as the vocabulary's size needs.
    """
    width = int(math.log2(vocabulary) / 8) + 1
    plain = b"".join(int(token).to_bytes(width, "little") for token in tokens)
    return len(plain) / len(zlib.compress(plain))


def _silence(model: Listener, settings: Settings, batch: Batch, start: int) -> list[bool]:
    """Whether the model thinks that nobody speaks in a window: what it gives the token for that after the start."""
    threshold = settings.no_speech_threshold
    if threshold is None:
        return [False] * len(batch.rows)
    logits = next_logits(model, batch.prompt[:, : start + 1], batch.heard)
    # The token before that of no timestamps: "<|nospeech|>", of older models "<|nocaptions|>".
    return [bool(chance > threshold) for chance in softmax(logits)[:, settings.timestamp_begin - 2]]


def _doubted(written: Written, settings: Settings) -> bool:
    threshold = settings.logprob_threshold
    return threshold is not None and written.average is not None and written.average < threshold


def _repeats(written: Written, settings: Settings, model: Listener) -> bool:
    threshold = settings.compression_ratio_threshold
    vocabulary = int(model.config.get("vocab_size") or model.vocab_size)
    return threshold is not None and compression_ratio(written.complete, vocabulary) > threshold
