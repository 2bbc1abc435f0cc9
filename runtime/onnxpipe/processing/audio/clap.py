"""ClapFeatureExtractor: log-mel spectrograms of ten seconds at 48 kHz, and of random parts of longer recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from onnxpipe.errors import AudioError
from onnxpipe.processing.audio.base import FeatureExtractor
from onnxpipe.processing.audio.io.arrays import Array
from onnxpipe.processing.audio.mel import MelBands, SpectrogramConfig, log_mel_spectrogram
from onnxpipe.processing.audio.settings import ResolvedFeatureCall, bounded, parse_setting, random_source


class ClapFeatureExtractor(FeatureExtractor):
    """Returns `input_features` (1 or 4, frames, `feature_size`) each, and `is_longer` [bool] each.

    With `truncation="fusion"` there are four spectrograms: of a short recording four times the same; of a longer one
    the whole shrunk to ten seconds, and a random window of its first, second and last third. If no recording of a call
    is longer, a random one is marked as longer. With `"rand_trunc"` there is one: a random part of a longer recording.

    Random numbers are drawn as in transformers: from NumPy's global state, or with `seed=` from that of the number, so
    that `seed=7` gives the same result as `numpy.random.seed(7)` before the call.

    Attributes:
        hop_length: samples from a frame to the next.
        max_length_s: seconds of the model's input.
        fft_window_size: samples of a frame.
        frequency_min, frequency_max: where the bands begin and end, in Hz.
        truncation: "fusion" or "rand_trunc".
        padding: how short recordings are padded: "repeatpad" repeats them as often as they fit, then adds silence;
            "repeat" repeats them and cuts the last repetition; "pad" adds silence.
        top_db: saved to the file again; transformers does not use it.
    """

    feature_size: int = 64
    sampling_rate: int = 48_000
    return_attention_mask: bool = False
    hop_length: int = 480
    max_length_s: int = 10
    fft_window_size: int = 1024
    frequency_min: float = 0
    frequency_max: float = 14_000
    top_db: int | None = None
    truncation: str = "fusion"
    padding: str = "repeatpad"

    dtype: ClassVar[Any] = np.float64
    derived: ClassVar[frozenset[str]] = frozenset({"nb_frequency_bins", "nb_max_samples"})
    call_defaults: ClassVar = {"truncation": None, "padding": None, "max_length": None, "seed": None}
    model_input_names: Sequence[str] = ("input_features", "is_longer")

    @property
    def nb_max_samples(self) -> int:
        """Samples of the model's input."""
        return bounded("max_length_s and sampling_rate", self.max_length_s * self.sampling_rate)

    @property
    def nb_frequency_bins(self) -> int:
        """Frequencies of a frame's spectrum."""
        return self.fft_window_size // 2 + 1

    def features(self, rows: list[Array], call: ResolvedFeatureCall) -> dict[str, Any]:
        """Compute the arrays; see the class."""
        call = self._with_defaults(call)
        draw = random_source(call.seed)
        pairs = [self._one(row, call, draw) for row in rows]
        longer = [is_longer for _, is_longer in pairs]
        if call.truncation == "fusion" and not any(longer):
            longer[draw.randint(0, len(longer))] = True
        return {"input_features": [mels for mels, _ in pairs], "is_longer": [[one] for one in longer]}

    def _with_defaults(self, call: ResolvedFeatureCall) -> ResolvedFeatureCall:
        padding = self.padding if call.padding in (None, True) else parse_setting("padding", call.padding)
        truncation = self.truncation if call.truncation is None else parse_setting("truncation", call.truncation)
        return replace(call, padding=padding, truncation=truncation, max_length=call.max_length or self.nb_max_samples)

    def _one(self, row: Array, call: ResolvedFeatureCall, draw: Any) -> tuple[Array, bool]:
        """Compute the spectrograms (1 or 4, frames, mels) of a recording, and whether it is longer than the input."""
        length = int(call.max_length or 0)
        longer, fused = len(row) > length, call.truncation == "fusion"
        if longer and fused:
            return self._fused(
                log_mel_spectrogram(row, self._spectrogram_config(True)), length // self.hop_length + 1, draw
            )
        if longer:
            start = draw.randint(0, len(row) - length + 1)
            row = row[start : start + length]
        logs = log_mel_spectrogram(_filled(row, length, call.padding), self._spectrogram_config(fused))
        return np.stack([logs] * 4 if fused else [logs]), longer

    def _spectrogram_config(self, fused: bool) -> SpectrogramConfig:
        """Configure the spectrogram: models with and without fusion were trained on different bands."""
        bands = MelBands(
            self.feature_size, self.frequency_min, self.frequency_max, self.sampling_rate,
            "htk" if fused else "slaney", unit_area=not fused,
        )  # fmt: skip
        return SpectrogramConfig(bands, self.fft_window_size, self.hop_length, self.fft_window_size, log="dB")

    @staticmethod
    def _fused(logs: Array, frames: int, draw: Any) -> tuple[Array, bool]:
        """Stack the whole of a long recording, shrunk to `frames`, and three windows of it."""
        if len(logs) == frames:
            return np.stack([logs] * 4), False
        thirds = np.array_split(np.arange(len(logs) - frames + 1), 3)
        starts = [draw.choice(third if len(third) else [0]) for third in thirds]
        return np.stack([_shrunk(logs, frames), *(logs[start : start + frames] for start in starts)]), True


def _filled(row: Array, length: int, padding: Any) -> Array:
    """Pad a recording to `length` samples."""
    if not len(row):
        raise AudioError("a recording has no samples")
    if padding == "repeat" and len(row) < length:
        return np.resize(row, length)
    if padding == "repeatpad" and len(row) < length:
        row = np.tile(row, length // len(row))
    return np.pad(row, (0, length - len(row)))


def _shrunk(logs: Array, frames: int) -> Array:
    """Resize to `frames` frames by interpolation, as torch's bilinear resizing without aligned corners.

    Positions are rounded as torch rounds them, to single precision after a fused multiply-add: late in a long recording
    that makes a difference of 1e-4 of a frame.
    """
    step = np.float64(np.float32(len(logs)) / np.float32(frames))
    places = np.maximum(((np.arange(frames) + 0.5) * step - 0.5).astype(np.float32), np.float32(0))
    below = places.astype(np.int64)
    above = np.minimum(below + 1, len(logs) - 1)
    share = (places - below.astype(np.float32))[:, None]
    return np.asarray(logs[below] * (np.float32(1) - share) + logs[above] * share)
