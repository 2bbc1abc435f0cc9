"""Files of a bundle: a folder that is there whole or not at all, the copies in it, and its manifest."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onnxpipe.errors import ExportError

MANIFEST = "bundle.json"

# What a checkpoint has beside its weights and tokenizer, and a bundle needs as it is.
_COPIED = (
    "config.json",
    "generation_config.json",
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
    "2_Normalize/config.json",
)


@contextlib.contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A folder to write in, beside `target`, that takes its place when the block ends well and vanishes when not.

    An older bundle at `target` stays until then.

    Raises:
        ExportError: `target` is a file, or a folder with something in it that is not a bundle.
    """
    _check_target(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    try:
        yield stage
        stage.chmod(0o777 & ~_umask())
        _replace(stage, target)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _check_target(target: Path) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ExportError(f"{target} exists and is not a folder; choose another output folder")
    if target.is_dir() and any(target.iterdir()) and not (target / MANIFEST).is_file():
        raise ExportError(
            f"{target} is not empty and is no bundle (it has no {MANIFEST}); choose another output folder"
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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def copy_side_files(source: Path, folder: Path) -> None:
    """Copy config.json and the files of sentence-transformers, byte for byte."""
    for name in _COPIED:
        if (source / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, folder / name)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as indented UTF-8 JSON with a final newline."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def describe_files(folder: Path) -> dict[str, dict[str, int | str]]:
    """Relative path -> size in bytes and sha256 of every file below `folder` except the manifest, in order of path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": _sha256(path)}
        for path in files
        if path != folder / MANIFEST
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
