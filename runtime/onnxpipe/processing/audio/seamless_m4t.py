"""SeamlessM4TFeatureExtractor: Kaldi's filter banks, two frames per step, for SeamlessM4T and wav2vec 2.0 BERT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from onnxpipe.errors import AudioError
from onnxpipe.processing.audio.base import FeatureExtractor, stack_rows
from onnxpipe.processing.audio.fbank import kaldi_config
from onnxpipe.processing.audio.io.arrays import Array, as_recordings
from onnxpipe.processing.audio.mel import log_mel_spectrogram
from onnxpipe.processing.audio.settings import ResolvedFeatureCall


class SeamlessM4TFeatureExtractor(FeatureExtractor):
    """Returns `input_features` (recordings, frames / `stride`, `num_mel_bins` * `stride`), and `attention_mask`.

    Attributes:
        num_mel_bins: mel bands.
        stride: consecutive frames that are joined to one step.
    """

    feature_size: int = 80
    num_mel_bins: int = 80
    stride: int = 2

    call_defaults: ClassVar = {
        **FeatureExtractor.call_defaults, "padding": True, "pad_to_multiple_of": 2, "do_normalize_per_mel_bins": True,
    }  # fmt: skip
    model_input_names: Sequence[str] = ("input_features", "attention_mask")

    def rows(self, source: Any) -> list[Array]:
        """Split a call's input into recordings; of (channels, samples) the first is used, as in transformers."""
        rows = [row[0] if row.ndim == 2 and len(row) else row for row in as_recordings(source, self.dtype)]
        return super().rows(rows)

    def features(self, rows: list[Array], call: ResolvedFeatureCall) -> dict[str, Any]:
        """Compute the arrays; see the class."""
        config = kaldi_config(self.num_mel_bins, self.sampling_rate)
        logs = [log_mel_spectrogram(row, config) for row in rows]
        if call.do_normalize_per_mel_bins:
            logs = [_normalized(one) for one in logs]
        padded = self.pad(logs, call)
        values, masks = stack_rows("input_features", padded.rows), stack_rows("attention_mask", padded.masks)
        frames = values.shape[1] // self.stride
        values = values[:, : frames * self.stride].reshape(len(values), frames, -1)
        if not self.wants_mask(call):
            return {"input_features": values}
        return {"input_features": values, "attention_mask": masks[:, : frames * self.stride][:, 1 :: self.stride]}


def _normalized(logs: Array) -> Array:
    """Scale each band to mean 0 and (n - 1) variance 1."""
    if len(logs) < 2:
        raise AudioError("the recording is too short: the model needs at least two frames (560 samples, 35 ms)")
    return np.asarray((logs - logs.mean(0)) / np.sqrt(logs.var(0, ddof=1) + 1e-7), np.float32)
