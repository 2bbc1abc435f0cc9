"""The base of all models that write about images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any, ClassVar

from onnxpipe.models.generative import GenerativeModel


class ImageToTextModel(GenerativeModel, ABC):
    """A model that writes about images.

    Attributes:
        takes_prompt: whether a text may begin what is generated.
    """

    takes_prompt: ClassVar[bool] = False

    @property
    @abstractmethod
    def image_inputs(self) -> Collection[str]:
        """Inputs of the graph that encodes images."""

    def prompt_ids(self, tokenizer: Any, prompt: str | None) -> list[int] | None:
        """Tokenize the beginning of a text as `generate()` takes it in `input_ids`; None for none."""
        return None if prompt is None else list(tokenizer(prompt)["input_ids"])
