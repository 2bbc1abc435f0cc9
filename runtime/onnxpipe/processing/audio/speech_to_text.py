"""Speech2TextFeatureExtractor: Kaldi's filter banks, each band of a recording brought to mean 0 and variance 1."""

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
    """`input_features` (frames, `num_mel_bins`) each, and `attention_mask`.

    Attributes:
        num_mel_bins: bands.
        dither: deviation of noise that is added, of samples of 16 bits; 0 for none.
        do_ceptral_normalize: whether to normalise at all (the name is transformers').
        normalize_means, normalize_vars: which of the two.
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
        """How samples become log mels."""
        return kaldi_config(self.num_mel_bins, self.sampling_rate, dither=self.dither)

    def features(self, rows: list[Array], call: ResolvedFeatureCall) -> dict[str, Any]:
        """See the class."""
        draw, config = random_source(call.seed), self.spectrogram_config
        padded = self.pad([log_mel_spectrogram(row, config, draw) for row in rows], call)
        values = padded.rows
        if self.do_ceptral_normalize:
            values = normalize_bands(padded, self.normalize_means, self.normalize_vars, self.padding_value)
        masks = {"attention_mask": padded.masks} if self.wants_mask(call) else {}
        return {"input_features": values, **masks}


def normalize_bands(padded: PaddedRows, means: bool, variances: bool, value: float) -> list[Array]:
    """Rows (frames, bands) with mean 0 and variance 1 of each band, as far as there is sound; `value` where not.

    Raises:
        AudioError: a recording without a frame.
    """
    found = []
    # One frame after the other in memory, as transformers has them here: of a steady tone the deviation is rounding.
    padded = replace(padded, rows=[np.ascontiguousarray(row) for row in padded.rows])
    for i, row in enumerate(padded.rows):
        sound = padded.unpadded(i)
        if not len(sound):
            raise AudioError("the recording is too short: the model needs one frame at least (400 samples)")
        if means:
            row = row - sound.mean(axis=0)
        if variances:
            with np.errstate(divide="ignore", invalid="ignore"):  # silence has no variance, in transformers neither
                row = row / (sound - sound.mean(axis=0) if means else sound).std(axis=0)
        found.append(row.astype(np.float32))
    return padded.filled(found, value)
