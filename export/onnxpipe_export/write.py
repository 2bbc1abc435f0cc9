"""Write the files of a bundle: a folder that appears complete or not at all, and the files copied into it."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onnxpipe.bundle.files import copy_file, inside
from onnxpipe.bundle.folder_names import in_utf8
from onnxpipe.bundle.manifest import MANIFEST
from onnxpipe.errors import ExportError

# What a checkpoint has beside its weights and tokenizer, and a bundle needs as it is.
_COPIED = (
    "config.json",
    "generation_config.json",
    "decision.json",
    "decision_template.jinja",
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
)

_ABANDONED = 24 * 3600
"""Age in seconds from which on an unfinished folder is taken for that of an export that was killed."""

_VOICES = "speaker_embeddings_path.json"
"""The list of voices in Bark's folder: name -> array's name -> file."""
_ALPHABET, _LANGUAGE = "alphabet.json", "language_model"


@contextlib.contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yield a folder beside `target` that takes its place when the block succeeds and is removed when it fails.

    An older bundle at `target` stays until then.

    Raises:
        ExportError: `target` is a file, or a folder with something in it that is not a bundle.
    """
    _check_target(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target.parent)
    holder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    stage = holder / target.name  # only the holder is closed to others: what is in it has the rights of any new folder
    try:
        stage.mkdir()
        with in_utf8(stage) as named:
            yield named
        _replace(stage, target)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Remove what exports that were killed left here, if nothing in it was written for a day."""
    for stage in parent.glob(".*.*.partial"):
        with contextlib.suppress(OSError):
            if stage.is_symlink() or not stage.is_dir():
                continue
            newest = max(path.lstat().st_mtime for path in (stage, *stage.rglob("*")))
            if time.time() - newest > _ABANDONED:
                shutil.rmtree(stage, ignore_errors=True)


def _check_target(target: Path) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ExportError(f"{target} exists and is not a folder; choose another output folder")
    if target.is_dir() and any(target.iterdir()) and not (target / MANIFEST).is_file():
        raise ExportError(
            f"{target} is not empty and is not a bundle (it has no {MANIFEST}); choose another output folder"
        )


def _replace(stage: Path, target: Path) -> None:
    """Put `stage` where `target` is. The old folder is moved aside first and comes back if the move fails."""
    if not target.exists():
        stage.rename(target)
        return
    _check_target(target)
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent)) / "bundle"
    target.rename(old)
    try:
        stage.rename(target)
    except OSError:
        old.rename(target)
        raise
    finally:
        shutil.rmtree(old.parent, ignore_errors=True)


def copy_side_files(source: Path, folder: Path) -> None:
    """Copy config.json, Bark's voices, a language model for CTC and the files of sentence-transformers, byte for byte.

    Weights of sentence-transformers' layers are written as safetensors.

    Raises:
        BundleError: one of them is a link out of the folder; what it leads to would be published with the bundle.
    """
    modules = [f"{path}/config.json" for path in _module_folders(source)]
    for name in (*_COPIED, *modules, *_voice_files(source), *_language_files(source)):
        if (source / name).is_file():
            copy_file(source, name, folder)
    for path in _module_folders(source):
        _copy_weights(source, path, folder)


def write_generation_config(model: Any, folder: Path) -> None:
    """Write generation_config.json where the checkpoint had none: the one that transformers derived from its config."""
    path = folder / "generation_config.json"
    if not path.is_file():
        write_json(path, json.loads(model.generation_config.to_json_string()))


def _module_folders(source: Path) -> list[str]:
    """List the folders of the steps after the transformer that modules.json names, e.g. "1_Pooling", "2_Dense".

    Raises:
        ExportError: one of them is outside the model's folder.
    """
    if not (source / "modules.json").is_file():
        return []
    named = [str(module.get("path", "")) for module in json.loads((source / "modules.json").read_text("utf-8"))]
    for path in named:
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise ExportError(f"{source / 'modules.json'}: the path {path!r} leaves the folder")
    return [path for path in named if path]


def _voice_files(source: Path) -> list[str]:
    """List the file that names Bark's voices, and the arrays that it names.

    Raises:
        ExportError: one of them is outside the model's folder.
    """
    path = source / _VOICES
    if not path.is_file():
        return []
    voices = [paths for paths in json.loads(path.read_text("utf-8")).values() if isinstance(paths, dict)]
    named = [str(name) for paths in voices for name in paths.values()]
    for name in named:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ExportError(f"{path}: the path {name!r} leaves the folder")
    return [_VOICES, *named]


def _language_files(source: Path) -> list[str]:
    """List the files of pyctcdecode's language model that belong to a CTC model (Wav2Vec2ProcessorWithLM)."""
    if not (source / _ALPHABET).is_file():
        return []
    return [_ALPHABET, *(f"{_LANGUAGE}/{path.name}" for path in sorted((source / _LANGUAGE).glob("*")))]


def _copy_weights(source: Path, module: str, folder: Path) -> None:
    safe, pickled = f"{module}/model.safetensors", f"{module}/pytorch_model.bin"
    if (source / safe).is_file():
        copy_file(source, safe, folder)
    elif (source / pickled).is_file():
        import torch
        from safetensors.torch import save_file

        state = torch.load(inside(source, pickled), map_location="cpu", weights_only=True)
        save_file({name: value.contiguous() for name, value in state.items()}, folder / safe)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as indented UTF-8 JSON with a final newline.

    The name of a folder may have bytes that are not UTF-8, which Python has as lone surrogates.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    path.write_bytes(text.encode("utf-8", "backslashreplace"))  # half a surrogate pair as JSON's own escape of it
