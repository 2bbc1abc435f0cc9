"""LongFeatures: Whisper's log mels of a long recording, computed where they are looked at.

Whisper's range hangs on the loudest moment of the whole recording, so it is heard twice: once for that moment, and once
more, window by window, while it is transcribed. No more than a window of it is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from onnxpipe.errors import AudioError, UnsupportedError
from onnxpipe.processing.audio.io.arrays import Array
from onnxpipe.processing.audio.io.stream import AudioStream
from onnxpipe.processing.audio.mel import SpectrogramConfig, logarithm, mel_spectrogram, too_short_error
from onnxpipe.processing.audio.whisper import WhisperFeatureExtractor, compress_range

#: Samples that are looked at together in the first hearing: half a minute.
_SAMPLES = 480_000


class LongFeatures:
    """What `extractor(audio, truncation=False, padding="longest")` gives, in windows.

    Args:
        extractor: Whisper's.
        audio: samples (n,), or a stream of them, at the extractor's rate.

    Raises:
        AudioError: a stream that is broken, or of another rate, or too little sound for a frame.
        UnsupportedError: an extractor with dither, which would be another noise at every hearing.

    Attributes:
        n_samples: of the recording.
        n_frames: of all windows together.
        n_mels: bands.
    """

    def __init__(self, extractor: WhisperFeatureExtractor, audio: Array | AudioStream) -> None:
        if extractor.dither:
            raise UnsupportedError("dither is not for recordings that are heard in parts; set dither=0.0")
        if isinstance(audio, AudioStream) and audio.sampling_rate != extractor.sampling_rate:
            raise AudioError(
                f"{audio.name} is read at {audio.sampling_rate} Hz, and the model hears {extractor.sampling_rate} Hz"
            )
        self._config = extractor.spectrogram_config
        self._audio = audio
        self.n_mels = extractor.feature_size
        self._samples = _opened(audio)
        self._loudest = self._first_hearing(self._samples)
        self.n_samples = int(self._samples.length or 0)
        self.n_frames = self.n_samples // self._config.hop

    def window(self, start: int, length: int) -> Array:
        """Frames `start` to `start + length`, float32 (n_mels, length); zeros past the last one.

        Windows are to be asked for from the beginning on; a step back makes a stream begin again.
        """
        if start < 0 or length < 0:
            raise ValueError(f"a window begins at 0 or later and has no negative length; got {start=}, {length=}")
        out = np.zeros((self.n_mels, length), np.float32)
        end = min(start + length, self.n_frames)
        if end > start:
            if start * self._config.hop - self._config.margin < self._samples.start:
                self._samples = _opened(self._audio)
            values = logarithm(_mels(self._samples, start, end, self._config), self._config)
            out[:, : end - start] = compress_range(values, self._loudest)
        return out

    def _first_hearing(self, samples: _Samples) -> float:
        """The loudest of all log mels."""
        config, start, loudest = self._config, 0, np.float32(0)
        while True:
            end = start + max(1, _SAMPLES // config.hop)
            samples.read(start * config.hop - config.margin, end * config.hop + config.margin)
            if samples.length is not None:
                if samples.length <= config.margin:
                    raise too_short_error(samples.length, config.margin + 1, config)
                end = min(end, samples.length // config.hop)
            if end > start:
                loudest = max(loudest, _mels(samples, start, end, config).max())
            if samples.length is not None and end >= samples.length // config.hop:
                return float(logarithm(np.array([loudest], np.float32), config)[0])
            start = end


def _mels(samples: _Samples, start: int, end: int, config: SpectrogramConfig) -> Array:
    """The mels (end - start, mels) of those frames, the ends of the recording being mirrored."""
    first, last = start * config.hop - config.margin, (end - 1) * config.hop - config.margin + config.frame
    piece = samples.read(first, last)
    past = 0 if samples.length is None else max(0, last - samples.length)
    if first < 0 or past:
        piece = np.pad(piece, (max(0, -first), past), mode="reflect")
    return mel_spectrogram(piece, config)


class _Samples(Protocol):
    """Samples by their place.

    Attributes:
        start: those before are no longer there.
        length: how many there are; None as long as that is not known.
    """

    start: int
    length: int | None

    def read(self, first: int, last: int) -> Array:
        """Those of `first` to `last` that there are; none before `first` may be asked for again."""
        ...


def _opened(audio: Array | AudioStream) -> _Samples:
    return _Streamed(audio) if isinstance(audio, AudioStream) else _Held(audio)


class _Held:
    """Samples in memory."""

    def __init__(self, samples: Any) -> None:
        self._samples = np.asarray(samples, np.float32)
        if self._samples.ndim != 1:
            raise AudioError(f"Only mono-channel audio is supported; this recording has {self._samples.shape}")
        self.start = -(1 << 62)
        self.length: int | None = len(self._samples)

    def read(self, first: int, last: int) -> Array:
        return self._samples[max(0, first) : max(0, last)]


class _Streamed:
    """Samples of a stream, of which no more are kept than may still be asked for."""

    def __init__(self, stream: AudioStream) -> None:
        self._blocks: Iterator[Array] = stream.blocks()
        self._kept: Array = np.zeros(0, np.float32)
        self._at = 0
        self.start = -(1 << 62)
        self.length: int | None = None

    def read(self, first: int, last: int) -> Array:
        self.start = first
        parts, end = [self._kept], self._at + len(self._kept)
        while end < last and self.length is None:
            block = next(self._blocks, None)
            if block is None:
                self.length = end
                break
            if end <= first:  # all that is kept is before it
                parts, self._at = [], end
            parts.append(block)
            end += len(block)
        kept = np.concatenate(parts)
        gone = min(max(0, first - self._at), len(kept))
        self._kept, self._at = kept[gone:].copy(), self._at + gone
        return self._kept[: max(0, last - self._at)]
