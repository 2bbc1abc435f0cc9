"""From a model's folder to the object that describes its image processor."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from onnxpipe.bundle.files import inside, read_json
from onnxpipe.bundle.hub import fetch
from onnxpipe.errors import ModelNotFoundError, UnsupportedError

Need = Literal["processor", "both"]


@dataclass(frozen=True)
class Found:
    """What a folder says of a processor.

    Attributes:
        config: the object of the file.
        name: of the file, for errors.
        older: written by transformers 4 or older.
        folder: where the model's other files are.
        model: config.json; empty if there is none.
    """

    config: dict[str, Any]
    name: str
    older: bool
    folder: Path
    model: dict[str, Any]


def fetch_config(
    model: str | os.PathLike[str],
    *,
    kind: str = "image",
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    subfolder: str = "",
    trust_remote_code: bool | None = None,
) -> Found:
    """What a folder or a Hub repository says of its processor of images, videos or sound ("image", "video", "sound").

    Raises:
        ModelNotFoundError: no such folder or repository, or it says nothing of one.
        BundleError: a damaged file.
        UnsupportedError: trust_remote_code=True.
    """
    folder = fetch_folder(
        model, need="processor", revision=revision, token=token, cache_dir=cache_dir,
        local_files_only=local_files_only, subfolder=subfolder, trust_remote_code=trust_remote_code,
    )  # fmt: skip
    return find_config(folder, str(os.fspath(model)), kind)


def fetch_folder(
    model: str | os.PathLike[str],
    *,
    need: Need = "both",
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    subfolder: str = "",
    trust_remote_code: bool | None = None,
) -> Path:
    """The folder with a model's processors, and with its tokenizer too where the `need` is "both"."""
    if trust_remote_code:
        raise UnsupportedError("trust_remote_code=True: code of a model is never run here; leave it out")
    hub: Any = {"revision": revision, "token": token, "cache_dir": cache_dir, "local_files_only": local_files_only}
    if need == "both":
        fetch(model, need="tokenizer", **hub)
    return fetch(model, need="processor", **hub) / subfolder


def find_config(folder: Path, name: str, kind: str = "image") -> Found:
    """`fetch_config` of a local folder; `name` is what errors call it."""
    model = _read(folder, "config.json")
    for file, key in _PLACES[kind]:
        config = _read(folder, file)
        config = config.get(key, {}) if key else config
        if isinstance(config, dict) and config:
            return Found(config, f"{file} of {name}", _is_older(config, model, file), folder, model)
    places = ", ".join(dict.fromkeys(file for file, _ in _PLACES[kind]))
    raise ModelNotFoundError(
        f"{name} does not say how its {kind}s are prepared: none of {places} is there. Copy it from the model that "
        "this one was made of"
    )


#: Files to look into, and the key in them, best first; transformers 5 has the same order.
_PLACES = {
    "image": (("processor_config.json", "image_processor"), ("preprocessor_config.json", "")),
    "sound": (("processor_config.json", "feature_extractor"), ("preprocessor_config.json", "")),
    "video": (
        ("processor_config.json", "video_processor"),
        ("video_preprocessor_config.json", ""),
        ("preprocessor_config.json", ""),
        ("processor_config.json", "image_processor"),
    ),
}


def has_config(folder: Path, kind: str = "image") -> bool:
    """Whether the folder says how pictures are prepared, or sound ("sound"); a file of either may be of the other."""
    return any((config := _read(folder, file)) and (not key or key in config) for file, key in _PLACES[kind])


def has_tokenizer(folder: Path) -> bool:
    """Whether there are files of a tokenizer."""
    names = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "spiece.model", "spm.model")
    return any((folder / name).is_file() for name in names)


def _read(folder: Path, file: str) -> dict[str, Any]:
    return read_json(inside(folder, file)) if (folder / file).is_file() else {}


def _is_older(config: dict[str, Any], model: dict[str, Any], file: str) -> bool:
    """Whether transformers 4 or older wrote the file, as far as anything tells."""
    if "feature_extractor_type" in config and "image_processor_type" not in config:
        return True
    if file == "processor_config.json":
        return False  # version 4 wrote no processors of images into it
    version = str(config.get("transformers_version") or model.get("transformers_version") or "")
    return version.partition(".")[0] in ("2", "3", "4")
