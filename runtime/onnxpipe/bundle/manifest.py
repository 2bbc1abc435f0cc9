"""bundle.json's list of files: made by the exporter, made anew where a copy of a bundle was changed on purpose."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

MANIFEST = "bundle.json"


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and sha256 of every file of a folder but bundle.json, by relative path with "/", sorted."""
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != MANIFEST:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            files[name] = {"size": path.stat().st_size, "sha256": digest}
    return files


def relist(folder: Path) -> None:
    """Writes the list of files in a folder's bundle.json anew; without a bundle.json nothing is written."""
    path = folder / MANIFEST
    if path.is_file():
        manifest = json.loads(path.read_text("utf-8"))
        manifest["files"] = describe_files(folder)
        path.write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
