"""Models of text-to-audio: which class a folder's graphs are."""

from __future__ import annotations

import importlib
from abc import ABC
from collections.abc import Mapping
from typing import Any

from onnxpipe.bundle import Bundle
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.base import Model, Opener

#: The config's model_type -> file in this folder, and class; see `onnxpipe.models.text_to_audio.protocol.SpeechModel`.
_CLASSES: Mapping[str, tuple[str, str]] = {
    "bark": ("bark", "Bark"),
    "musicgen": ("musicgen", "Musicgen"),
    "speecht5": ("speecht5", "SpeechT5"),
    "style_text_to_speech_2": ("kokoro", "Kokoro"),
    "vits": ("vits", "Vits"),
}


class TextToAudioModel(ABC):  # noqa: B024 - it stands for models of several classes
    """Any model with `speak`: `load` gives one of the class that the folder's config names."""

    @classmethod
    def load(cls, bundle: Bundle, opener: Opener, name_or_path: str) -> Model:
        """The model of a bundle.

        Raises:
            UnsupportedError: a model of another kind.
        """
        kind = str(bundle.config.model_type)
        if kind not in _CLASSES:
            raise UnsupportedError(
                f"{name_or_path} is a model of type {kind!r}; text-to-audio knows {', '.join(sorted(_CLASSES))}"
            )
        module, name = _CLASSES[kind]
        found: Any = getattr(importlib.import_module(f"onnxpipe.models.text_to_audio.{module}"), name)
        model: Model = found.load(bundle, opener, name_or_path)
        return model

    @classmethod
    def __subclasshook__(cls, other: type) -> bool:
        return hasattr(other, "speak")
