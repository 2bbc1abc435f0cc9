"""The table of processors: every entry is there, and asking for one class imports its module alone."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.audio.base import FeatureExtractor
from onnxpipe.processing.auto import AutoFeatureExtractor
from onnxpipe.processing.images.base import ImageProcessor
from onnxpipe.processing.multimodal.audio_text import SpeechProcessor
from onnxpipe.processing.multimodal.image_text import TextImageProcessor
from onnxpipe.processing.registry import (
    AUDIO_TEXT_PROCESSORS,
    FEATURE_EXTRACTORS,
    IMAGE_PROCESSORS,
    IMAGE_TEXT_PROCESSORS,
    ClassTable,
    audio_text_processor,
    image_text_processor,
    is_image_config,
)

TABLES: list[tuple[ClassTable[Any], type]] = [
    (IMAGE_PROCESSORS, ImageProcessor),
    (FEATURE_EXTRACTORS, FeatureExtractor),
    (IMAGE_TEXT_PROCESSORS, TextImageProcessor),
    (AUDIO_TEXT_PROCESSORS, SpeechProcessor),
]


@pytest.mark.parametrize(("table", "base"), TABLES, ids=["images", "audio", "image_text", "audio_text"])
def test_every_entry_resolves_and_none_is_missing(table: ClassTable[Any], base: type) -> None:
    for name, cls in table.items():
        assert issubclass(cls, base) and cls.__name__ == name and cls.__module__ == table.module_of(name)
    assert set(table.families.values()) <= set(table)
    bases = {parent.__name__ for cls in table.values() for parent in cls.__mro__[1:]}
    for module in {table.module_of(name) for name in table}:
        there = {
            name
            for name, value in vars(import_module(module)).items()
            if isinstance(value, type) and issubclass(value, base) and not name.startswith("_")
            if value.__module__ == module
        }
        assert there - bases <= set(table), module


@pytest.mark.parametrize(
    ("table", "name", "room"),
    [("FEATURE_EXTRACTORS", "WhisperFeatureExtractor", "audio"), ("IMAGE_PROCESSORS", "ViTImageProcessor", "images")],
)
def test_one_class_imports_one_module(table: str, name: str, room: str) -> None:
    code = (
        f"import sys; from onnxpipe.processing.registry import {table} as T; T[{name!r}];"
        "print(*(m for m in sys.modules if m.startswith('onnxpipe.processing.')))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    listed = {module for each, _ in TABLES for module in map(each.module_of, each)}
    (module,) = listed & set(loaded)
    assert module in {each.module_of(name) for each, _ in TABLES if name in each}
    assert {m.split(".")[2] for m in loaded} & {"audio", "images", "video", "text", "multimodal"} == {room}


def test_the_class_that_a_config_names() -> None:
    config = {"feature_extractor_type": "WhisperFeatureExtractor"}
    assert FEATURE_EXTRACTORS.class_for(config, {}, "x").__name__ == "WhisperFeatureExtractor"
    video = IMAGE_PROCESSORS.class_for({"video_processor_type": "VivitVideoProcessor"}, {}, "x")
    assert video is IMAGE_PROCESSORS["VivitImageProcessor"]
    assert IMAGE_PROCESSORS.class_for({}, {"model_type": "sam_hq"}, "x").__name__ == "SamImageProcessor"
    for name in (
        "MobileNetV4ImageProcessor",
        "MobileNetV3FeatureExtractor",
        "SapiensImageProcessor",
    ):  # transformers.js'
        plain = IMAGE_PROCESSORS.class_for({"feature_extractor_type": name}, {}, "x")
        assert plain is IMAGE_PROCESSORS["PlainImageProcessor"]
    moonshine = {"feature_extractor_type": "MoonshineFeatureExtractor"}
    assert not is_image_config(moonshine, {})
    samples = np.linspace(-0.5, 0.9, 800, dtype=np.float32)
    found = AutoFeatureExtractor.from_dict(moonshine)(samples, sampling_rate=16_000)["input_values"]
    assert np.array_equal(found[0], samples)  # not scaled to a mean of 0
    with pytest.raises(UnsupportedError, match="names no image processor, and its family is unknown; known: Beit"):
        IMAGE_PROCESSORS.class_for({}, {}, "the config")
    with pytest.raises(UnsupportedError, match="x names the feature extractor 'Y', which is not here; known: AST"):
        FEATURE_EXTRACTORS.class_for({"feature_extractor_type": "Y"}, {}, "x")


def test_processors_of_families() -> None:
    assert image_text_processor("owlv2").__name__ == "OwlProcessor"
    assert image_text_processor("clip").__name__ == "Processor"
    assert audio_text_processor("clap").__name__ == "ClapProcessor"
    assert audio_text_processor("whisper").__name__ == "SpeechProcessor"


def test_image_configs_differ_from_audio_configs() -> None:
    assert is_image_config({"image_processor_type": "X"}, {})
    assert is_image_config({"feature_extractor_type": "ViTFeatureExtractor"}, {})
    assert is_image_config({}, {"model_type": "resnet"})
    assert not is_image_config({"feature_extractor_type": "WhisperFeatureExtractor"}, {})
    assert not is_image_config({}, {"model_type": "hubert"})
