"""The interfaces of transcription: the model, its encoder's output, and a recording's features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

from onnxpipe.generation.protocols import Array, GenerationModel


class EncoderOutput(Protocol):
    """The encoder's output for a batch of windows."""

    def __len__(self) -> int:
        """Number of windows."""

    def select(self, prompts: Array) -> Self:
        """Select windows by number, int64 (n,)."""


class WhisperModel(GenerationModel, Protocol):
    """A Whisper model. Its `start` takes {"encoder_outputs": the result of `encode_windows`}."""

    @property
    def window(self) -> int:
        """Frames of a window: the encoder's input."""

    @property
    def stride(self) -> int:
        """Frames per state of the encoder."""

    def encode_windows(self, windows: Array) -> EncoderOutput:
        """Encode float32 (windows, mels, frames)."""

    def cross_attentions(self, tokens: Array, encoded: Any, layers: Sequence[int]) -> Mapping[int, Array]:
        """Compute the cross-attention weights of some layers, float32 (rows, heads, length, states) each, for all
        tokens of int64 (rows, length) at once; `encoded` is the result of `encode_windows`.

        Raises:
            UnsupportedError: the graph does not give them.
        """


class Features(Protocol):
    """The log-mel spectrogram of one recording, of any length, never whole in memory."""

    @property
    def n_frames(self) -> int:
        """Number of frames."""

    @property
    def n_mels(self) -> int:
        """Number of mel bands."""

    def window(self, start: int, length: int) -> Array:
        """Compute float32 (mels, length): frames from `start` on; fewer of them at the end of the recording."""
