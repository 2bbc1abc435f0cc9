"""The zoo's audio families: which there are, what cannot be exported, and variants.

    models()["wav2vec2", "automatic-speech-recognition"](folder)    # config.json, model.safetensors, …

The families themselves are in `models` (one graph, CLAP), `speech_text_models` (speech encoder-decoders),
`speech_synthesis` (SpeechT5, VITS, vocoders) and `music_models` (MusicGen, Bark, EnCodec).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from zoo.variants import build_variant

TASKS = (
    "automatic-speech-recognition",
    "audio-classification",
    "zero-shot-audio-classification",
    "text-to-audio",
)

NO_PIPELINE = "vocoder"
"""A task of a model that transformers has no pipeline for."""

VARIANTS: Mapping[str, dict[str, Any]] = {
    "multilabel": {"problem_type": "multi_label_classification"},
    "regression": {"problem_type": "regression"},
    "single": {"problem_type": "single_label_classification"},
    # What these draw at random, transformers draws from torch.
    "quiet": {"noise_scale": 0.0, "noise_scale_duration": 0.0},
    "steady": {"speech_decoder_prenet_dropout": 0.0},
}
"""What follows the `+` of a head -> values that replace those of config.json: the same weights, used otherwise."""

_BROAD = {"hidden_size": 128, "intermediate_size": 256}

WIDE: Mapping[str, dict[str, Any]] = {
    "wav2vec2": {**_BROAD, "conv_dim": [32] * 7},
    "wav2vec2-large": {**_BROAD, "conv_dim": [64] * 7},
    "wav2vec2-bert": _BROAD,
    "audio-spectrogram-transformer": _BROAD,
}
"""The variant "wide": family -> sizes at which matrices and convolutions are worth 8 bits."""

Key = tuple[str, str]
_MODULES = ("models", "speech_text_models", "speech_synthesis", "music_models")


def is_audio(head: str) -> bool:
    """Return whether `head` is an audio model's: its task's name, with a variant perhaps."""
    return head.partition("+")[0] in (*TASKS, NO_PIPELINE)


@cache
def models() -> Mapping[Key, Callable[[Path], None]]:
    """(family, task) -> what writes the model's folder."""
    return {key: write for module in _modules() for key, write in module.MODELS.items()}


@cache
def missing() -> Mapping[Key, str]:
    """(family, task) -> why it cannot be exported."""
    return {key: reason for module in _modules() for key, reason in getattr(module, "MISSING", {}).items()}


def families(task: str) -> tuple[str, ...]:
    """The families of `task`, those that cannot be exported included, in the order of their files."""
    return tuple(dict.fromkeys(family for family, other in (*models(), *missing()) if other == task))


def build(family: str, head: str, folder: Path) -> None:
    """See `zoo.variants.build_variant`."""
    from zoo.audio import models as audio_models

    build_variant(
        family,
        head,
        folder,
        models=models(),
        write_larger=audio_models.write_larger,
        wide=WIDE,
        variants=VARIANTS,
    )


def _modules() -> list[Any]:
    return [import_module(f"zoo.audio.{name}") for name in _MODULES]
