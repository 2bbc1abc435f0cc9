"""Read a user's folder of samples, images or recordings, and join inputs of one row to a batch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from onnxpipe.errors import ExportError

_T = TypeVar("_T")


def calibration_files(folder: Path, noun: str, suffixes: Collection[str], most: int) -> list[Path]:
    """List the files of a folder and its subfolders with these endings; at most `most`, spread over the names.

    Args:
        folder: the user's.
        noun: what the files are, for messages: "image" or "recording".
        suffixes: endings in lower case, with their dot.
        most: how many files to return at most.

    Raises:
        ExportError: there is no such folder, or no such file in it.
    """
    if not folder.is_dir():
        raise ExportError(f"calibration= is not a folder: {folder}")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    if not paths:
        raise ExportError(f"no {noun} in {folder} to calibrate with; files ending in {', '.join(sorted(suffixes))}")
    step = -(-len(paths) // most)
    return paths[::step]


def prepare_each(paths: Sequence[Path], prepare: Callable[[Path], _T], noun: str) -> Iterator[_T]:
    """Yield `prepare(path)` for each file.

    Raises:
        ExportError: a file cannot be read or prepared; `noun` says what it should have been.
    """
    for path in paths:
        try:
            prepared = prepare(path)
        except (OSError, ValueError) as error:
            raise ExportError(f"cannot use the {noun} {path} for calibration: {error}") from error
        yield prepared


def stacked(rows: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Join feeds of one row each, of equal shapes, to one batch."""
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
