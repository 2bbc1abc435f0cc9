"""The families of vision-language models by the `model_type` of their config."""

from __future__ import annotations

import importlib

from onnxpipe.bundle import Config
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.vision_language.family import Family

#: model_type to the module in this folder and the class in it.
_FAMILIES: dict[str, tuple[str, str]] = {
    "gemma3": ("gemma", "Gemma3"),
    "idefics3": ("idefics3", "Idefics3"),
    "internvl": ("family", "Family"),
    "llava": ("family", "Family"),
    "llava_next": ("llava_next", "LlavaNext"),
    "llava_onevision": ("llava_next", "LlavaOnevision"),
    "paligemma": ("gemma", "PaliGemma"),
    "smolvlm": ("idefics3", "Idefics3"),
    "qwen2_5_vl": ("qwen_vl", "Qwen25VL"),
    "qwen2_vl": ("qwen_vl", "QwenVL"),
    "qwen3_vl": ("qwen_vl", "Qwen3VL"),
}


def is_known(config: Config) -> bool:
    """Return whether the family of a model is known here."""
    return str(config.model_type) in _FAMILIES


def family_of(config: Config) -> Family:
    """Make the family of a model.

    Raises:
        UnsupportedError: it is not known here.
    """
    kind = str(config.model_type)
    if kind not in _FAMILIES:
        raise UnsupportedError(
            f"vision-language models of the type {kind!r} are not supported; those that are: "
            f"{', '.join(sorted(_FAMILIES))}"
        )
    module, name = _FAMILIES[kind]
    found: type[Family] = getattr(importlib.import_module(f"onnxpipe.models.vision_language.{module}"), name)
    return found(config)
