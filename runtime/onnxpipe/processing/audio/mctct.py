"""MCTCTFeatureExtractor: log-mel spectrograms with Flashlight's window, for M-CTC-T."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from onnxpipe.processing.audio.base import FeatureExtractor
from onnxpipe.processing.audio.io.arrays import Array
from onnxpipe.processing.audio.mel import MelBands, SpectrogramConfig, log_mel_spectrogram
from onnxpipe.processing.audio.settings import ResolvedFeatureCall
from onnxpipe.processing.audio.speech_to_text import normalize_bands
from onnxpipe.processing.audio.speecht5 import MillisecondFrames


class MCTCTFeatureExtractor(MillisecondFrames, FeatureExtractor):
    """Returns `input_features` (frames, `feature_size`) each, and `attention_mask`. (In transformers 4, but not in 5.)

    Attributes:
        hop_length, win_length: milliseconds from a frame to the next, and of a frame.
        win_function: the name of the window.
        frame_signal_scale: the factor that samples are multiplied by.
        preemphasis_coeff: the share of the previous sample that is subtracted from each.
        mel_floor: the smallest argument of the logarithm.
        normalize_means, normalize_vars: whether each band gets mean 0, and variance 1.
    """

    feature_size: int = 80
    return_attention_mask: bool = False
    hop_length: int = 10
    win_length: int = 25
    win_function: str = "hamming_window"
    frame_signal_scale: float = 32768.0
    preemphasis_coeff: float = 0.97
    mel_floor: float = 1.0
    normalize_means: bool = True
    normalize_vars: bool = True

    derived: ClassVar[frozenset[str]] = MillisecondFrames.derived_settings
    model_input_names: Sequence[str] = ("input_features", "attention_mask")

    @property
    def spectrogram_config(self) -> SpectrogramConfig:
        """The configuration of the log-mel spectrogram."""
        rate = self.sampling_rate
        name: Any = self.win_function.removesuffix("_window")
        return SpectrogramConfig(
            MelBands(self.feature_size, 0.0, rate / 2, rate, "htk", unit_area=False), self.sample_size,
            self.sample_stride, self.n_fft, window=name,
            periodic=self.win_function != "hamming_window", center=False, gain=self.frame_signal_scale,
            preemphasis=self.preemphasis_coeff, power=1.0, floor=self.mel_floor, log="ln", exact=True,
        )  # fmt: skip

    def features(self, rows: list[Array], call: ResolvedFeatureCall) -> dict[str, Any]:
        """Compute the arrays; see the class."""
        padded = self.pad([log_mel_spectrogram(row, self.spectrogram_config) for row in rows], call)
        values = padded.rows
        if self.normalize_means or self.normalize_vars:
            values = normalize_bands(padded, self.normalize_means, self.normalize_vars, self.padding_value)
        # A call always returns the mask in transformers, whatever its options.
        return {"input_features": values, "attention_mask": padded.masks}
