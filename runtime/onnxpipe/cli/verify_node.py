"""The script that `onnxpipe verify --with node` prints: it runs a bundle's golden cases in Node and judges them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from onnxpipe.bundle import Bundle
from onnxpipe.bundle.proof import certified_tolerance, read_golden
from onnxpipe.errors import BundleError


def script(bundle: Bundle, dtype: str | None) -> str:
    """Write the script for the graphs of `bundle`, in every precision or in `dtype`.

    Raises:
        BundleError: it has no golden cases.
    """
    if not read_golden(bundle.folder):
        raise BundleError(f"{bundle.folder / 'golden.npz'} has no cases, so there is nothing to repeat in Node")
    folder = str(bundle.folder.resolve())
    lines = (
        "// Runs the golden cases of a bundle with onnxruntime-node and compares with the original's answers:",
        "//   npm install onnxruntime-node",
        "//   node verify.mjs [FOLDER]",
        f"const WRITTEN_FOR = {json.dumps(folder)};",
        f"const GRAPHS = {json.dumps(list(_graphs(bundle, dtype)), indent=2)};",
        "",
    )
    return "\n".join(lines) + resources.files("onnxpipe.cli").joinpath("verify_node.mjs").read_text("utf-8")


def _graphs(bundle: Bundle, dtype: str | None) -> Iterator[dict[str, Any]]:
    """List the graphs, each with its file and what its answers have to hold."""
    for graph in bundle.graphs:
        files: list[tuple[str, Path]] = [bundle.choose(graph, dtype)] if dtype else [*bundle.graphs[graph].items()]
        for precision, path in files:
            tolerance = certified_tolerance(precision, bundle.certified(graph, precision))
            yield {
                "graph": graph,
                "precision": precision,
                "file": path.relative_to(bundle.folder).as_posix(),
                "relative": tolerance.max_relative,
                "cosine": tolerance.cosine_mean if tolerance.cosine_mean is not None else tolerance.cosine_min,
            }
