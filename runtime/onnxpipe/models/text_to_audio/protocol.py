"""The interface between the task text-to-audio and its models, which turn text into speech or music."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from onnxpipe.errors import UnknownArgumentError
from onnxpipe.models.base import Array


@runtime_checkable
class TextToAudioModel(Protocol):
    """A model that turns a text into audio, one text at a time: neither length nor noise depends on the batch.

    Attributes:
        sampling_rate: samples per second of `synthesize`'s answer; None where it is the vocoder's.
        gives_spectrogram: whether `synthesize` gives log mels, float32 (frames, mels), which need a vocoder.
        takes_seed: whether a seed determines the noise; not if the graph draws it itself. True if absent.
    """

    gives_spectrogram: bool

    @property
    def sampling_rate(self) -> int | None:
        """Samples per second."""
        ...

    def can_generate(self) -> bool:
        """Whether `synthesize` runs a loop, which `generate_kwargs` configure."""
        ...

    def encode_text(
        self, tokenizer: Any, text: str, keywords: Mapping[str, Any], forward_params: Mapping[str, Any]
    ) -> dict[str, Array]:
        """Encode a text for `synthesize`: arrays with a batch axis of one, e.g. `input_ids` int64 (1, tokens).

        Args:
            tokenizer: the model's.
            text: the text.
            keywords: for the tokenizer's (or processor's) call: the task's `preprocess_params`.
            forward_params: as `synthesize` gets them; a voice may determine how a text is read.
        """
        ...

    def synthesize(
        self,
        inputs: Mapping[str, Array],
        *,
        forward_params: Mapping[str, Any],
        generate_kwargs: Mapping[str, Any],
        seed: int,
    ) -> Array:
        """Turn one text into audio.

        Args:
            inputs: from `encode_text`.
            forward_params: parameters of the model.
            generate_kwargs: parameters of its loop, before `forward_params`. Empty where `can_generate()` is False.
                Defaults that transformers' task sets where neither the user nor the model does (256 new tokens) are
                set by the model here.
            seed: of everything that is random.

        Returns:
            float32, shaped as transformers 4 gives it: (1, samples), (1, channels, samples) or (samples,); of a model
            with `gives_spectrogram` (frames, mels).

        Raises:
            UnknownArgumentError: a parameter that the model does not know.
        """
        ...


def tokenize_text(tokenizer: Any, text: str, keywords: Mapping[str, Any]) -> dict[str, Array]:
    """Tokenize a text to int64 (1, tokens): `encode_text` of most models."""
    encoding = tokenizer(text, **{**keywords, "return_tensors": "np"})
    return {name: np.asarray(rows) for name, rows in encoding.items()}


def check_names(where: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a parameter that is not among the known ones, and name the nearest.

    Raises:
        UnknownArgumentError: there is one.
    """
    known = tuple(known)
    for name in names:
        if name not in known:
            raise UnknownArgumentError.among(where, name, known)
