"""Make a graph's files: trace it, rewrite it, convert it to the smaller precisions, and certify each."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from onnxpipe.bundle.precision import SUFFIXES
from onnxpipe.errors import CertificateError, ExportError
from onnxpipe_export import certify, refusals
from onnxpipe_export.graphs.graph import GraphExport, Maker
from onnxpipe_export.onnx_graph import OnnxGraph, remove_graph
from onnxpipe_export.precision.makers import BY_ROWS


def trace(graph: GraphExport, full: Path) -> Path:
    """Write the fp32 file `full` and return its path.

    Raises:
        ExportError: the model cannot be traced.
    """
    with tempfile.TemporaryDirectory(dir=full.parent, prefix=".traced") as scratch:
        path = Path(scratch) / full.name
        try:
            graph.trace(path)
        except ExportError:
            raise
        except Exception as error:  # torch's exporter raises nearly every kind, assertions without a message as well
            raise refusals.untraceable(graph.checkpoint.config.model_type, graph.name, error) from error
        traced = OnnxGraph.load(path)
        graph.optimise(traced)
        traced.save(full)
    return full


Made = dict[Maker, certify.Measurement]


def make_and_certify(
    full: Path, folder: Path, precisions: Sequence[str], reference: certify.Reference, say: Callable[[str], None]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write a file for each precision beside the fp32 file `full`, and verify it.

    Returns:
        The certificate's entries and the manifest's, each by precision.
    """
    entries: dict[str, Any] = {}
    files: dict[str, Any] = {}
    made: Made = {}
    for name in precisions:
        say(f"making and certifying {reference.graph.name} {name}")
        entries[name], files[name] = make_one(full, folder, name, reference, made)
    if reference.opened is not None:
        reference.opened.close()
    if "fp32" not in precisions:
        remove_graph(full)
    return entries, files


def make_one(
    full: Path, folder: Path, precision: str, reference: certify.Reference, made: Made | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write the file of a precision beside the fp32 file `full`, and verify it.

    Args:
        full: the fp32 file.
        folder: the bundle's.
        precision: which.
        reference: the cases with the original's answers.
        made: what was made of this graph; two precisions that are made in the same way are made and measured once.

    Returns:
        The certificate's entry and the manifest's.

    Raises:
        CertificateError: it does not answer as the original does.
    """
    graph = reference.graph
    path = full.with_name(f"{full.stem}{SUFFIXES[precision]}.onnx")
    maker, made = graph.makers[precision], {} if made is None else made

    def make(way: Maker) -> dict[str, Any]:
        way(full, path, reference.calibration)
        made[maker] = certify.measure(path, folder, reference)
        return certify.judge(path, precision, made[maker], reference)

    if maker in made:
        OnnxGraph.load(made[maker].opened.path).save(path)
        entry = certify.judge(path, precision, made[maker], reference)
    else:
        try:
            entry = make(maker)
        except CertificateError:
            if maker not in BY_ROWS:
                raise
            entry = make(BY_ROWS[maker])
    made[maker].opened.close()
    return entry, {
        "path": path.relative_to(folder).as_posix(),
        "inputs": list(graph.inputs),
        "outputs": list(graph.outputs),
    }
