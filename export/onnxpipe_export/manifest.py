"""Write bundle.json, which says what a bundle holds."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxpipe._version import __version__
from onnxpipe.bundle.manifest import MANIFEST, describe_files
from onnxpipe_export import tasks, write
from onnxpipe_export.checkpoint import Checkpoint

ONNXRUNTIME = ">=1.22,<2"
"""The ONNX Runtime versions that the graphs are written for: standard operators of opset 18, and for models that
generate GroupQueryAttention and MatMulNBits of 8 bits, all of which 1.22.1 was seen to run."""


def write_manifest(
    folder: Path, checkpoint: Checkpoint, graphs: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> dict[str, Any]:
    """Write and return the manifest of the finished `folder`.

    Args:
        folder: the bundle, with every other file in it.
        checkpoint: what it was made from.
        graphs: graph -> precision -> {"path", "inputs", "outputs"}.
    """
    manifest = {
        "format": 1,
        "onnxpipe": __version__,
        "tasks": tasks.manifest_tasks(checkpoint.task, checkpoint.config, checkpoint.folder),
        "source": {"model": source_name(checkpoint), "revision": checkpoint.revision},
        "graphs": graphs,
        "files": describe_files(folder),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in ("torch", "transformers", "onnx", "onnxruntime")},
        "onnxruntime": ONNXRUNTIME,
    }
    write.write_json(folder / MANIFEST, manifest)
    return manifest


def source_name(checkpoint: Checkpoint) -> str:
    """Return the Hub id, or a folder's own name without the path to it, which is private."""
    return checkpoint.name if checkpoint.revision is not None else checkpoint.folder.resolve().name
