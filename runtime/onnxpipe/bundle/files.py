"""Read a model folder's files without trusting them: inside the folder only, bounded sizes, plain JSON objects."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from onnxpipe.errors import BundleError, ModelNotFoundError

MIB = 1 << 20
#: Most bytes of a file beside the graphs.
SMALL_LIMIT = 16 * MIB
#: These hold a vocabulary; the largest in use are below 40 MiB.
_LIMITS = dict.fromkeys(("tokenizer.json", "target_tokenizer.json", "vocab.json", "vocab.txt", "merges.txt"), 256 * MIB)

#: How a file begins that lies in another's place -> what it is, and how the right one is got.
_BEGINNINGS = {
    b"version https://git-lfs.github.com/spec/": "it is a pointer of Git LFS, not the file itself: run `git lfs pull` "
    "in the repository, or download it with `hf download`",
    b"<!doctype html": "it is a page of the web: download the file from its address with /resolve/ in place of /blob/",
    b"<html": "it is a page of the web: download the file from its address with /resolve/ in place of /blob/",
}
_LONGEST = max(map(len, _BEGINNINGS))

_DRIVE = re.compile(r"^[A-Za-z]:")


def has_file(folder: Path, name: str) -> bool:
    """Whether something of this name lies in a model's folder; whether it may be read is found when it is read."""
    return os.path.lexists(folder / name)


def read_bytes(folder: Path, name: str, limit: int | None = None) -> bytes:
    """Read a file of a model's folder.

    Args:
        folder: the model's folder.
        name: the file's path in it, with "/".
        limit: most bytes; by default 256 MiB for tokenizers and vocabularies and 16 MiB for all others.

    Raises:
        ModelNotFoundError: no such file.
        BundleError: it lies outside the folder, is not a regular file, is too large, or cannot be read.
    """
    return read_file(inside(folder, name), limit)


def read_file(path: Path, limit: int | None = None) -> bytes:
    """Read a file that the user named, wherever it lies; else as `read_bytes`, which is for files of a model."""
    limit = _LIMITS.get(path.name, SMALL_LIMIT) if limit is None else limit
    try:
        # Without waiting: a pipe that nobody writes to would be waited for until the end of days.
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(file, "rb") as stream:  # noqa: PTH123 - a descriptor
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise BundleError(f"{path} is not a file")
            content = b"" if status.st_size > limit else stream.read(limit + 1)
    except FileNotFoundError:
        raise ModelNotFoundError(f"no file {path}") from None
    except (OSError, ValueError) as error:
        raise error if isinstance(error, BundleError) else BundleError(f"{path} could not be read: {error}") from error
    if max(status.st_size, len(content)) > limit:
        raise BundleError(f"{path} is larger than {limit} bytes, so it is not the {path.name} of a model")
    return content


def read_text(folder: Path, name: str, limit: int | None = None) -> str:
    """Read a text in UTF-8; otherwise as `read_bytes`."""
    try:
        return read_bytes(folder, name, limit).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise BundleError(f"{folder / name} is not a text in UTF-8: {error}") from None


def read_json(folder: Path, name: str, limit: int | None = None, *, nan: bool = False) -> dict[str, Any]:
    """Read the object in a JSON file; otherwise as `read_bytes`.

    Args:
        folder, name, limit: see `read_bytes`.
        nan: whether it may hold NaN, as some config.json do.

    Raises:
        BundleError: not JSON, too deep, not an object, or with NaN in it.
    """
    value = read_json_value(folder, name, limit, nan=nan)
    if not isinstance(value, dict):
        raise BundleError(f"{folder / name} must hold a JSON object, not a {type(value).__name__}")
    return value


def read_json_value(folder: Path, name: str, limit: int | None = None, *, nan: bool = False) -> Any:
    """Read a JSON file that may hold any value; otherwise as `read_json`."""
    raw = read_bytes(folder, name, limit)
    try:
        return json.loads(raw, parse_constant=float if nan else _constant)
    except RecursionError:
        raise BundleError(f"{folder / name} is nested too deeply") from None
    except ValueError as error:
        raise BundleError(f"{folder / name} is not valid JSON: {instead(raw) or error}") from None


def _constant(name: str) -> float:
    # Python's own json writes these; Infinity is in some real files (Mamba's time_step_limit), NaN in configs alone.
    if name == "NaN":
        raise ValueError("NaN")
    return float(name.replace("Infinity", "inf"))


def instead(content: bytes) -> str:
    """Say what a file is by how it begins, where something else lies in its place; "" where nothing is known of it."""
    begin = content[:_LONGEST].lstrip().lower()
    return next((what for beginning, what in _BEGINNINGS.items() if begin.startswith(beginning)), "")


def inside(root: Path, relative: str) -> Path:
    """Make the path of a file in the folder `root`, from a name (with "/") that a file of the folder contains.

    Raises:
        BundleError: the name is absolute, has "..", or a link on its way leads out of the folder.
        ModelNotFoundError: no such file.
    """
    parts = relative.split("/")
    bad = not relative or "\0" in relative or "\\" in relative or _DRIVE.match(relative) or relative.startswith("/")
    if bad or ".." in parts:
        raise BundleError(f"the file name {relative!r} in {root} points out of the folder; that is never right")
    path = root / PurePosixPath(relative)
    check_inside(root, path)
    return path


def check_inside(root: Path, path: Path) -> None:
    """Refuse a file that, with its links followed, lies outside the folder `root`.

    The one exception is the Hub's cache: its snapshots are links into the `blobs` folder of the same repository.

    Raises:
        BundleError: it does, or it is not a plain file.
        ModelNotFoundError: no such file.
    """
    try:
        real_root, real = root.resolve(strict=True), path.resolve(strict=True)
    except FileNotFoundError:
        raise ModelNotFoundError(f"no file {path}") from None
    except (OSError, RuntimeError, ValueError) as error:  # loops of links, names that no file system takes
        raise BundleError(f"{path} could not be followed: {error}") from None
    if not real.is_file():
        raise BundleError(f"{path} is not a file")
    if not real.is_relative_to(real_root) and real.parent != _blobs(real_root):
        raise BundleError(f"{path} is a link to {real}, outside the model's folder: put the file itself there")


def copy_file(root: Path, name: str, target: Path) -> None:
    """Copy a file of the model's folder `root` into the folder `target`, under the same name; links are followed.

    Raises:
        ModelNotFoundError, BundleError: as `inside`.
    """
    _copy(inside(root, name), target / name)


def copy_folder(root: Path, target: Path) -> None:
    """Copy the files of the model's folder `root` to the folder `target`. If one may not be read, none is copied.

    Raises:
        BundleError: a file lies, with its links followed, outside the folder, or is a pipe, a device or a link to a
            folder.
        OSError: it cannot be read or written.
    """
    paths = list(_everything(root))
    for path in paths:
        check_inside(root, path)
    for path in paths:
        _copy(path, target / path.relative_to(root))


def _everything(root: Path) -> Iterator[Path]:
    """Yield all that a folder and those in it hold, but for the folders; one behind a link is not walked."""
    for folder, folders, files in os.walk(root, onerror=_raise):
        for path in (Path(folder, name) for name in (*folders, *files)):
            if path.is_symlink() or not path.is_dir():
                yield path


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)


def _raise(error: OSError) -> None:
    raise error


def _blobs(real_root: Path) -> Path | None:
    """Find the blobs folder, if `real_root` is, or is in, <repository>/snapshots/<commit> in the Hub's cache.

    It is not resolved: were `blobs` itself a link, then its files' real paths would not lie in it, and be refused.
    """
    for commit in (real_root, *real_root.parents):  # a model may lie in a subfolder of its repository
        snapshots = commit.parent
        if snapshots.name == "snapshots" and snapshots.parent.name.startswith("models--"):
            return snapshots.parent / "blobs"
    return None
