"""Verify that an exported pipeline makes the images of diffusers: whole short runs, from the same latents and seeds.

The runs have few steps and small images, so that they cost little beside the graphs' own cases: every mode of the
pipeline, several schedulers, two sizes, with guidance and without, one image and two of a prompt. diffusers runs its
own pipeline; prompts are encoded before the denoiser is loaded, which is most of the memory.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe.bundle import HubOptions
from onnxpipe.bundle.image_proof import IMAGE_TOLERANCES, RUN, ImageDifference, compare_images
from onnxpipe.errors import CertificateError, ExportError, UnsupportedError
from onnxpipe.models.loading import Target
from onnxpipe.tasks.image_generation.families import Mode
from onnxpipe.tasks.image_generation.loading import LoadOptions, load_diffusion_model
from onnxpipe.tasks.image_generation.pipelines import PIPELINES
from onnxpipe.tasks.image_generation.short_run import ShortRun, repeat
from onnxpipe_export.cases.images import synthetic_image
from onnxpipe_export.graphs.diffusion.component import load
from onnxpipe_export.graphs.diffusion.folder import PipelineFolder
from onnxpipe_export.graphs.diffusion.samples import Samples
from onnxpipe_export.graphs.diffusion.text_encoder import PROMPTS
from onnxpipe_export.onnx_graph import SINGLE_FILE_LIMIT
from onnxpipe_export.tokenizers import convert as tokenizers
from onnxpipe_export.tracing import quiet

_SIZE, _OTHER = (64, 64), (64, 80)
_SEED = 14
_NOISE_SCHEDULERS = (
    "DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler"
)  # fmt: skip


def short_runs(source: PipelineFolder, samples: Samples) -> list[ShortRun]:
    """Choose the runs of a pipeline; the first is the one that is kept to be repeated."""
    own = PIPELINES[source.pipeline]
    modes = source.tasks(own.mode if own.mode in source.tasks(None) else None)  # one of 9 channels only inpaints
    first: Mode = modes[0]  # type: ignore[assignment] # the tasks of these folders are modes
    guided = {"prompt": PROMPTS[0], "num_inference_steps": 3, "guidance_scale": 5.0}
    if not own.family.consistent:
        guided["negative_prompt"] = PROMPTS[3]
    plain = {"prompt": PROMPTS[0], "num_inference_steps": 2, "guidance_scale": 1.0, "num_images_per_prompt": 2}
    runs = [_run(first, guided, _SIZE, samples), _run(first, plain, _OTHER, samples)]
    if own.family.flow:
        config = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
        runs.append(replace(runs[0], scheduler="DPMSolverMultistepScheduler", config=config))
    elif not own.family.consistent:
        shorter = replace(runs[0], options={**runs[0].options, "num_inference_steps": 2})
        runs += [replace(shorter, scheduler=name) for name in _NOISE_SCHEDULERS]
    others = [mode for mode in modes[1:] if not (own.family.flow and mode == "inpainting")]
    # diffusers 0.42 forgets the autoencoder's shift where it inpaints with SD 3
    return runs + [_run(mode, guided, _SIZE, samples) for mode in others]  # type: ignore[arg-type]


def _run(mode: Mode, options: Mapping[str, Any], size: tuple[int, int], samples: Samples) -> ShortRun:
    """Make a run of a mode, with the latents or the images that it starts from."""
    height, width = size
    if mode == "text-to-image":
        shape = (int(options.get("num_images_per_prompt", 1)), samples.latent_channels, height // 8, width // 8)
        arrays = {"latents": samples.noise(_SEED, shape)}
        return ShortRun(mode, {**options, "height": height, "width": width}, arrays, _SEED)
    arrays = {"image": synthetic_image(_SEED, size)[None].astype(np.float32) / 255}
    if mode == "image-to-image":
        return ShortRun(mode, {**options, "strength": 0.7}, arrays, _SEED)
    mask = np.zeros((1, height, width, 3), np.float32)
    mask[:, height // 4 : height // 2, width // 4 :] = 1.0
    return ShortRun(
        mode, {**options, "strength": 0.7, "height": height, "width": width}, {**arrays, "mask_image": mask}, _SEED
    )


@dataclass
class OriginalImages:
    """The short runs of a pipeline by diffusers.

    Attributes:
        source: the pipeline.
        runs: see `short_runs`.
        answers: the images of each run, once `make` has made them.
        large: whether memory matters more than time.
    """

    source: PipelineFolder
    runs: Sequence[ShortRun]
    answers: list[np.ndarray] = field(default_factory=list)
    large: bool = False
    _encoded: dict[bool, dict[str, Any]] = field(default_factory=dict)

    def encode_prompts(self) -> None:
        """Encode the runs' prompts, guided and not, with diffusers; the text encoders are let go of after."""
        import torch

        folder, names = self.source.folder, self.source.components
        parts = {name: tokenizers.load(folder / name) for name in names if name.startswith("tokenizer")}
        parts |= {name: load(self.source, name).model for name in names if name.startswith("text_encoder")}
        if "transformer" in names:  # of which SD 3 reads the width that T5's states would have
            with torch.device("meta"):
                kind = getattr(importlib.import_module("diffusers"), names["transformer"][1])
                parts["transformer"] = kind.from_config(self.source.config("transformer"))
        pipe = self._pipeline(self.runs[0].mode, parts)
        options = self.runs[0].options
        for guided in (True, False):
            arguments = {"prompt": options["prompt"], "negative_prompt": options.get("negative_prompt")}
            taken = _parameters(pipe.encode_prompt)
            others = {name: None for name in ("prompt_2", "prompt_3") if name in taken}
            with torch.inference_mode(), quiet():
                answer = pipe.encode_prompt(
                    **arguments, **others, device=torch.device("cpu"), num_images_per_prompt=1,
                    do_classifier_free_guidance=guided,
                )  # fmt: skip
            self._encoded[guided] = {
                name: value for name, value in zip(_EMBEDS, answer, strict=False) if value is not None
            }

    def make(self, denoiser: str, model: Any) -> None:
        """Run diffusers.

        Args:
            denoiser: the component's name.
            model: it, loaded.

        Raises:
            ExportError: diffusers fails.
        """
        parts = {"vae": load(self.source, "vae").model, denoiser: model}
        self.large = sum(each.nbytes for each in model.parameters()) > SINGLE_FILE_LIMIT
        try:
            self.answers = [self._images(run, parts) for run in self.runs]
        except Exception as error:  # a pipeline can raise anything
            raise ExportError(f"diffusers fails on a short run of the pipeline: {error}") from error

    def _images(self, run: ShortRun, parts: Mapping[str, Any]) -> np.ndarray:
        import torch

        pipe = self._pipeline(run.mode, parts, run)
        arguments = {
            name: value for name, value in run.arguments().items() if name not in ("prompt", "negative_prompt")
        }
        if "latents" in arguments:
            arguments["latents"] = torch.from_numpy(arguments["latents"])
        taken = _parameters(type(pipe).__call__)
        embeds = {name: each for name, each in self._encoded[_is_guided(run)].items() if name in taken}
        with quiet():
            answer = pipe(**arguments, **embeds, generator=torch.Generator().manual_seed(run.seed))
        return np.asarray(answer.images, np.float32)

    def _pipeline(self, mode: Mode, parts: Mapping[str, Any], run: ShortRun | None = None) -> Any:
        import diffusers

        family = PIPELINES[self.source.pipeline].family
        name = next(name for name, each in PIPELINES.items() if (each.family, each.mode) == (family, mode))
        cls = getattr(diffusers, name)
        scheduler = getattr(diffusers, self.source.components["scheduler"][1]).from_pretrained(
            self.source.folder / "scheduler"
        )
        if run is not None and run.scheduler is not None:
            scheduler = getattr(diffusers, run.scheduler).from_config(scheduler.config, **run.config)
        expected, optional = cls._get_signature_keys(cls)
        switches = {key: value for key, value in self.source.index.items() if key in optional}
        switches |= {"requires_safety_checker": False} if "requires_safety_checker" in optional else {}
        with quiet():
            pipe = cls(**{**dict.fromkeys(expected), **parts, "scheduler": scheduler}, **switches)
        pipe.set_progress_bar_config(disable=True)
        return pipe


_EMBEDS = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
"""What `encode_prompt` of diffusers returns, in order."""


def _is_guided(run: ShortRun) -> bool:
    return bool(run.options["guidance_scale"] > 1)


def _parameters(function: Any) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


def verify(folder: Path, precision: str, original: OriginalImages) -> dict[str, Any]:
    """Repeat the runs with the graphs in `folder`, compare, and return the certificate's entry.

    Args:
        folder: the bundle, with its graphs, configs and tokenizers.
        precision: of the denoiser; other components that lack it have float32.
        original: the images of diffusers.

    Raises:
        CertificateError: the images differ by more than the precision allows, or the runtime cannot make them.
    """
    options = LoadOptions(Target(precision, "cpu"), HubOptions(), original.large, {})
    runs = {}
    try:
        model = load_diffusion_model(folder, options, original.runs[0].mode)
        for run, expected in zip(original.runs, original.answers, strict=True):
            try:
                runs[name_of(run)] = compare_images(expected, repeat(model, run))
            except UnsupportedError as error:
                raise ValueError(f"{name_of(run)}: {error}") from error
    except (ValueError, RuntimeError, OSError) as error:
        raise CertificateError(f"the {precision} pipeline makes no images: {error}. Nothing was written") from error
    tolerance = IMAGE_TOLERANCES[precision]
    faults = [f"{name}: {fault}" for name, each in runs.items() for fault in tolerance.faults(each)]
    if faults:
        raise CertificateError(
            f"the {precision} pipeline does not make the images of diffusers: {'; '.join(faults)}. Nothing was written"
        )
    return {
        **asdict(ImageDifference.worst(runs.values())),
        "runs": {name: asdict(each) for name, each in runs.items()},
        "tolerance": {name: limit for name, limit in asdict(tolerance).items() if limit is not None},
        "passed": True,
    }


def name_of(run: ShortRun) -> str:
    """Name a run by what it is: mode, scheduler, size, guidance."""
    shape = run.arrays["latents"].shape if "latents" in run.arrays else run.arrays["image"].shape
    height, width = shape[2:] if "latents" in run.arrays else shape[1:3]
    side = 8 if "latents" in run.arrays else 1
    images = run.options.get("num_images_per_prompt", 1)
    return (
        f"{run.mode}, {run.scheduler or 'own scheduler'}, {side * height}x{side * width}, "
        f"guidance {run.options['guidance_scale']:g}, {images} image{'s' if images > 1 else ''}"
    )


def golden_arrays(original: OriginalImages) -> dict[str, np.ndarray]:
    """Collect the arrays of the run that is repeated on other machines, named as golden.npz has them."""
    stem = f"{RUN}/0"
    arrays = {f"{stem}/input/{name}": array for name, array in original.runs[0].arrays.items()}
    return arrays | {f"{stem}/output/images": original.answers[0]}
