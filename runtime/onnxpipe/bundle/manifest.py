"""bundle.json's list of files: written by the exporter, and again for a copy of a bundle that was changed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

MANIFEST = "bundle.json"

#: The value of "batches" in a manifest: rows of different lengths share a batch only where the user asks for one, since
#: padding changes the original's answers.
EQUAL_LENGTHS = "equal lengths"

#: The key of a manifest for how many tokens a row may have until its rotary frequencies are others (longrope). The
#: graph chooses them by a row's positions, so what was computed before has to be computed again.
CHANGES_AFTER = "frequencies_change_after"


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """List size and sha256 of every file of a folder except bundle.json, by relative path with "/", sorted."""
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != MANIFEST:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            files[name] = {"size": path.stat().st_size, "sha256": digest}
    return files


def relist(folder: Path) -> None:
    """Update the lists of files and graphs in a folder's bundle.json; without a bundle.json nothing is written.

    Graphs that are missing (only one precision of a bundle on the Hub is downloaded) are left out.
    """
    path = folder / MANIFEST
    if path.is_file():
        manifest = json.loads(path.read_text("utf-8"))
        manifest["files"] = describe_files(folder)
        here = {
            graph: {name: entry for name, entry in precisions.items() if entry["path"] in manifest["files"]}
            for graph, precisions in manifest["graphs"].items()
        }
        manifest["graphs"] = {graph: precisions for graph, precisions in here.items() if precisions}
        path.write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
