"""ParakeetFeatureExtractor: NeMo's log-mel spectrograms, with each band of a recording normalised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from onnxpipe.errors import AudioError
from onnxpipe.processing.audio.base import FeatureExtractor, stack_rows
from onnxpipe.processing.audio.io.arrays import Array
from onnxpipe.processing.audio.mel import MelBands, SpectrogramConfig, log_mel_spectrogram
from onnxpipe.processing.audio.settings import ResolvedFeatureCall

#: Added before the logarithm, and to the deviation before dividing by it.
_GUARD, _EPSILON = 2.0**-24, 1e-5


class ParakeetFeatureExtractor(FeatureExtractor):
    """Returns `input_features` (recordings, frames, `feature_size`), and `attention_mask` bool (recordings, frames).

    Attributes:
        hop_length: samples from a frame to the next.
        n_fft: samples of a transform; the window covers the middle `win_length` of them.
        win_length: see above.
        preemphasis: the share of the previous sample that is subtracted from each; None for none.
    """

    feature_size: int = 80
    hop_length: int = 160
    n_fft: int = 512
    win_length: int = 400
    preemphasis: float | None = 0.97

    call_defaults: ClassVar = {**FeatureExtractor.call_defaults, "padding": "longest", "device": "cpu"}
    model_input_names: Sequence[str] = ("input_features", "attention_mask")

    @property
    def spectrogram_config(self) -> SpectrogramConfig:
        """The configuration of the log-mel spectrogram."""
        bands = MelBands(self.feature_size, 0.0, self.sampling_rate / 2, self.sampling_rate)
        return SpectrogramConfig(
            bands, self.n_fft, self.hop_length, self.n_fft, inner=self.win_length, periodic=False,
            centered_with_zeros=True, offset=_GUARD, log="ln",
        )  # fmt: skip

    def features(self, rows: list[Array], call: ResolvedFeatureCall) -> dict[str, Any]:
        """Compute the arrays; see the class."""
        lengths = [len(row) // self.hop_length for row in rows]
        if min(lengths) < 2:
            raise AudioError(f"the recording is too short: the model needs at least {2 * self.hop_length} samples")
        padded = self.pad([self._emphasized(row) for row in rows], call)
        config = self.spectrogram_config
        logs = [log_mel_spectrogram(row, config) for row in padded.rows]
        frames = len(logs[0])
        masks = np.arange(frames) < np.array(lengths)[:, None]
        values = [_normalized(one, length) for one, length in zip(logs, lengths)]
        return {"input_features": stack_rows("input_features", values), "attention_mask": masks}

    def _emphasized(self, row: Array) -> Array:
        if self.preemphasis is None:
            return row
        return np.concatenate([row[:1], row[1:] - np.float32(self.preemphasis) * row[:-1]])


def _normalized(logs: Array, length: int) -> Array:
    """Scale each band of the first `length` frames to mean 0 and (n - 1) variance 1; set the rest to 0."""
    own = logs[:length]
    out = np.zeros_like(logs)
    out[:length] = (own - own.mean(0)) / (own.std(0, ddof=1) + np.float32(_EPSILON))
    return out
