"""Read a model folder's files without trusting them: inside the folder only, bounded sizes, plain JSON objects."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

from onnxpipe.errors import BundleError, ModelNotFoundError

MIB = 1 << 20
JSON_LIMIT = 16 * MIB
#: tokenizer.json holds the vocabulary; the largest in use are below 40 MiB.
TOKENIZER_LIMIT = 256 * MIB

_DRIVE = re.compile(r"^[A-Za-z]:")


def read_json(path: Path, limit: int | None = None) -> dict[str, Any]:
    """Read the object in a JSON file.

    Args:
        path: the file.
        limit: most bytes; by default 256 MiB for tokenizer.json and 16 MiB for all others.

    Raises:
        ModelNotFoundError: no such file.
        BundleError: too large, not JSON, too deep, not an object, or with NaN in it.
    """
    if limit is None:
        limit = TOKENIZER_LIMIT if path.name == "tokenizer.json" else JSON_LIMIT
    try:
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except FileNotFoundError:
        raise ModelNotFoundError(f"no file {path}") from None
    except OSError as error:
        raise BundleError(f"{path} could not be read: {error}") from error
    if len(raw) > limit:
        raise BundleError(f"{path} is larger than {limit} bytes, so it is not the {path.name} of a model")
    try:
        value = json.loads(raw, parse_constant=_constant)
    except RecursionError:
        raise BundleError(f"{path} is nested too deeply") from None
    except ValueError as error:
        raise BundleError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise BundleError(f"{path} must hold a JSON object, not a {type(value).__name__}")
    return value


def _constant(name: str) -> float:
    # Python's own json writes these; Infinity is in some real configs (Mamba's time_step_limit), NaN in none.
    if name == "NaN":
        raise ValueError("NaN")
    return float(name.replace("Infinity", "inf"))


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


def _blobs(real_root: Path) -> Path | None:
    """Find the blobs folder, if `real_root` is <repository>/snapshots/<commit> in the Hub's cache.

    It is not resolved: were `blobs` itself a link, then its files' real paths would not lie in it, and be refused.
    """
    snapshots = real_root.parent
    if snapshots.name != "snapshots" or not snapshots.parent.name.startswith("models--"):
        return None
    return snapshots.parent / "blobs"
