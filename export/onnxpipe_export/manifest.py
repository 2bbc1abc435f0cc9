"""Write bundle.json, which says what a bundle holds."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxpipe._version import __version__
from onnxpipe.bundle.manifest import CHANGES_AFTER, EQUAL_LENGTHS, MANIFEST, describe_files
from onnxpipe_export import write

ONNXRUNTIME = ">=1.22,<2"
"""The ONNX Runtime versions that the graphs are written for: standard operators of opset 18, and for models that
generate GroupQueryAttention and MatMulNBits of 8 bits, all of which 1.22.1 was seen to run."""


def write_manifest(
    folder: Path,
    served: Sequence[str],
    source: Mapping[str, str | None],
    graphs: Mapping[str, Mapping[str, Mapping[str, Any]]],
    libraries: Sequence[str] = (),
    *,
    pads: bool = True,
    changes_after: int | None = None,
) -> dict[str, Any]:
    """Write and return the manifest of the finished `folder`.

    Args:
        folder: the bundle, with every other file in it.
        served: the tasks that it serves, the default first.
        source: from `source_of`: what it was made from.
        graphs: graph -> precision -> {"path", "inputs", "outputs"}.
        libraries: packages whose versions matter beside those that every export needs.
        pads: whether rows of different lengths may share a batch; False where padding changes the original's answers.
        changes_after: tokens of a row beyond which its rotary frequencies are others; None where they never are.
    """
    packages = ("torch", "transformers", *libraries, "onnx", "onnxruntime")
    manifest = {
        "format": 1,
        "onnxpipe": __version__,
        "tasks": list(served),
        "source": source,
        **({} if pads else {"batches": EQUAL_LENGTHS}),
        **({} if changes_after is None else {CHANGES_AFTER: changes_after}),
        "graphs": graphs,
        "files": describe_files(folder),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in packages},
        "onnxruntime": ONNXRUNTIME,
    }
    write.write_json(folder / MANIFEST, manifest)
    return manifest


def source_of(name: str, revision: str | None, folder: Path) -> dict[str, str | None]:
    """Name the model that a bundle is made from.

    Args:
        name: what the user called it.
        revision: its commit on the Hub. Of a folder, which has none, its own name is taken without the path to it,
            which is private.
        folder: where its files are.
    """
    return {"model": name if revision is not None else folder.resolve().name, "revision": revision}
