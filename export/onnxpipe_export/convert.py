"""The whole export in one function: load, trace, quantise, certify, write."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Unpack

from onnxpipe.bundle import HubKeywords, HubOptions, canonical_dtype
from onnxpipe.bundle.precision import SUFFIXES
from onnxpipe.errors import ExportError
from onnxpipe_export import certify, checkpoint, manifest, write
from onnxpipe_export.certify_generation import Written, generates, prove_generation
from onnxpipe_export.graphs import describe
from onnxpipe_export.graphs.graph import Attention, Graph
from onnxpipe_export.onnx_graph import OnnxGraph, remove_graph
from onnxpipe_export.report import ExportReport
from onnxpipe_export.tokenizers import convert as tokenizer

_PRECISIONS = ("fp32", "fp16", "int8", "q4")
"""All that are made of one model or another, in the order in which they are made."""


def export(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    task: str | None = None,
    precision: str | Sequence[str] = ("fp32",),
    attention: Attention = "auto",
    calibration: str | os.PathLike[str] | None = None,
    progress: Callable[[str], None] | None = None,
    **hub: Unpack[HubKeywords],
) -> ExportReport:
    """Convert `model` to a certified bundle in the folder `output`.

    Either the whole bundle is there afterwards, proved, or an error is raised and nothing was written; a bundle that
    was there before is replaced only by a proved one.

    Args:
        model: a Hub id or a folder of a transformers checkpoint.
        output: the folder to make.
        task: a pipeline task or alias; None takes the one that the checkpoint was made for.
        precision: "fp32", "fp16", "int8", "q4" (models that generate), or several; the files are onnx/model.onnx,
            model_fp16.onnx, model_int8.onnx, model_q4.onnx.
        attention: how a causal language model attends: "gqa" by ONNX Runtime's GroupQueryAttention, "standard" by
            plain operators that any runtime has, "auto" by the first where it holds.
        calibration: for models that see or hear: a folder of pictures or recordings like those that the model will
            get. The graphs are proved on them too, and int8 learns from them which values occur; without it, on made
            ones alone.
        progress: called with a line before each step.
        **hub: how to reach the Hub, see `onnxpipe.bundle.HubKeywords`.

    Raises:
        ModelNotFoundError: no such folder or Hub model.
        CertificateError: the graph does not answer as the original does.
        ExportError: anything else that stops the export.
    """
    started = time.monotonic()
    say = progress or (lambda line: None)
    precisions = _check_precisions(precision)
    options = HubOptions.only(hub, "export")
    target = Path(output).expanduser().absolute()
    pictures = Path(calibration).expanduser() if calibration is not None else None

    with write.staged(target) as folder:
        say(f"loading {model}")
        source = checkpoint.load(os.fspath(model), task, options, pictures)
        graphs = describe(source, attention)
        _check_made(precisions, graphs)

        write.copy_side_files(source.folder, folder)  # How a tokenizer is read depends on the config's model_type.
        tokens = None
        if source.tokenizer is not None:
            say("checking the tokenizer")
            tokenizer.write(source.tokenizer, source.folder, folder)
            tokens = tokenizer.prove(source.tokenizer, source.folder, folder).as_dict()

        (folder / "onnx").mkdir()
        references, entries, files = [], {}, {}
        for graph in graphs:
            say(f"tracing {graph.name} of {source.config.model_type} for {source.task.name}")
            full = _trace(graph, folder)
            say("asking the original")
            references.append(certify.ask_original(graph, source.tokenizer))
            entries[graph.name], files[graph.name] = _make_and_certify(full, folder, precisions, references[-1], say)

        generation = {}
        if generates(source):
            write.write_generation_config(source.model, folder)
            written = Written(source, source.tokenizer)
            for name in precisions:
                say(f"generating with {name}")
                generation[name] = prove_generation(folder, name, written)

        say("writing")
        certificate = certify.certificate(entries, references, tokens, generation)
        certify.write_golden(folder / "golden.npz", references)
        write.write_json(folder / "certificate.json", certificate)
        described = manifest.write_manifest(folder, source, files)

    sizes = {name: entry["size"] for name, entry in described["files"].items()}
    return ExportReport(target, source.task.name, sizes, certificate, time.monotonic() - started)


def _trace(graph: Graph, folder: Path) -> Path:
    """Write the fp32 file and return its path."""
    full = folder / "onnx" / f"{graph.name}.onnx"
    try:
        graph.trace(full)
    except ExportError:
        raise
    except Exception as error:  # torch's exporter raises nearly every kind, assertions without a word among them
        kind = graph.checkpoint.config.model_type
        raise ExportError(
            f"{graph.name} of a {kind} cannot be traced ({type(error).__name__}: {error}). The README lists families "
            "that are known to export"
        ) from error
    traced = OnnxGraph.load(full)
    graph.optimise(traced)
    traced.save(full)
    return full


def _make_and_certify(
    full: Path, folder: Path, precisions: Sequence[str], reference: certify.Reference, say: Callable[[str], None]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The files of the precisions beside the fp32 file `full`: certificate's entries, and manifest's, by precision."""
    graph = reference.graph
    entries: dict[str, Any] = {}
    files: dict[str, Any] = {}
    for name in precisions:
        say(f"making and certifying {graph.name} {name}")
        path = full.with_name(f"{graph.name}{SUFFIXES[name]}.onnx")
        graph.makers[name](full, path, reference.calibration)
        entries[name] = certify.prove(path, folder, name, reference)
        files[name] = {"path": f"onnx/{path.name}", "inputs": list(graph.inputs), "outputs": list(graph.outputs)}
    if "fp32" not in precisions:
        remove_graph(full)
    return entries, files


def _check_precisions(precision: str | Sequence[str]) -> tuple[str, ...]:
    """The precisions asked for, by their canonical names and without repeats.

    Raises:
        ExportError: none, or one that the exporter does not make.
    """
    asked = [canonical_dtype(name) for name in ((precision,) if isinstance(precision, str) else precision)]
    unknown = [name for name in asked if name not in _PRECISIONS]
    if unknown or not asked:
        raise ExportError(f"cannot make the precisions {unknown}; the exporter makes {', '.join(_PRECISIONS)}")
    return tuple(name for name in _PRECISIONS if name in asked)


def _check_made(precisions: Sequence[str], graphs: Sequence[Graph]) -> None:
    """Every graph of this model can be made in every precision asked for.

    Raises:
        ExportError: one cannot.
    """
    for graph in graphs:
        missing = [name for name in precisions if name not in graph.makers]
        if missing:
            known = ", ".join(name for name in _PRECISIONS if name in graph.makers)
            raise ExportError(f"cannot make {graph.name} in the precisions {missing}; it is made in {known}")
