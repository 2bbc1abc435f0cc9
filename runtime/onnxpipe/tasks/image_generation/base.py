"""The base of the image generators with diffusers' names: a model, tokenizers, a scheduler, and the loop."""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from onnxpipe.bundle.diffusion_folder import INDEX
from onnxpipe.bundle.files import read_json
from onnxpipe.diffusion.random import NoiseSource, as_generators
from onnxpipe.diffusion.schedulers.base import Scheduler
from onnxpipe.engine import Device
from onnxpipe.engine.batching import Array
from onnxpipe.errors import UnsupportedError
from onnxpipe.generation.seed import next_seed
from onnxpipe.models.diffusion.graphs import ComponentConfig
from onnxpipe.models.diffusion.memory import warn_of_memory
from onnxpipe.models.diffusion.model import DiffusionModel
from onnxpipe.models.diffusion.safety_checker import SafetyChecker
from onnxpipe.processing.arrays import check_numbers
from onnxpipe.processing.images.generated import paste_back, to_pil, to_unit
from onnxpipe.processing.text.tokenizer import Tokenizer
from onnxpipe.tasks.image_generation.denoising import Denoising
from onnxpipe.tasks.image_generation.families import DiffusionFamily, Mode
from onnxpipe.tasks.image_generation.outputs import ImagePipelineOutput
from onnxpipe.tasks.image_generation.prompts import TextPart
from onnxpipe.tasks.image_generation.refusals import NOT_HERE, refuse
from onnxpipe.tasks.image_generation.request import ImageRequest
from onnxpipe.tasks.image_generation.saving import save
from onnxpipe.tasks.image_generation.schedule import check_scheduler, mended, plan_steps
from onnxpipe.tasks.image_generation.starts import Start, Starter

logger = logging.getLogger("onnxpipe")


class ImageGenerator:
    """Generates images as a pipeline of diffusers does. Its subclasses have a family and a mode.

    One call at a time: a second thread waits until the first one's is done.

    Args:
        model: the graphs.
        scheduler: leads from noise to an image.
        tokenizers: of the text encoders, by their component's name ("tokenizer").
        safety_checker: None for none.

    Attributes:
        model, safety_checker: as passed.
    """

    family: ClassVar[DiffusionFamily]
    mode: ClassVar[Mode]

    def __init__(
        self,
        model: DiffusionModel,
        scheduler: Scheduler[Any],
        tokenizers: Mapping[str, Tokenizer],
        safety_checker: SafetyChecker | None = None,
    ) -> None:
        check_scheduler(scheduler, self.family, model.name_or_path)
        self.model = model
        self.safety_checker = safety_checker
        self._tokenizers = dict(tokenizers)
        self._scheduler = mended(scheduler, self.family.mended_fields(self.mode))
        self._prediction_type = scheduler.config.get("prediction_type")
        self._bar: dict[str, Any] = {}
        self._lock = threading.RLock()
        self._guidance_scale, self._guidance_rescale = 1.0, 0.0
        self._interrupt = False
        self._num_timesteps = 0

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.RLock()

    # -- parts --------------------------------------------------------------------------------------------------------
    @property
    def scheduler(self) -> Scheduler[Any]:
        """The scheduler; `pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)` replaces it."""
        return self._scheduler

    @scheduler.setter
    def scheduler(self, value: Scheduler[Any]) -> None:
        check_scheduler(value, self.family, self.model.name_or_path, self._prediction_type)
        self._scheduler = value

    @property
    def components(self) -> dict[str, Any]:
        """The parts, as the constructor of a pipeline of the same family takes them."""
        return {
            "model": self.model, "scheduler": self._scheduler, "tokenizers": self._tokenizers,
            "safety_checker": self.safety_checker,
        }  # fmt: skip

    @property
    def config(self) -> ComponentConfig:
        """The index of the model's folder: its class, its components and its switches."""
        return ComponentConfig(read_json(self.model.bundle.folder, INDEX))

    @property
    def device(self) -> Device:
        """Where the graphs run."""
        return self.model.device

    @property
    def dtype(self) -> str:
        """The precision of the graph that denoises."""
        return self.model.dtype

    @property
    def vae(self) -> Any:
        """The autoencoder; that of another pipeline may take its place."""
        return self.model.vae

    @property
    def vae_scale_factor(self) -> int:
        """Pixels of a latent's side."""
        return self.model.vae.factor

    def __getattr__(self, name: str) -> Any:  # the components by diffusers' names
        parts = vars(self)
        if name.startswith("tokenizer") and name in parts.get("_tokenizers", {}):
            return parts["_tokenizers"][name]
        model = parts.get("model")
        if model is not None and name in model.text_encoders:
            return model.text_encoders[name]
        if model is not None and name == model.denoiser.name:
            return model.denoiser
        if name in NOT_HERE:
            return partial(refuse, type(self).__name__, name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def to(self, device: Any) -> Self:
        """Move the graphs to a device: they are opened there when they next run. Returns the pipeline.

        Raises:
            DeviceError: no such device here; the message says what is missing.
        """
        self.model.move(device)
        return self

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        safe_serialization: bool = True,
        variant: str | None = None,
        max_shard_size: Any = None,
        push_to_hub: bool = False,
    ) -> None:
        """Write the pipeline's folder, with its class, scheduler and tokenizers as they are now, to a directory.

        Args:
            save_directory: the directory; it is made.
            safe_serialization, variant, max_shard_size: choose files of PyTorch, so they make no difference here.
            push_to_hub: not offered.

        Raises:
            UnsupportedError: `push_to_hub`, or a part of another folder.
        """
        if push_to_hub:
            raise UnsupportedError("push_to_hub is not offered: save the folder, and upload it with huggingface_hub")
        save(self, Path(save_directory))

    # -- settings that diffusers' examples make ---------------------------------------------------------------------
    def set_progress_bar_config(self, **config: Any) -> None:
        """Set keywords of the progress bar (tqdm's), e.g. `disable=True`."""
        self._bar = config

    def progress_bar(self, total: int) -> Any:
        """Make the progress bar of a run; it is shown on a terminal only."""
        from tqdm import tqdm

        return tqdm(total=total, **{"disable": None, **self._bar})

    def enable_vae_tiling(self) -> None:
        """Decode large images in tiles, so that memory does not grow with them; seams are blended."""
        self.model.vae.tiling = True

    def disable_vae_tiling(self) -> None:
        """Decode images as a whole."""
        self.model.vae.tiling = False

    def enable_model_cpu_offload(self, *args: Any, **kwargs: Any) -> None:
        """Keep only the graph in memory that is needed: that of `low_memory=True`."""
        self.model.graphs.low_memory = True

    enable_sequential_cpu_offload = enable_model_cpu_offload

    def enable_vae_slicing(self) -> None:
        """Decode images one by one, which is always done here."""

    disable_vae_slicing = enable_vae_slicing

    def enable_attention_slicing(self, slice_size: Any = "auto") -> None:
        """Change nothing: attention is fixed in the graph. It is here for code written for diffusers."""

    enable_xformers_memory_efficient_attention = disable_attention_slicing = enable_attention_slicing

    # -- what callbacks look at -------------------------------------------------------------------------------------
    @property
    def guidance_scale(self) -> float:
        """The guidance scale of the call; callbacks may set `_guidance_scale`."""
        return self._guidance_scale

    @property
    def guidance_rescale(self) -> float:
        """The share of rescaled guidance of the call; callbacks may set `_guidance_rescale`."""
        return self._guidance_rescale

    @property
    def do_classifier_free_guidance(self) -> bool:
        """Whether each step runs with the negative prompt too."""
        return self.family.guided(self.model, self._guidance_scale)

    @property
    def num_timesteps(self) -> int:
        """The number of timesteps of the call."""
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """Whether a callback has set `_interrupt`, which ends the run after its step."""
        return self._interrupt

    def encode_prompt(
        self, prompt: str | list[str], *, do_classifier_free_guidance: bool = True, device: Any = None, **arguments: Any
    ) -> tuple[Array | None, ...]:
        """Encode prompts, to be passed as `prompt_embeds` and the like.

        Args:
            prompt: a text, or several.
            do_classifier_free_guidance: encode the negative prompt too; without it its arrays are None.
            device: for code written for diffusers; arrays are numpy's.
            **arguments: of a call: `negative_prompt`, `prompt_2`, `num_images_per_prompt`, `clip_skip`, ...

        Returns:
            The prompt's states and the negative prompt's, then for SDXL and SD 3 the pooled vectors of both.
        """
        known = self.family.encoded & self.family.known(self.mode)
        request = ImageRequest.of(f"{type(self).__name__}.encode_prompt", known, {"prompt": prompt, **arguments})
        with self._lock:
            found = self.family.encode(request, self.model, self._text_parts(), do_classifier_free_guidance)
        states = (found.embeds, found.negative)
        return states if found.pooled is None else (*states, found.pooled, found.negative_pooled)

    # -- the call ---------------------------------------------------------------------------------------------------
    def generate(self, arguments: Mapping[str, Any]) -> Any:
        """Make the images that the arguments of a call ask for; see `ImageRequest`."""
        request = self._request(arguments)
        with self._lock:
            try:
                return self._generate(request)
            finally:
                self._interrupt = False

    def _request(self, arguments: Mapping[str, Any]) -> ImageRequest:
        family, mode = self.family, self.mode
        request = ImageRequest.of(type(self).__name__, family.known(mode), arguments)
        defaults: dict[str, Any] = {"guidance_scale": family.guidance[mode], "num_inference_steps": family.steps[mode]}
        if mode != "text-to-image":
            defaults["strength"] = family.strength[mode]
        if request.timesteps is not None or request.sigmas is not None:
            del defaults["num_inference_steps"]
        missing = {name: value for name, value in defaults.items() if getattr(request, name) is None}
        request = dataclasses.replace(request, **missing)
        for name in ("image", "mask_image"):
            given = getattr(request, name) is not None or (name == "image" and request.latents is not None)
            if name in family.known(mode) and not given:
                raise UnsupportedError(f"{type(self).__name__} needs {name}=")
        asked = getattr(request.callback_on_step_end, "tensor_inputs", None)  # of diffusers' callbacks that are objects
        if asked is not None:
            request = dataclasses.replace(request, callback_on_step_end_tensor_inputs=tuple(asked))
        shown = family.shown(mode)
        for name in request.callback_on_step_end_tensor_inputs:
            if name not in shown:
                raise UnsupportedError(
                    f"callback_on_step_end_tensor_inputs: {name!r} is not among {', '.join(sorted(shown))}"
                )
        return request

    def _generate(self, request: ImageRequest) -> Any:
        size = self._size(request)
        warn_of_memory(self.model, *size)
        self._interrupt = False
        self._guidance_scale, self._guidance_rescale = float(request.guidance_scale or 0.0), request.guidance_rescale
        guided = self.do_classifier_free_guidance
        if request.clip_skip is not None and request.prompt is None:
            raise UnsupportedError("clip_skip has no effect on prompt_embeds: leave it out")
        encoded = self.family.encode(request, self.model, self._text_parts(), guided)
        schedule = plan_steps(self.scheduler, request, self.family, self.model, size)
        if schedule.steps < 1:
            raise UnsupportedError(
                f"strength={request.strength} of {request.num_inference_steps} steps leaves none to run: raise one"
            )
        starter = Starter(
            self.model, request, self.scheduler, self._generators(request), schedule.timesteps[:1], size
        )  # fmt: skip
        start = self._start(starter, request)
        height, width = (side * self.model.vae.factor for side in start.latents.shape[-2:])
        arrays = self.family.arrays(request, self.model, encoded, self.mode, (height, width))
        arrays |= {"latents": start.latents, **_masks(start, guided)}
        self._num_timesteps = len(schedule.timesteps)
        run = Denoising(self.scheduler, schedule.timesteps, schedule.steps, arrays, starter.draw, start.painting)
        latents = run.run(self, request)
        self.model.denoiser.release()
        return self._answer(check_numbers("latents", latents), request, starter)

    def _start(self, starter: Starter, request: ImageRequest) -> Start:
        if self.mode == "text-to-image":
            start = starter.from_noise(self.family.flow)
        elif self.mode == "image-to-image":
            sized = starter.size if request.height or request.width else None
            start = starter.from_image(sized)
        else:
            start = starter.inpaint()
        self.model.vae.release()
        return start

    def _size(self, request: ImageRequest) -> tuple[int, int]:
        """Find height and width of the images."""
        factor = self.model.vae.factor
        sides = self.model.denoiser.sample_size
        height, width = request.height or sides[0] * factor, request.width or sides[1] * factor
        step = factor * self.model.denoiser.patch_size
        if height % step or width % step:
            raise UnsupportedError(
                f"height and width must be multiples of {step}, but are {height} and {width}: "
                f"{height - height % step or step} and {width - width % step or step} would do"
            )
        return height, width

    def _generators(self, request: ImageRequest) -> list[NoiseSource]:
        seed = request.generator if request.generator is not None else request.seed
        if isinstance(seed, np.ndarray):
            seed = seed.tolist()
        return as_generators(next_seed() if seed is None else seed, request.images)

    def _text_parts(self) -> dict[str, TextPart]:
        parts = {}
        for name, encoder in self.model.text_encoders.items():
            tokenizer = self._tokenizers.get(name.replace("text_encoder", "tokenizer"))
            if tokenizer is not None:
                parts[name] = TextPart(encoder, tokenizer)
        return parts

    def _answer(self, latents: Array, request: ImageRequest, starter: Starter) -> Any:
        images, flags = self._images(latents, request, starter)
        if self.family.checked:
            return ImagePipelineOutput.of(request.return_dict, images=images, nsfw_content_detected=flags)
        return ImagePipelineOutput.of(request.return_dict, images=images)

    def _images(self, latents: Array, request: ImageRequest, starter: Starter) -> tuple[Any, list[bool] | None]:
        if request.output_type == "latent":
            return latents, None
        pixels = self.model.vae.decode(latents)
        self.model.vae.release()
        unit = to_unit(check_numbers("images", pixels))
        flags = None
        if self.family.checked and self.safety_checker is not None:
            flags = self.safety_checker(unit)
            self.safety_checker.release()
            unit[np.array(flags)] = 0.0
            if any(flags):
                logger.warning(
                    "the safety checker replaced image %s by black: it may not be fit to be shown. Another prompt or "
                    "seed may help.",
                    ", ".join(str(number) for number, flag in enumerate(flags, 1) if flag),
                )
        if request.output_type == "np":
            return unit, flags
        images = to_pil(unit)
        crop = starter.crop() if self.mode == "inpainting" else None
        if crop is not None:
            images = [paste_back(image, request.image, request.mask_image, crop) for image in images]
        return images, flags

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.model.name_or_path!r}, scheduler={type(self.scheduler).__name__}, "
            f"device={str(self.device)!r})"
        )


def _masks(start: Start, guided: bool) -> dict[str, Array]:
    """Make the arrays of inpainting, twice where each step runs with the negative prompt too."""
    values = {"mask": start.mask, "masked_image_latents": start.masked}
    return {
        name: np.concatenate([value, value]) if guided else value for name, value in values.items() if value is not None
    }
