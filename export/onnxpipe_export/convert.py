"""Export a model in one function: load, trace, quantise, certify, write."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Unpack

from onnxpipe.bundle import HubKeywords, HubOptions, canonical_dtype
from onnxpipe.bundle.folder_names import in_utf8
from onnxpipe.errors import ExportError
from onnxpipe_export import certify, checkpoint, manifest, tasks, write
from onnxpipe_export.certify_generation import OriginalOutputs, verify_generation
from onnxpipe_export.convert_pipeline import export_pipeline
from onnxpipe_export.generation_kinds import kind_of
from onnxpipe_export.graphs import describe
from onnxpipe_export.graphs.diffusion.folder import is_pipeline
from onnxpipe_export.graphs.graph import Attention, GraphExport
from onnxpipe_export.making import make_and_certify, trace
from onnxpipe_export.remembered import encoders_of
from onnxpipe_export.report import ExportReport
from onnxpipe_export.tokenizers import convert as tokenizer
from onnxpipe_export.versions import warn_of_untried

_PRECISIONS = ("fp32", "fp16", "int8", "q4")
"""All that the exporter makes, in the order in which they are made; not every model has all of them."""


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

    Either the whole bundle is there afterwards, certified, or an error is raised and nothing was written; a bundle that
    was there before is replaced only by a certified one.

    Args:
        model: a Hub id or a folder of a transformers checkpoint, or of a pipeline of diffusers (model_index.json).
        output: the folder to make.
        task: a pipeline task or alias; None takes the one that the checkpoint's config names.
        precision: "fp32", "fp16", "int8", "q4" (models that generate), or several; the files are onnx/model.onnx,
            model_fp16.onnx, model_int8.onnx, model_q4.onnx. A pipeline of diffusers has them in its components'
            folders.
        attention: how a causal language model attends: "gqa" by ONNX Runtime's GroupQueryAttention, "standard" by
            plain operators that any runtime has, "auto" by the first where it holds.
        calibration: for vision and audio models: a folder of sample images or recordings like those that the model
            will get. int8 is calibrated and every graph is verified with them as well; without it, with synthetic
            inputs alone.
        progress: called with a line before each step.
        **hub: how to reach the Hub, see `onnxpipe.bundle.HubKeywords`.

    Raises:
        ModelNotFoundError: no such folder or Hub model.
        CertificateError: a graph's outputs differ from the original's by more than its precision allows.
        ExportError: anything else that stops the export.
    """
    started = time.monotonic()
    say = progress or (lambda line: None)
    precisions = _check_precisions(precision)
    options = HubOptions.only(hub, "export")
    target = Path(output).expanduser().absolute()
    samples = Path(calibration).expanduser() if calibration is not None else None
    warn_of_untried()
    if is_pipeline(os.fspath(model), options):
        _check_for_pipelines(attention, calibration)
        return export_pipeline(os.fspath(model), target, task, precisions, options, say)

    with write.staged(target) as folder, _named(os.fspath(model)) as name, contextlib.ExitStack() as stack:
        say(f"loading {model}")
        source = checkpoint.load(name, task, options, samples)
        kind = kind_of(source)
        stack.enter_context(encoders_of(source.model) if kind is not None else contextlib.nullcontext())
        graphs = describe(source, attention)
        _check_supported(precisions, graphs)

        write.copy_side_files(source.folder, folder)  # How a tokenizer is read depends on the config's model_type.
        tokens = None
        if source.tokenizer is not None:
            say("checking the tokenizer")
            tokenizer.write(source.tokenizer, source.folder, folder)
            tokens = tokenizer.verify(source.tokenizer, source.folder, folder).as_dict()

        (folder / "onnx").mkdir()
        references, entries, files = [], {}, {}
        for graph in graphs:
            say(f"tracing {graph.name} of {source.config.model_type} for {source.task.name}")
            full = trace(graph, folder / "onnx" / f"{graph.name}.onnx")
            say("running the original")
            references.append(certify.run_original(graph, source.tokenizer, full, folder))
            made = make_and_certify(full, folder, precisions, references[-1], say)
            entries[graph.name], files[graph.name] = made

        generation = {}
        if kind is not None:
            write.write_generation_config(source.model, folder)
            original_outputs = OriginalOutputs(kind)
            for name in precisions:
                say(f"generating with {name}")
                generation[name] = verify_generation(folder, name, original_outputs)

        say("writing")
        attends = str(getattr(source.model.config, "_attn_implementation", "eager"))
        original = certify.original_of("transformers", attends)
        further = {**certify.verified_sizes(references), "generation": generation}
        certificate = certify.certificate(entries, original, tokens, further)
        golden = {name: array for one in references for name, array in certify.golden_arrays(one).items()}
        certify.write_golden(folder / "golden.npz", golden)
        write.write_json(folder / "certificate.json", certificate)
        served = tasks.manifest_tasks(source.task, source.config, source.folder)
        named = manifest.source_of(source.name, source.revision, source.folder)
        pads = not certify.padding_changes(entries)
        changes = next((one.changes_after for one in graphs if hasattr(one, "changes_after")), None)
        described = manifest.write_manifest(folder, served, named, files, pads=pads, changes_after=changes)

    sizes = {name: entry["size"] for name, entry in described["files"].items()}
    return ExportReport(target, source.task.name, sizes, certificate, time.monotonic() - started)


@contextlib.contextmanager
def _named(model: str) -> Iterator[str]:
    """Yield the name of a model that all libraries can open: see `in_utf8`."""
    folder = Path(model).expanduser()
    if not folder.is_dir():
        yield model
        return
    with in_utf8(folder) as named:
        yield model if named == folder else str(named)


def _check_for_pipelines(attention: Attention, calibration: object) -> None:
    """Refuse options that mean nothing for a pipeline of diffusers.

    Raises:
        ExportError: one of them is given.
    """
    if attention != "auto":
        raise ExportError(f"attention={attention!r} is for models that generate text, not for diffusion; leave it out")
    if calibration is not None:
        raise ExportError("calibration= is for models that take images or recordings, not for diffusion; leave it out")


def _check_precisions(precision: str | Sequence[str]) -> tuple[str, ...]:
    """Return the requested precisions by their canonical names and without repeats.

    Raises:
        ExportError: no precision is given, or one that the exporter does not make.
    """
    names = [canonical_dtype(name) for name in ((precision,) if isinstance(precision, str) else precision)]
    unknown = [name for name in names if name not in _PRECISIONS]
    if unknown or not names:
        raise ExportError(f"cannot make the precisions {unknown}; the exporter makes {', '.join(_PRECISIONS)}")
    return tuple(name for name in _PRECISIONS if name in names)


def _check_supported(precisions: Sequence[str], graphs: Sequence[GraphExport]) -> None:
    """Check that every graph of this model can be made in every requested precision.

    Raises:
        ExportError: one of them cannot.
    """
    for graph in graphs:
        missing = [name for name in precisions if name not in graph.makers]
        if missing:
            known = ", ".join(name for name in _PRECISIONS if name in graph.makers)
            raise ExportError(f"cannot make {graph.name} in the precisions {missing}; it is made in {known}")
