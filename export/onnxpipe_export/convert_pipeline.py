"""Export a pipeline of diffusers: each of its components to a certified graph in a folder of its own.

One component is loaded at a time, and let go before the next: the denoiser of a large pipeline is most of its memory.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe.bundle import HubOptions
from onnxpipe.bundle.diffusion_folder import INDEX
from onnxpipe.bundle.files import copy_file
from onnxpipe.bundle.precision import SUFFIXES
from onnxpipe.errors import CertificateError, ExportError
from onnxpipe_export import certify, certify_images, manifest, write
from onnxpipe_export.graphs.diffusion import denoiser, safety_checker, text_encoder, vae
from onnxpipe_export.graphs.diffusion.component import load
from onnxpipe_export.graphs.diffusion.folder import PipelineFolder, find
from onnxpipe_export.graphs.diffusion.peaks import Peak, watched
from onnxpipe_export.graphs.diffusion.samples import Samples
from onnxpipe_export.graphs.wrapped import WrappedExport
from onnxpipe_export.making import make_one, trace
from onnxpipe_export.onnx_graph import remove_graph
from onnxpipe_export.precision.makers import DENOISER
from onnxpipe_export.report import ExportReport
from onnxpipe_export.tokenizers import convert as tokenizers
from onnxpipe_export.tracing import quiet

_DENOISERS = {"unet": denoiser.describe_unet, "transformer": denoiser.describe_transformer}
_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
_CONFIGS = ("config.json", "scheduler_config.json", "preprocessor_config.json")


def export_pipeline(
    model: str, target: Path, task: str | None, precisions: Sequence[str], hub: HubOptions, say: Callable[[str], None]
) -> ExportReport:
    """Export the pipeline `model`; arguments as those of `onnxpipe_export.export`, checked.

    The denoiser is made in every precision, or the export fails. Another component that cannot be made in one, or does
    not hold it (a VAE that overflows in float16), has float32 instead: the certificate says why.

    Raises:
        ModelNotFoundError: no such folder or Hub model.
        CertificateError: a graph's outputs differ from the original's by more than its precision allows.
        ExportError: anything else that stops the export.
    """
    started = time.monotonic()
    unknown = [name for name in precisions if name not in DENOISER]
    if unknown:
        raise ExportError(f"cannot make a denoiser in the precisions {unknown}; it is made in {', '.join(DENOISER)}")
    with write.staged(target) as folder:
        say(f"reading {model}")
        source = find(model, hub)
        tasks = source.tasks(task)
        export = _PipelineExport(source, folder, precisions, say)
        export.write_side_files()
        export.make_graphs()
        export.compare_images()

        say("writing")
        original = certify.original_of("diffusers", "sdpa")
        tokens = {"texts": export.texts, "mismatches": 0}
        certificate = certify.certificate(
            export.entries, original, tokens, {"left_out": export.left_out, "images": export.images}
        )
        certify.write_golden(folder / "golden.npz", export.golden)
        write.write_json(folder / "certificate.json", certificate)
        origin = manifest.source_of(source.name, source.revision, source.folder)
        described = manifest.write_manifest(folder, tasks, origin, export.files, ("diffusers",))
    sizes = {name: entry["size"] for name, entry in described["files"].items()}
    return ExportReport(target, tasks[0], sizes, certificate, time.monotonic() - started)


class _PipelineExport:
    """The export of one pipeline into a folder, and what it leaves for the certificate and the manifest.

    Attributes:
        entries: graph -> precision -> the certificate's entry.
        files: graph -> precision -> the manifest's.
        golden: the arrays of golden.npz.
        left_out: graph -> precision -> why it is float32 instead.
        images: precision -> the certificate's entry of whole runs; "repeated": the run in golden.npz.
        texts: how many texts the tokenizers were compared on.
    """

    def __init__(
        self, source: PipelineFolder, folder: Path, precisions: Sequence[str], say: Callable[[str], None]
    ) -> None:
        self._source, self._folder, self._precisions, self._say = source, folder, precisions, say
        self.entries: dict[str, dict[str, Any]] = {}
        self.files: dict[str, dict[str, Any]] = {}
        self.golden: dict[str, np.ndarray] = {}
        self.left_out: dict[str, dict[str, str]] = {}
        self.images: dict[str, Any] = {}
        self.texts = 0

    def write_side_files(self) -> None:
        """Write the index, in which the VAE's two graphs take the VAE's place, the configs and the tokenizers."""
        index = dict(self._source.index)
        index["vae_encoder"] = index["vae_decoder"] = index.pop("vae")
        write.write_json(self._folder / INDEX, index)
        for component in self._source.components:
            own = self._source.folder / component
            for name in ("vae_encoder", "vae_decoder") if component == "vae" else (component,):
                (self._folder / name).mkdir()
                for config in _CONFIGS:
                    if (own / config).is_file():
                        copy_file(own, config, self._folder / name)
            if component.startswith("tokenizer"):
                self._say(f"checking the {component}")
                original = tokenizers.load(own)
                tokenizers.write(original, own, self._folder / component)
                with quiet():  # some texts are longer than prompts may be
                    self.texts += tokenizers.verify(original, own, self._folder / component).texts

    def make_graphs(self) -> None:
        """Make the graphs of one component after the other.

        The denoiser is the last, as its cases are made of what the VAE and the text encoders answer.
        """
        source = self._source
        samples = Samples(source.config("vae"))
        self._say("loading vae")
        for graph in vae.describe(load(source, "vae"), samples):
            self._make(graph)
        encoders = [name for name in _ENCODERS if name in source.components]
        for name in encoders:
            self._say(f"loading {name}")
            tokenizer = tokenizers.load(source.folder / name.replace("text_encoder", "tokenizer"))
            graph = text_encoder.describe(
                load(source, name, self._folder), name, tokenizer, normed=encoders == ["text_encoder"]
            )
            samples.encoders[name] = text_encoder.prompt_answers(self._make(graph))
        if "safety_checker" in source.components:
            self._say("loading safety_checker")
            processor = json.loads((source.folder / "feature_extractor" / _CONFIGS[-1]).read_text("utf-8"))
            self._make(safety_checker.describe(load(source, "safety_checker"), processor))
        self._original = certify_images.OriginalImages(source, certify_images.short_runs(source, samples))
        self._original.encode_prompts()
        name = next(name for name in _DENOISERS if name in source.components)
        self._say(f"loading {name}")
        checkpoint = load(source, name, self._folder)
        self._say("making images with diffusers")
        self._original.make(name, checkpoint.model)
        self._make(_DENOISERS[name](checkpoint, samples))

    def compare_images(self) -> None:
        """Compare whole runs with those of diffusers.

        Raises:
            CertificateError: the images of a precision differ by more than it allows.
        """
        self.images["repeated"] = self._original.runs[0].described()
        for precision in self._precisions:
            self._say(f"comparing images {precision}")
            self.images[precision] = certify_images.verify(self._folder, precision, self._original)
        self.golden |= certify_images.golden_arrays(self._original)

    def _make(self, graph: WrappedExport) -> Sequence[Mapping[str, np.ndarray]]:
        """Trace a graph, make its files and certify them.

        Returns:
            The original's answers to the graph's cases.

        Raises:
            CertificateError: the denoiser does not hold one of the precisions, or another graph not even float32.
        """
        self._say(f"tracing {graph.name}")
        full = trace(graph, self._folder / graph.name / "model.onnx")
        self._say("running the original")
        graph.cases(None)  # made here, as the VAE encodes for its decoder, which is not to be watched
        with watched(graph.checkpoint.model) as peak:
            reference = certify.run_original(graph, None, full, self._folder)
        self.golden |= certify.golden_arrays(reference)
        for precision in self._precisions:
            reason = self._reason_against(graph, precision, peak)
            if reason is None:
                reason = self._make_one(full, precision, reference)
            if reason is not None:
                self._say(f"{graph.name} is float32 instead of {precision}: {reason}")
                self.left_out.setdefault(graph.name, {})[precision] = reason
        if "fp32" not in self._precisions:
            if graph.name in self.left_out:
                self._make_one(full, "fp32", reference)
            else:
                remove_graph(full)
        return reference.answers

    def _make_one(self, full: Path, precision: str, reference: certify.Reference) -> str | None:
        """Make and certify the file of a precision; returns why there is none, where float32 can stand for it."""
        name = reference.graph.name
        self._say(f"making and certifying {name} {precision}")
        try:
            entry, file = make_one(full, self._folder, precision, reference)
        except CertificateError as error:
            if precision == "fp32" or name in _DENOISERS:
                raise
            remove_graph(full.with_name(f"{full.stem}{SUFFIXES[precision]}.onnx"))
            return str(error).removesuffix(". Nothing was written")
        self.entries.setdefault(name, {})[precision] = entry
        self.files.setdefault(name, {})[precision] = file
        return None

    def _reason_against(self, graph: WrappedExport, precision: str, peak: Peak) -> str | None:
        """Say why a graph is not made in a precision; None if it is."""
        if precision not in graph.makers:
            return f"this graph is made in {', '.join(graph.makers)}"
        if precision != "fp16" or graph.name in _DENOISERS:
            return None
        # of other pipelines than SDXL diffusers does not ask the config, which has this by default
        upcast = self._source.pipeline.startswith("StableDiffusionXL") and graph.name.startswith("vae")
        if upcast and getattr(graph.checkpoint.config, "force_upcast", False):
            return "its config says force_upcast: it overflows in float16"
        if peak.overflows:
            return f"activations of {peak.value:.0f} ({peak.module}) overflow in float16"
        return None
