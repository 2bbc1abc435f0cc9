"""Voices of Bark: three arrays of tokens that the speech continues, from a folder, a file, or passed as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe.bundle.arrays import read_npy, read_npz
from onnxpipe.bundle.files import MIB, read_bytes, read_file, read_json
from onnxpipe.errors import BundleError, ModelNotFoundError, UnsupportedError
from onnxpipe.models.base import Array
from onnxpipe.processing.arrays import to_array

PROMPTS: Mapping[str, int] = {"semantic_prompt": 1, "coarse_prompt": 2, "fine_prompt": 2}
"""The arrays of a voice, and the number of axes of each."""

#: The file in which a folder lists its voices: name -> array's name -> file.
LIST = "speaker_embeddings_path.json"
#: Most bytes of a voice; the largest array of suno/bark has 50 kB.
_LIMIT = 16 * MIB


@dataclass(frozen=True)
class Voice:
    """The tokens of a piece of speech, which the model continues in the same voice.

    Attributes:
        semantic: int64 (tokens,).
        coarse: int64 (codebooks, frames): the first codebooks.
        fine: int64 (codebooks, frames): all of them.
    """

    semantic: Array
    coarse: Array
    fine: Array


def voice(preset: Any, folder: Path) -> Voice | None:
    """Find or load a voice.

    Args:
        preset: None; a mapping with `semantic_prompt` (tokens,), `coarse_prompt` and `fine_prompt` (codebooks, frames),
            integers; the name of one of the folder's own voices; or the path of an .npz file with those arrays.
        folder: the model's.

    Raises:
        ValueError: an array is missing, or of another shape or type.
        ModelNotFoundError: no such voice or file.
        BundleError: a file that is damaged, too large, or outside the folder.
    """
    if preset is None or isinstance(preset, Voice):
        return preset
    arrays = preset if isinstance(preset, Mapping) else _load(str(preset), folder)
    missing = [name for name in PROMPTS if name not in arrays]
    if missing:
        raise UnsupportedError(f"Voice preset unrecognized, missing {missing[0]} as a key.")
    return Voice(*(_checked(name, to_array(arrays[name])) for name in PROMPTS))


def voices(folder: Path) -> tuple[str, ...]:
    """Names of the folder's own voices."""
    return tuple(name for name in _listed(folder) if name != "repo_or_path")


def _load(name: str, folder: Path) -> Mapping[str, Any]:
    listed = _listed(folder)
    paths = listed.get(name) if name != "repo_or_path" else None
    if isinstance(paths, Mapping):
        return {prompt: _array(folder, str(path)) for prompt, path in paths.items() if prompt in PROMPTS}
    path = Path(name if name.endswith(".npz") else f"{name}.npz").expanduser()
    if not path.exists():
        own = ", ".join(sorted(voices(folder))[:6]) or "none"
        raise ModelNotFoundError(
            f"no voice {name!r}: neither a file {path} nor one of the model's own ({own}); a voice may also be a dict "
            f"of {', '.join(PROMPTS)}"
        )
    return _arrays(path)


def _listed(folder: Path) -> dict[str, Any]:
    """Read the folder's list of voices; empty if it has none."""
    try:
        return read_json(folder, LIST)
    except ModelNotFoundError:
        return {}


def _array(folder: Path, name: str) -> Array:
    """Read the array of an .npy file; no pickle is read."""
    try:
        return read_npy(read_bytes(folder, name, _LIMIT))
    except BundleError:
        raise
    except ValueError as error:
        raise BundleError(f"{folder / name} is not an array: {error}") from error


def _arrays(path: Path) -> dict[str, Array]:
    """Read the arrays of a voice from an .npz file; pickles and files that unpack to more than `_LIMIT` are refused."""
    try:
        return {name: array for name, array in read_npz(read_file(path, _LIMIT), _LIMIT) if name in PROMPTS}
    except BundleError:
        raise
    except ValueError as error:
        raise BundleError(f"{path} is not a voice: {error}") from error


def _checked(name: str, array: Array) -> Array:
    if array.ndim != PROMPTS[name] or not np.issubdtype(array.dtype, np.integer):
        raise UnsupportedError(
            f"{name} voice preset must be a {PROMPTS[name]}D ndarray of integers, got {array.dtype} of shape "
            f"{array.shape}"
        )
    return array.astype(np.int64)
