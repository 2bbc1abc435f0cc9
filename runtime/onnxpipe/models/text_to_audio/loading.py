"""Load a model of text-to-audio: which class it is, its type tells."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from onnxpipe.bundle import Bundle
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.base import Model, Opener
from onnxpipe.models.loading import ModelLoader

#: The config's model_type -> module in this package, and class; see `onnxpipe.models.text_to_audio.protocol`.
_CLASSES: Mapping[str, tuple[str, str]] = {
    "bark": ("bark.model", "Bark"),
    "musicgen": ("musicgen", "Musicgen"),
    "speecht5": ("speecht5", "SpeechT5"),
    "style_text_to_speech_2": ("kokoro", "Kokoro"),
    "vits": ("vits", "Vits"),
}


def load_text_to_audio_model(bundle: Bundle, opener: Opener, name_or_path: str) -> Model:
    """Load the model of a bundle; it has all of `onnxpipe.models.text_to_audio.protocol.TextToAudioModel`.

    Raises:
        UnsupportedError: its config names a type that is not one of text-to-audio.
    """
    model_type = str(bundle.config.model_type)
    if model_type not in _CLASSES:
        raise UnsupportedError(
            f"{name_or_path} is a model of type {model_type!r}; text-to-audio knows {', '.join(sorted(_CLASSES))}"
        )
    module, name = _CLASSES[model_type]
    load: ModelLoader = getattr(importlib.import_module(f"onnxpipe.models.text_to_audio.{module}"), name).load
    return load(bundle, opener, name_or_path)
