"""LongFeatures: Whisper's log-mel spectrogram of a long recording, computed window by window.

Whisper's dynamic range depends on the loudest value of the whole recording, so the recording is read twice: once to
find that value, and once more, window by window, while it is transcribed. Only one window of it is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from onnxpipe.errors import AudioError, UnsupportedError
from onnxpipe.processing.audio.io.arrays import Array, as_samples
from onnxpipe.processing.audio.io.stream import AudioStream
from onnxpipe.processing.audio.mel import SpectrogramConfig, logarithm, mel_spectrogram, too_short_error
from onnxpipe.processing.audio.whisper import WhisperFeatureExtractor, compress_range

#: Samples that are read at once in the first pass: half a minute.
_SAMPLES = 480_000


class LongFeatures:
    """The features of `extractor(audio, truncation=False, padding="longest")`, in windows.

    Args:
        extractor: Whisper's.
        audio: samples (n,), or a stream of samples, at the extractor's rate.

    Raises:
        AudioError: a stream that is broken or has another rate, or too few samples for a frame.
        UnsupportedError: an extractor with dither, whose noise would be different in every pass.

    Attributes:
        n_samples: samples of the recording.
        n_frames: frames of all windows together.
        n_mels: mel bands.
    """

    def __init__(self, extractor: WhisperFeatureExtractor, audio: Array | AudioStream) -> None:
        if extractor.dither:
            raise UnsupportedError("dither is not supported for recordings that are read in parts; set dither=0.0")
        if isinstance(audio, AudioStream) and audio.sampling_rate != extractor.sampling_rate:
            raise AudioError(
                f"{audio.name} is read at {audio.sampling_rate} Hz, but the model expects {extractor.sampling_rate} Hz"
            )
        self._config = extractor.spectrogram_config
        self._audio = audio
        self.n_mels = extractor.feature_size
        self._samples = _open_samples(audio)
        self._loudest = self._find_loudest(self._samples)
        self.n_samples = int(self._samples.length or 0)
        self.n_frames = self.n_samples // self._config.hop

    def window(self, start: int, length: int) -> Array:
        """Compute the frames `start` to `start + length`, float32 (n_mels, length); zeros after the last frame.

        Windows should be requested in order; a step back makes a stream start again.
        """
        if start < 0 or length < 0:
            raise ValueError(f"start and length must be 0 or more; got {start=}, {length=}")
        out = np.zeros((self.n_mels, length), np.float32)
        end = min(start + length, self.n_frames)
        if end > start:
            if start * self._config.hop - self._config.margin < self._samples.start:
                self._samples = _open_samples(self._audio)
            values = logarithm(_mels(self._samples, start, end, self._config), self._config)
            out[:, : end - start] = compress_range(values, self._loudest)
        return out

    def _find_loudest(self, samples: _Samples) -> float:
        """Find the largest value of the whole log-mel spectrogram."""
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
    """Compute the mel bands (end - start, mels) of frames, with the ends of the recording mirrored."""
    first, last = start * config.hop - config.margin, (end - 1) * config.hop - config.margin + config.frame
    piece = samples.read(first, last)
    past = 0 if samples.length is None else max(0, last - samples.length)
    if first < 0 or past:
        piece = np.pad(piece, (max(0, -first), past), mode="reflect")
    return mel_spectrogram(piece, config)


class _Samples(Protocol):
    """Random access to samples.

    Attributes:
        start: samples before it are no longer available.
        length: the number of samples; None until it is known.
    """

    start: int
    length: int | None

    def read(self, first: int, last: int) -> Array:
        """Read the samples `first` to `last` as far as they exist; none before `first` can be read again."""
        ...


def _open_samples(audio: Array | AudioStream) -> _Samples:
    return _StreamSamples(audio) if isinstance(audio, AudioStream) else _ArraySamples(audio)


class _ArraySamples:
    """Samples in memory."""

    def __init__(self, samples: Any) -> None:
        self._samples = as_samples(samples)
        if self._samples.ndim != 1:
            raise AudioError(
                f"Only mono-channel audio is supported; this recording has the shape {self._samples.shape}"
            )
        self.start = -(1 << 62)
        self.length: int | None = len(self._samples)

    def read(self, first: int, last: int) -> Array:
        return self._samples[max(0, first) : max(0, last)]


class _StreamSamples:
    """Samples of a stream; only those that may still be read are kept."""

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
            if end <= first:  # all kept samples are before `first`
                parts, self._at = [], end
            parts.append(block)
            end += len(block)
        kept = np.concatenate(parts)
        gone = min(max(0, first - self._at), len(kept))
        self._kept, self._at = kept[gone:].copy(), self._at + gone
        return self._kept[: max(0, last - self._at)]
