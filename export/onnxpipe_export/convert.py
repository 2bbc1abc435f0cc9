"""The whole export in one function: load, trace, quantise, certify, write."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxpipe.bundle import canonical_dtype
from onnxpipe.bundle.precision import SUFFIXES
from onnxpipe.errors import ExportError
from onnxpipe_export import certify, checkpoint, manifest, tokenizer, write
from onnxpipe_export.graphs import encoder
from onnxpipe_export.onnx_graph import OnnxGraph, remove_graph
from onnxpipe_export.optimise import optimise
from onnxpipe_export.precision import fp16, int8
from onnxpipe_export.report import ExportReport


def export(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    task: str | None = None,
    precision: str | Sequence[str] = ("fp32",),
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    progress: Callable[[str], None] | None = None,
) -> ExportReport:
    """Convert `model` to a certified bundle in the folder `output`.

    Either the whole bundle is there afterwards, proved, or an error is raised and nothing was written; a bundle that
    was there before is replaced only by a proved one.

    Args:
        model: a Hub id or a folder of a transformers checkpoint.
        output: the folder to make.
        task: a pipeline task or alias; None takes the one that the checkpoint was made for.
        precision: "fp32", "fp16", "int8", or several; the files are onnx/model.onnx, model_fp16.onnx, model_int8.onnx.
        revision: branch, tag or commit on the Hub.
        token: Hub token.
        cache_dir: where Hub files are kept.
        local_files_only: take Hub files from the cache only.
        progress: called with a line before each step.

    Raises:
        ModelNotFoundError: no such folder or Hub model.
        CertificateError: the graph does not answer as the original does.
        ExportError: anything else that stops the export.
    """
    started = time.monotonic()
    say = progress or (lambda line: None)
    precisions = _check_precisions(precision)
    cache = os.fspath(cache_dir) if cache_dir is not None else None
    target = Path(output).expanduser().absolute()

    with write.staged(target) as folder:
        say(f"loading {model}")
        source = checkpoint.load(
            os.fspath(model), task, checkpoint.HubOptions(revision, token, cache, local_files_only)
        )
        original_tokenizer = tokenizer.load(source.folder)
        graph = encoder.describe(source)

        say("checking the tokenizer")
        tokenizer.write(original_tokenizer, source.folder, folder)
        tokens = tokenizer.prove(original_tokenizer, source.folder, folder).as_dict()

        say(f"tracing {source.config.model_type} for {source.task.name}")
        full = folder / "onnx" / "model.onnx"
        full.parent.mkdir()
        graph.trace(full)
        traced = OnnxGraph.load(full)
        optimise(traced)
        traced.save(full)

        say("asking the original")
        reference = certify.ask_original(graph, original_tokenizer)
        entries: dict[str, Any] = {}
        files: dict[str, Any] = {}
        for name in precisions:
            say(f"making and certifying {name}")
            path = folder / "onnx" / f"model{SUFFIXES[name]}.onnx"
            _MAKERS[name](full, path, reference)
            entries[name] = certify.prove(path, folder, name, graph, reference)
            files[name] = {"path": f"onnx/{path.name}", "inputs": list(graph.inputs), "outputs": list(graph.outputs)}
        if "fp32" not in precisions:
            remove_graph(full)

        say("writing")
        certificate = certify.certificate(entries, graph, tokens)
        certify.write_golden(folder / "golden.npz", reference)
        write.copy_side_files(source.folder, folder)
        write.write_json(folder / "certificate.json", certificate)
        described = manifest.write_manifest(folder, source, {"model": files})

    sizes = {name: entry["size"] for name, entry in described["files"].items()}
    return ExportReport(target, source.task.name, sizes, certificate, time.monotonic() - started)


def _keep(full: Path, path: Path, reference: certify.Reference) -> None:
    """fp32 is there already."""


def _to_fp16(full: Path, path: Path, reference: certify.Reference) -> None:
    fp16.convert(OnnxGraph.load(full)).save(path)


def _to_int8(full: Path, path: Path, reference: certify.Reference) -> None:
    rows = (case.feeds for case in reference.cases if case.calibrates)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".calibration") as scratch:
        peaks = int8.measure_peaks(full, rows, Path(scratch))
    graph = OnnxGraph.load(full)
    int8.quantise(graph, peaks)
    graph.save(path)


# From the fp32 file to the file of each precision, in the order in which they are made.
_MAKERS: Mapping[str, Callable[[Path, Path, certify.Reference], None]] = {
    "fp32": _keep,
    "fp16": _to_fp16,
    "int8": _to_int8,
}


def _check_precisions(precision: str | Sequence[str]) -> tuple[str, ...]:
    """The precisions asked for, by their canonical names and without repeats.

    Raises:
        ExportError: none, or one that the exporter does not make.
    """
    asked = [canonical_dtype(name) for name in ((precision,) if isinstance(precision, str) else precision)]
    unknown = [name for name in asked if name not in _MAKERS]
    if unknown or not asked:
        raise ExportError(f"cannot make the precisions {unknown}; the exporter makes {', '.join(_MAKERS)}")
    return tuple(name for name in _MAKERS if name in asked)
