"""Speech recognition models that give a score per frame and token (connectionist temporal classification)."""

from __future__ import annotations

import math
from typing import Any

from onnxpipe.models.speech_to_text.audio_encoder import AudioEncoderModel
from onnxpipe.models.speech_to_text.base import SpeechToTextModel


class CTCModel(AudioEncoderModel, SpeechToTextModel):
    """`logits`, float32 (batch, frames, vocabulary)."""

    @property
    def inputs_to_logits_ratio(self) -> int:
        """Samples per frame of the logits: the product of the strides before the encoder.

        wav2vec 2.0 BERT takes pairs of the 10 ms steps of a spectrogram, of 16 kHz: twice its features' width is, by
        coincidence, the number that transformers takes.
        """
        config = self.config
        if config.get("conv_stride"):
            return math.prod(config.conv_stride)
        if config.get("feature_projection_input_dim"):
            adapted = config.get("adapter_stride", 1) ** self._adapters
            return int(config.feature_projection_input_dim) * 2 * int(adapted)
        return 1

    def frames(self, length: int) -> int:
        """Count the logits' frames for a recording of so many samples (for spectrograms: of so many frames)."""
        config = self.config
        for kernel, stride in zip(config.get("conv_kernel") or (), config.get("conv_stride") or (), strict=True):
            length = _after(length, kernel, stride)
        encoder: Any = config.get("encoder_config") or {}
        for _ in range(int(math.log2(encoder.get("subsampling_factor", 1)))):  # Parakeet's convolutions
            kernel = encoder.get("subsampling_conv_kernel_size")
            length = _after(length, kernel, encoder.get("subsampling_conv_stride"), (kernel - 1) // 2)
        features = not config.get("conv_stride")
        for _ in range(self._adapters):
            kernel, stride = config.get("adapter_kernel_size", 3), config.adapter_stride
            length = _after(length, kernel, stride, kernel // 2) if features else _after(length, 1, stride)
        return length

    @property
    def _adapters(self) -> int:
        return int(self.config.get("num_adapter_layers", 0)) if self.config.get("add_adapter") else 0


def _after(length: int, kernel: int, stride: int, padding: int = 0) -> int:
    """Compute the length after a convolution."""
    return max(0, (length + 2 * padding - kernel) // stride + 1)
