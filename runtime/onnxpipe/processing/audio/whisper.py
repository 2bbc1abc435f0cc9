"""WhisperFeatureExtractor: log-mel spectrograms of 30 s, in the dynamic range that the model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from onnxpipe.processing.audio.base import FeatureExtractor, stack_rows
from onnxpipe.processing.audio.io.arrays import Array
from onnxpipe.processing.audio.mel import MelBands, SpectrogramConfig, log_mel_spectrogram
from onnxpipe.processing.audio.pad import normalize
from onnxpipe.processing.audio.settings import ResolvedFeatureCall, bounded, random_source

#: Bands end here at any sampling rate.
_TOP_HERTZ = 8000.0
#: Values are raised to at least the largest one minus so many powers of ten.
_RANGE = 8.0


class WhisperFeatureExtractor(FeatureExtractor):
    """Returns `input_features` (recordings, `feature_size`, frames), and `attention_mask` (recordings, frames).

    A recording is padded or cut to `n_samples` by default: `padding="longest", truncation=False` returns long
    recordings whole (`LongFeatures` returns them in parts).

    Attributes:
        n_fft: samples of a frame.
        hop_length: samples from a frame to the next.
        chunk_length: seconds of the model's input.
        dither: the deviation of the noise that is added; 0 for none.
    """

    feature_size: int = 80
    return_attention_mask: bool = False
    n_fft: int = 400
    hop_length: int = 160
    chunk_length: int = 30
    dither: float = 0.0

    derived: ClassVar[frozenset[str]] = frozenset({"n_samples", "nb_max_frames"})
    call_defaults: ClassVar = {
        **FeatureExtractor.call_defaults, "truncation": True, "padding": "max_length", "do_normalize": None,
        "return_token_timestamps": None, "device": "cpu", "seed": None,
    }  # fmt: skip
    model_input_names: Sequence[str] = ("input_features",)

    @property
    def n_samples(self) -> int:
        """Samples of the model's input."""
        return bounded("chunk_length and sampling_rate", self.chunk_length * self.sampling_rate)

    @property
    def nb_max_frames(self) -> int:
        """Frames of the model's input."""
        return self.n_samples // self.hop_length

    @property
    def spectrogram_config(self) -> SpectrogramConfig:
        """The configuration of the log-mel spectrogram."""
        bands = MelBands(self.feature_size, 0.0, _TOP_HERTZ, self.sampling_rate)
        return SpectrogramConfig(bands, self.n_fft, self.hop_length, self.n_fft, dither=self.dither)

    def features(self, rows: list[Array], call: ResolvedFeatureCall) -> dict[str, Any]:
        """Compute the arrays; see the class."""
        call = replace(call, max_length=call.max_length or self.n_samples)
        padded = self.pad(rows, call)
        values = normalize(padded, True, self.padding_value) if call.do_normalize else padded.rows
        noise = random_source(call.seed)
        logs = [compress_range(log_mel_spectrogram(row, self.spectrogram_config, noise)[:-1]) for row in values]
        arrays: dict[str, Any] = {"input_features": stack_rows("input_features", logs)}
        if self.wants_mask(call):
            arrays["attention_mask"] = np.stack([self._frames(mask) for mask in padded.masks])
        if call.return_token_timestamps:
            arrays["num_frames"] = np.array([length // self.hop_length for length in padded.lengths])
        return arrays

    def _frames(self, mask: Array) -> Array:
        """Convert a mask of samples to a mask of frames."""
        return mask[:: self.hop_length][: len(mask) // self.hop_length]


def compress_range(logs: Array, loudest: float | None = None) -> Array:
    """Limit base-10 log mels (frames, mels) to the model's range, eight powers of ten; returns (mels, frames).

    Args:
        logs: the log mels; changed in place.
        loudest: the largest value of the whole recording, if `logs` is a part of it.
    """
    if logs.size:
        np.maximum(logs, np.float32((logs.max() if loudest is None else loudest) - _RANGE), out=logs)
    logs += np.float32(4)
    logs *= np.float32(0.25)
    return np.ascontiguousarray(logs.T)
