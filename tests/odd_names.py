"""Folders and files whose names have bytes that are not UTF-8."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def odd_folder(parent: Path) -> Path:
    """Make a folder whose name is not UTF-8; skip the test where the file system has no such names."""
    folder = parent / os.fsdecode(b"mod\xe8le \xff")
    try:
        folder.mkdir()
    except (OSError, UnicodeError):
        pytest.skip("file names are UTF-8 here")
    return folder
