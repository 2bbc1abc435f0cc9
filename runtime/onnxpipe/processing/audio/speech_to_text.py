"""Speech2TextFeatureExtractor: Kaldi's filter banks, with each band of a recording normalised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from onnxpipe.errors import AudioError
from onnxpipe.processing.audio.base import FeatureExtractor
from onnxpipe.processing.audio.fbank import kaldi_config
from onnxpipe.processing.audio.io.arrays import Array
from onnxpipe.processing.audio.mel import SpectrogramConfig, log_mel_spectrogram
from onnxpipe.processing.audio.pad import PaddedRows
from onnxpipe.processing.audio.settings import ResolvedFeatureCall, random_source


class Speech2TextFeatureExtractor(FeatureExtractor):
    """Returns `input_features` (frames, `num_mel_bins`) each, and `attention_mask`.

    Attributes:
        num_mel_bins: mel bands.
        dither: the deviation of the noise that is added to samples of 16 bits; 0 for none.
        do_ceptral_normalize: whether to normalise (the name is transformers').
        normalize_means, normalize_vars: whether each band gets mean 0, and variance 1.
    """

    feature_size: int = 80
    num_mel_bins: int = 80
    dither: float = 0.0
    do_ceptral_normalize: bool = True
    normalize_means: bool = True
    normalize_vars: bool = True

    call_defaults: ClassVar = {**FeatureExtractor.call_defaults, "seed": None}
    model_input_names: Sequence[str] = ("input_features", "attention_mask")

    @property
    def spectrogram_config(self) -> SpectrogramConfig:
        """The configuration of the log-mel spectrogram."""
        return kaldi_config(self.num_mel_bins, self.sampling_rate, dither=self.dither)

    def features(self, rows: list[Array], call: ResolvedFeatureCall) -> dict[str, Any]:
        """Compute the arrays; see the class."""
        draw, config = random_source(call.seed), self.spectrogram_config
        padded = self.pad([log_mel_spectrogram(row, config, draw) for row in rows], call)
        values = padded.rows
        if self.do_ceptral_normalize:
            values = normalize_bands(padded, self.normalize_means, self.normalize_vars, self.padding_value)
        masks = {"attention_mask": padded.masks} if self.wants_mask(call) else {}
        return {"input_features": values, **masks}


def normalize_bands(padded: PaddedRows, means: bool, variances: bool, value: float) -> list[Array]:
    """Scale each band of rows (frames, bands) to mean 0 and variance 1 without the padding, which is set to `value`.

    A band that is the same in every frame, as all are in silence, has no variance, and is not divided by it.
    (transformers divides by 0: its features of silence are not numbers.)

    Raises:
        AudioError: a recording without a frame.
    """
    scaled = []
    # Frames contiguous in memory, as in transformers here: the deviation of a steady tone is only rounding error.
    padded = replace(padded, rows=[np.ascontiguousarray(row) for row in padded.rows])
    for i, row in enumerate(padded.rows):
        own = padded.unpadded(i)
        if not len(own):
            raise AudioError("the recording is too short: the model needs at least one frame (400 samples)")
        if means:
            row = row - own.mean(axis=0)
        if variances:
            steady = (own == own[0]).all(axis=0)
            row = row / np.where(steady, 1, (own - own.mean(axis=0) if means else own).std(axis=0))
            if means:
                row = np.where(steady, 0, row)  # and not what rounding leaves of it
        scaled.append(row.astype(np.float32))
    return padded.filled(scaled, value)
