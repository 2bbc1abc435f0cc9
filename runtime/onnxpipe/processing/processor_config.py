"""Find the settings of a processor of images, audio or videos in a model's folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from onnxpipe.bundle.files import has_file, read_json
from onnxpipe.bundle.hub import fetch
from onnxpipe.bundle.hub_options import HubOptions
from onnxpipe.bundle.known_folders import known_folder, model_config
from onnxpipe.bundle.timm_config import PRETRAINED
from onnxpipe.errors import ModelNotFoundError

#: What transformers.js calls Moonshine's feature extractor, which gives the samples as they are.
MOONSHINE = "MoonshineFeatureExtractor"

Need = Literal["processor", "both"]
Kind = Literal["image", "audio", "video"]


@dataclass(frozen=True)
class ProcessorConfig:
    """What a folder says of a processor.

    Attributes:
        values: the object of the file.
        name: of the file, for errors.
        older: written by transformers 4 or older.
        folder: where the model's other files are; None where there are none.
        model: config.json; empty if there is none.
    """

    values: Mapping[str, Any]
    name: str = "the config"
    older: bool = False
    folder: Path | None = None
    model: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model_type(self) -> str:
        """The model's family; "" if config.json does not say."""
        return str(self.model.get("model_type", ""))


def fetch_config(model: str | os.PathLike[str], kind: Kind, hub: HubOptions) -> ProcessorConfig:
    """Find what a folder or a Hub repository says of its processor of images, audio or videos.

    Raises:
        ModelNotFoundError: no such folder or repository, or it says nothing of one.
        BundleError: a damaged file.
    """
    return find_config(fetch_folder(model, hub, need="processor"), str(os.fspath(model)), kind)


def fetch_folder(model: str | os.PathLike[str], hub: HubOptions, *, need: Need) -> Path:
    """The folder with a model's processors, and with its tokenizer too where the `need` is "both"."""
    if need == "both":
        fetch(model, need="tokenizer", **hub.keywords)
    return fetch(model, need="processor", **hub.keywords) / hub.subfolder


def find_config(folder: Path, name: str, kind: Kind = "image") -> ProcessorConfig:
    """`fetch_config` of a local folder; `name` is what errors call it."""
    model = model_config(folder)
    for file, key in _PLACES[kind]:
        config = _read(folder, file)
        config = config.get(key, {}) if key else config
        if isinstance(config, dict) and config:
            return ProcessorConfig(config, f"{file} of {name}", _is_older(config, model, file), folder, model)
    known = known_folder(folder)
    if kind == "audio" and known is not None and known.processor:
        return ProcessorConfig(known.processor, f"what is known of {name}", folder=folder, model=known.config)
    places = ", ".join(dict.fromkeys(file for file, _ in _PLACES[kind]))
    raise ModelNotFoundError(
        f"{name} does not say how {_PLURALS[kind]} are prepared for the model: it has none of {places}. Copy it from "
        "the model that this one was made from"
    )


_PLURALS: Mapping[Kind, str] = {"image": "images", "audio": "recordings", "video": "videos"}

#: Files to look into, and the key in them, best first; transformers 5 has the same order.
_PLACES: Mapping[Kind, tuple[tuple[str, str], ...]] = {
    "image": (
        ("processor_config.json", "image_processor"),
        ("preprocessor_config.json", ""),
        ("config.json", PRETRAINED),
    ),
    "audio": (("processor_config.json", "feature_extractor"), ("preprocessor_config.json", "")),
    "video": (
        ("processor_config.json", "video_processor"),
        ("video_preprocessor_config.json", ""),
        ("preprocessor_config.json", ""),
        ("processor_config.json", "image_processor"),
    ),
}


def has_config(folder: Path, kind: Kind = "image") -> bool:
    """Whether the folder says how images or audio are prepared; a file of one may be of the other."""
    if any((config := _read(folder, file)) and (not key or key in config) for file, key in _PLACES[kind]):
        return True
    known = known_folder(folder)
    return kind == "audio" and known is not None and bool(known.processor)


def has_tokenizer(folder: Path) -> bool:
    """Whether there are files of a tokenizer."""
    names = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "spiece.model", "spm.model")
    return any((folder / name).is_file() for name in names)


def _read(folder: Path, file: str) -> dict[str, Any]:
    return read_json(folder, file, nan=file == "config.json") if has_file(folder, file) else {}


def _is_older(config: Mapping[str, Any], model: Mapping[str, Any], file: str) -> bool:
    """Whether transformers 4 or older wrote the file, as far as the files say."""
    if "feature_extractor_type" in config and "image_processor_type" not in config:
        return True
    if file == "processor_config.json":
        return False  # version 4 wrote no image processors into it
    version = str(config.get("transformers_version") or model.get("transformers_version") or "")
    return version.partition(".")[0] in ("2", "3", "4")
