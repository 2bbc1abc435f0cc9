"""Temperature fallback: a text that repeats itself or that is unlikely is decoded again at a higher temperature."""

from __future__ import annotations

import math
import zlib

import numpy as np

from onnxpipe.generation.numerics import softmax
from onnxpipe.generation.protocols import Array
from onnxpipe.generation.whisper.decoding import DecodedWindow, Extras, WindowBatch, decode_windows
from onnxpipe.generation.whisper.prompt import next_logits
from onnxpipe.generation.whisper.protocols import WhisperModel
from onnxpipe.generation.whisper.settings import WhisperSettings

#: Below this temperature a text is reliable enough to go before the next window's.
_SURE = 0.5


def decode_with_fallback(
    model: WhisperModel, settings: WhisperSettings, extras: Extras, batch: WindowBatch, limit: int, start: int
) -> list[tuple[DecodedWindow, bool]]:
    """Decode each window at the first temperature that gives a good text, else at the last; tells if it is silence.

    A window is judged by itself alone: transformers, which mixes up the windows of a batch here, gives the same for one
    recording.

    Args:
        model: the model.
        settings: the call.
        extras: the caller's additions.
        batch: the windows.
        limit: most tokens of a row, prompt included.
        start: position of the start token in the prompt.
    """
    silence = _silence(model, settings, batch, start)
    results: list[DecodedWindow | None] = [None] * len(batch.rows)
    skipped = [False] * len(results)
    left = np.arange(len(results))
    for temperature in settings.temperatures:
        again = []
        some = batch if len(left) == len(results) else batch.of(left)
        windows = decode_windows(model, settings, extras, some, temperature, limit)
        for place, decoded in zip(left.tolist(), windows, strict=True):
            results[place] = decoded
            skipped[place] = _is_unlikely(decoded, settings) and silence[place]
            if not skipped[place] and (_is_unlikely(decoded, settings) or _repeats(decoded, settings, model)):
                again.append(place)
        left = np.array(again, np.int64)
        if not again:
            break
    return [(decoded, skip) for decoded, skip in zip(results, skipped, strict=True) if decoded is not None]


def is_sure(decoded: DecodedWindow) -> bool:
    """Whether a text may go before the next window's."""
    return decoded.temperature < _SURE


def compression_ratio(tokens: Array, vocabulary: int) -> float:
    """Divide the bytes of int64 (n,) tokens by those after zlib's compression: high where they repeat themselves.

    A token has as many bytes, the lowest first, as the vocabulary's size needs.
    """
    width = int(math.log2(vocabulary) / 8) + 1
    plain = b"".join(int(token).to_bytes(width, "little") for token in tokens)
    return len(plain) / len(zlib.compress(plain))


def _silence(model: WhisperModel, settings: WhisperSettings, batch: WindowBatch, start: int) -> list[bool]:
    """Whether there is no speech in each window: the model's probability of the token that says so after the start."""
    threshold = settings.no_speech_threshold
    if threshold is None:
        return [False] * len(batch.rows)
    logits = next_logits(model, batch.prompt[:, : start + 1], batch.encoded)
    # The token before that of no timestamps: "<|nospeech|>", of older models "<|nocaptions|>".
    return [bool(chance > threshold) for chance in softmax(logits)[:, settings.timestamp_begin - 2]]


def _is_unlikely(decoded: DecodedWindow, settings: WhisperSettings) -> bool:
    threshold = settings.logprob_threshold
    return threshold is not None and decoded.average is not None and decoded.average < threshold


def _repeats(decoded: DecodedWindow, settings: WhisperSettings, model: WhisperModel) -> bool:
    threshold = settings.compression_ratio_threshold
    vocabulary = int(model.config.get("vocab_size") or model.vocab_size)
    return threshold is not None and compression_ratio(decoded.complete, vocabulary) > threshold
