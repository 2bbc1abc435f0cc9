"""Give folders a name that every library takes: many (safetensors, onnx, kenlm) refuse names that are not UTF-8."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnxpipe.errors import BundleError, OnnxPipeError


@contextlib.contextmanager
def in_utf8(folder: Path) -> Iterator[Path]:
    """Yield a path to a folder that is valid UTF-8: its own, or that of a link to it, which is removed afterwards.

    Errors of ours that leave the block name the folder, not the link.

    Raises:
        BundleError: a link cannot be made on this system.
    """
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        pass
    else:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="onnxpipe-") as place:
        link = Path(place) / os.fsencode(folder.name).decode("utf-8", "replace")
        try:
            link.symlink_to(folder.absolute(), target_is_directory=True)
        except OSError as error:
            raise BundleError(
                f"the name of {folder} is not UTF-8, and no link with another name could be made: {error.strerror}. "
                "Rename the folder"
            ) from error
        try:
            yield link
        except OnnxPipeError as error:
            error.args = tuple(_renamed(part, str(link), str(folder)) for part in error.args)
            raise


def _renamed(part: Any, link: str, folder: str) -> Any:
    """Put the folder's own name into the text of an error."""
    return part.replace(link, folder) if isinstance(part, str) else part
