"""The seam between the text-to-audio task and the models that speak, sing and play."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from onnxpipe.errors import UnknownArgumentError
from onnxpipe.models.base import Array


class SpeechModel(Protocol):
    """A model that makes sound of a text, one text at a time: neither length nor noise depends on neighbours.

    Attributes:
        sampling_rate: samples a second of what `speak` gives; None where a vocoder tells it.
        gives_spectrogram: whether `speak` gives log mels, float32 (frames, mels), that need a vocoder.
        takes_seed: whether a seed decides what is random; not where the graph draws its noise itself. True if absent.
    """

    gives_spectrogram: bool

    @property
    def sampling_rate(self) -> int | None:
        """Samples a second."""
        ...

    def can_generate(self) -> bool:
        """Whether `speak` runs a loop that `generate_kwargs` steer."""
        ...

    def read(
        self, tokenizer: Any, text: str, keywords: Mapping[str, Any], forward_params: Mapping[str, Any]
    ) -> dict[str, Array]:
        """What `speak` takes for a text: arrays with a batch axis of one, e.g. `input_ids` int64 (1, tokens).

        Args:
            tokenizer: the model's.
            text: the text.
            keywords: of the tokenizer's (or processor's) call: the task's `preprocess_params`.
            forward_params: as `speak` gets them; a voice may decide how a text is read.
        """
        ...

    def speak(
        self,
        inputs: Mapping[str, Array],
        *,
        forward_params: Mapping[str, Any],
        generate_kwargs: Mapping[str, Any],
        seed: int,
    ) -> Array:
        """The sound of one text.

        Args:
            inputs: from `read`.
            forward_params: what steers the model.
            generate_kwargs: what steers its loop; goes before `forward_params`. Empty where `can_generate()` is False.
                What the task sets where neither the user nor the model does (transformers: 256 new tokens) is the
                model's affair.
            seed: of everything that is random.

        Returns:
            float32, shaped as transformers 4 gives it: (1, samples), (1, channels, samples) or (samples,); of a model
            with `gives_spectrogram` (frames, mels).

        Raises:
            UnknownArgumentError: a parameter that the model does not know.
        """
        ...


def read_text(tokenizer: Any, text: str, keywords: Mapping[str, Any]) -> dict[str, Array]:
    """The tokenizer's rows of a text, int64 (1, tokens): what most models' `read` is."""
    encoding = tokenizer(text, **{**keywords, "return_tensors": "np"})
    return {name: np.asarray(rows) for name, rows in encoding.items()}


def check_names(where: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuses a parameter that is not among the known ones, and names the nearest.

    Raises:
        UnknownArgumentError: there is one.
    """
    known = tuple(known)
    for name in given:
        if name not in known:
            raise UnknownArgumentError.among(where, name, known)
