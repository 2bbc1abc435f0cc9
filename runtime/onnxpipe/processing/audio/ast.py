"""ASTFeatureExtractor: filter-bank features of ten seconds, for audio spectrogram transformers."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from onnxpipe.processing.audio.base import FeatureExtractor
from onnxpipe.processing.audio.fbank import kaldi_config
from onnxpipe.processing.audio.io.arrays import Array
from onnxpipe.processing.audio.mel import log_mel_spectrogram
from onnxpipe.processing.audio.settings import ResolvedFeatureCall, bounded


class ASTFeatureExtractor(FeatureExtractor):
    """Returns `input_values` (`max_length` frames, `num_mel_bins`) each, cut or padded with zeros before normalising.

    Attributes:
        num_mel_bins: mel bands.
        max_length: frames.
        do_normalize, mean, std: whether to subtract the mean and divide by twice the deviation, both those of AudioSet.
    """

    return_attention_mask: bool = False
    num_mel_bins: int = 128
    max_length: int = 1024
    do_normalize: bool = True
    mean: float = -4.2677393
    std: float = 4.5689974

    call_defaults: ClassVar = {}

    def features(self, rows: list[Array], call: ResolvedFeatureCall) -> dict[str, Any]:
        """Compute the arrays; see the class."""
        config = kaldi_config(self.num_mel_bins, self.sampling_rate, window="hann", gain=1.0)
        return {"input_values": [self._fitted(log_mel_spectrogram(row[: self._samples], config)) for row in rows]}

    @property
    def _samples(self) -> int:
        """The number of samples that are used; the rest of a recording is cut off."""
        return 400 + 160 * self.max_length

    def _fitted(self, logs: Array) -> Array:
        bounded("max_length and num_mel_bins", self.max_length * self.num_mel_bins)
        frames = np.zeros((self.max_length, self.num_mel_bins), np.float32)
        frames[: len(logs)] = logs[: self.max_length]
        return (frames - np.float32(self.mean)) / np.float32(self.std * 2) if self.do_normalize else frames
