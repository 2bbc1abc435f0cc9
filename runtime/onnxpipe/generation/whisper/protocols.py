"""What transcription asks of a model, of what it heard, and of a recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

from onnxpipe.generation.protocols import Array, GenerationModel


class Heard(Protocol):
    """What an encoder made of a batch of windows."""

    def __len__(self) -> int:
        """How many windows."""

    def select(self, prompts: Array) -> Self:
        """Some of them, int64 (n,)."""


class Listener(GenerationModel, Protocol):
    """A Whisper model. Its `start` takes {"encoder_outputs": what `hear` gave}."""

    @property
    def window(self) -> int:
        """Frames of a window: what the encoder hears at once."""

    @property
    def stride(self) -> int:
        """Frames of a state of the encoder."""

    def hear(self, windows: Array) -> Heard:
        """What the encoder makes of float32 (windows, mels, frames)."""

    def attend(self, tokens: Array, heard: Any, layers: Sequence[int]) -> Mapping[int, Array]:
        """Where the decoder looks: for each of some layers float32 (rows, heads, length, states), for all tokens of
        int64 (rows, length) at once; `heard` is what `hear` gave.

        Raises:
            UnsupportedError: the graph does not tell.
        """


class Features(Protocol):
    """The log-mel spectrogram of one recording, of any length, never whole in memory."""

    @property
    def n_frames(self) -> int:
        """How many frames there are."""

    @property
    def n_mels(self) -> int:
        """How many bands."""

    def window(self, start: int, length: int) -> Array:
        """float32 (mels, length): frames from `start` on; fewer of them at the end of the recording."""
