"""The base of all models that transcribe recordings."""

from __future__ import annotations

from abc import ABC, abstractmethod

from onnxpipe.models.base import Model


class SpeechToTextModel(Model, ABC):
    """A model that transcribes recordings: by a score a frame and token (CTC), or with a decoder that generates.

    Attributes:
        supports_padding: whether recordings of different lengths may share a batch.
    """

    supports_padding: bool

    @property
    @abstractmethod
    def min_samples(self) -> int:
        """The fewest samples that a recording may have; 1 for a model of spectrograms."""
