"""SpeechT5FeatureExtractor: samples for the encoder, log-mel spectrograms as targets of the decoder."""

from __future__ import annotations

from typing import Any, ClassVar

from onnxpipe.processing.audio.base import FeatureExtractor, check_not_empty
from onnxpipe.processing.audio.io.arrays import Array
from onnxpipe.processing.audio.mel import MelBands, SpectrogramConfig, log_mel_spectrogram
from onnxpipe.processing.audio.pad import PaddedRows, normalize
from onnxpipe.processing.audio.settings import ResolvedFeatureCall
from onnxpipe.processing.padding_strategy import padding_strategy


class MillisecondFrames:
    """Derived settings of extractors whose frames are measured in milliseconds.

    Attributes:
        win_length, hop_length: milliseconds of a frame, and from a frame to the next.
        sampling_rate: samples per second.
    """

    win_length: int
    hop_length: int
    sampling_rate: int

    #: The names of the derived settings, which files may contain.
    derived_settings: ClassVar[frozenset[str]] = frozenset({"sample_size", "sample_stride", "n_fft", "n_freqs"})

    @property
    def sample_size(self) -> int:
        """Samples of a frame."""
        return self.win_length * self.sampling_rate // 1000

    @property
    def sample_stride(self) -> int:
        """Samples from a frame to the next."""
        return self.hop_length * self.sampling_rate // 1000

    @property
    def n_fft(self) -> int:
        """Length of the transform: the smallest power of two that is not less than a frame."""
        return 1 << (self.sample_size - 1).bit_length()

    @property
    def n_freqs(self) -> int:
        """Frequencies of a frame's spectrum."""
        return self.n_fft // 2 + 1


class SpeechT5FeatureExtractor(MillisecondFrames, FeatureExtractor):
    """Returns `input_values` (samples,) and `attention_mask` of `audio=`; log mels (frames, mels) of `audio_target=`.

    The log-mel spectrograms are named `input_values` too; with both arguments they are `labels`, and their mask
    `decoder_attention_mask`. The HiFi-GAN vocoders of SpeechT5 convert such spectrograms to audio.

    Attributes:
        do_normalize: whether samples are scaled to mean 0 and variance 1.
        num_mel_bins, fmin, fmax: the number of bands, and where they begin and end, in Hz.
        hop_length, win_length: milliseconds from a frame to the next, and of a frame.
        win_function: "hann_window" or "hamming_window".
        mel_floor: the smallest argument of the logarithm.
    """

    do_normalize: bool = False
    num_mel_bins: int = 80
    hop_length: int = 16
    win_length: int = 64
    win_function: str = "hann_window"
    fmin: float = 80
    fmax: float = 7600
    mel_floor: float = 1e-10

    argument: ClassVar[str] = "audio"
    derived: ClassVar[frozenset[str]] = MillisecondFrames.derived_settings
    call_defaults: ClassVar = {**FeatureExtractor.call_defaults, "audio_target": None}

    @property
    def spectrogram_config(self) -> SpectrogramConfig:
        """The configuration of the log-mel spectrogram."""
        bands = MelBands(self.num_mel_bins, self.fmin, self.fmax, self.sampling_rate)
        name: Any = self.win_function.removesuffix("_window")
        return SpectrogramConfig(
            bands, self.sample_size, self.sample_stride, self.n_fft, window=name, power=1.0, floor=self.mel_floor
        )

    def features(self, rows: list[Array], call: ResolvedFeatureCall) -> dict[str, Any]:
        """Compute the arrays; see the class."""
        inputs = self._encoder_inputs(rows, call) if rows else {}
        if call.audio_target is None:
            return inputs
        targets = self.pad(
            [log_mel_spectrogram(row, self.spectrogram_config) for row in self.rows(call.audio_target)], call
        )
        names = ("labels", "decoder_attention_mask") if rows else ("input_values", "attention_mask")
        return {**inputs, **self._named(targets, targets.rows, names, call)}

    def _encoder_inputs(self, rows: list[Array], call: ResolvedFeatureCall) -> dict[str, Any]:
        check_not_empty(rows)
        padded = self.pad(rows, call)
        values = padded.rows
        if self.do_normalize:
            masked = self.wants_mask(call) and padding_strategy(call.padding) != "do_not_pad"
            values = normalize(padded, masked, self.padding_value)
        return self._named(padded, values, ("input_values", "attention_mask"), call)

    def _named(
        self, padded: PaddedRows, values: list[Array], names: tuple[str, str], call: ResolvedFeatureCall
    ) -> dict[str, Any]:
        masks = {names[1]: padded.masks} if self.wants_mask(call) else {}
        return {names[0]: values, **masks}
