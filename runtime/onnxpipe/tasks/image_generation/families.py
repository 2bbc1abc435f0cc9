"""The families of image generators: their defaults, the arguments that they take, how their denoiser is fed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal

import numpy as np

from onnxpipe.diffusion.schedulers.base import Scheduler
from onnxpipe.engine.batching import Array
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.diffusion.model import DiffusionModel
from onnxpipe.tasks.image_generation.prompts import EncodedPrompts, TextPart, encode_one, encode_three, encode_two
from onnxpipe.tasks.image_generation.request import ImageRequest

#: What a pipeline starts from.
Mode = Literal["text-to-image", "image-to-image", "inpainting"]

_EVERY = (
    "prompt", "num_inference_steps", "guidance_scale", "num_images_per_prompt", "generator", "seed", "latents",
    "prompt_embeds", "output_type", "return_dict", "clip_skip", "callback_on_step_end",
    "callback_on_step_end_tensor_inputs",
)  # fmt: skip
_NEGATIVE = ("negative_prompt", "negative_prompt_embeds", "sigmas")
_POOLED = ("prompt_2", "negative_prompt_2", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
_SIZE = ("height", "width")
_PAINT = ("image", "mask_image", "masked_image_latents", "padding_mask_crop", "strength", *_SIZE)
#: The arrays of inpainting that a callback may replace.
_MASKS = ("mask", "masked_image_latents")
#: The arguments that come with a mode.
_OF_MODE: Mapping[Mode, tuple[str, ...]] = {
    "text-to-image": _SIZE,
    "image-to-image": ("image", "strength"),
    "inpainting": _PAINT,
}


class DiffusionFamily(ABC):
    """A family of image generators.

    Attributes:
        title: its name.
        steps, guidance, strength: the defaults of each mode.
        arguments: the arguments that it takes besides those of every family.
        flow: its scheduler matches flows; else it predicts noise.
        checked: images go through a safety checker, if there is one.
        arrays_between: the arrays that a callback may ask for and replace, as diffusers lists them.
        consistent: each step predicts the image itself, of which the last prediction is decoded.
        encoded: the arguments that prompts are encoded with.
    """

    title: ClassVar[str]
    steps: ClassVar[Mapping[Mode, int]]
    guidance: ClassVar[Mapping[Mode, float]]
    strength: ClassVar[Mapping[Mode, float]]
    arguments: ClassVar[tuple[str, ...]]
    flow: ClassVar[bool] = False
    checked: ClassVar[bool] = False
    arrays_between: ClassVar[tuple[str, ...]] = ("latents", "prompt_embeds", "negative_prompt_embeds")
    consistent: ClassVar[bool] = False
    encoded: ClassVar[frozenset[str]] = frozenset(
        {"prompt", "prompt_2", "prompt_3", "negative_prompt", "negative_prompt_2", "negative_prompt_3",
         "num_images_per_prompt", "clip_skip", "max_sequence_length"}
    )  # fmt: skip

    def known(self, mode: Mode) -> frozenset[str]:
        """The arguments of a call in a mode."""
        return frozenset((*_EVERY, *self.arguments, *_OF_MODE[mode], *self.of_mode(mode)))

    def of_mode(self, mode: Mode) -> tuple[str, ...]:
        """The arguments that only this family takes in a mode."""
        return ()

    def shown(self, mode: Mode) -> tuple[str, ...]:
        """The arrays that a callback may ask for and replace in a mode."""
        return (*self.arrays_between, *(_MASKS if mode == "inpainting" else ()))

    def guided(self, model: DiffusionModel, scale: float) -> bool:
        """Whether each step runs with the negative prompt too."""
        return scale > 1 and model.denoiser.guidance_width is None

    def mended_fields(self, mode: Mode) -> Mapping[str, Any]:
        """The fields of a scheduler that have these values in a mode, whatever its config says."""
        return {}

    @abstractmethod
    def encode(
        self, request: ImageRequest, model: DiffusionModel, parts: Mapping[str, TextPart], guided: bool
    ) -> EncodedPrompts:
        """Encode the prompts of a request."""

    @abstractmethod
    def arrays(
        self, request: ImageRequest, model: DiffusionModel, encoded: EncodedPrompts, mode: Mode, size: tuple[int, int]
    ) -> dict[str, Array]:
        """Make the arrays that the denoiser reads besides the latents, by the names that a callback knows.

        Args:
            request: the request.
            model: the model.
            encoded: its prompts.
            mode: what the pipeline starts from.
            size: height and width of the images in pixels.
        """

    @property
    def fed(self) -> Collection[str]:
        """The arrays that the denoiser reads besides the latents: one row for each of theirs."""
        return _FEEDS.keys()

    def feeds(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Rename those arrays to the inputs of the denoiser."""
        return {name: arrays[known] for known, name in _FEEDS.items() if known in arrays}

    def first_step(self, count: int, strength: float) -> int:
        """Find the first of `count` steps that is taken at a strength."""
        return max(count - min(int(count * strength), count), 0)

    def schedule_arguments(
        self, request: ImageRequest, model: DiffusionModel, scheduler: Scheduler[Any], size: tuple[int, int]
    ) -> dict[str, Any]:
        """Make the arguments of `set_timesteps` besides the steps."""
        return {}


#: The arrays of a call by the names that callbacks know, and the inputs of the denoiser that they are.
_FEEDS = {
    "prompt_embeds": "encoder_hidden_states",
    "add_text_embeds": "text_embeds",
    "add_time_ids": "time_ids",
    "pooled_prompt_embeds": "pooled_projections",
    "w_embedding": "timestep_cond",
}


class StableDiffusionFamily(DiffusionFamily):
    """Stable Diffusion 1 and 2, SD-Turbo."""

    title = "Stable Diffusion"
    steps: ClassVar[Mapping[Mode, int]] = {"text-to-image": 50, "image-to-image": 50, "inpainting": 50}
    guidance: ClassVar[Mapping[Mode, float]] = dict.fromkeys(steps, 7.5)
    strength: ClassVar[Mapping[Mode, float]] = {"image-to-image": 0.8, "inpainting": 1.0}
    arguments: ClassVar[tuple[str, ...]] = (*_NEGATIVE, "timesteps", "eta")
    checked = True

    def of_mode(self, mode: Mode) -> tuple[str, ...]:
        return ("guidance_rescale",) if mode == "text-to-image" else ()

    def mended_fields(self, mode: Mode) -> Mapping[str, Any]:
        return {"steps_offset": 1, **({"skip_prk_steps": True} if mode == "inpainting" else {"clip_sample": False})}

    def encode(
        self, request: ImageRequest, model: DiffusionModel, parts: Mapping[str, TextPart], guided: bool
    ) -> EncodedPrompts:
        return encode_one(request, parts, guided)

    def arrays(
        self, request: ImageRequest, model: DiffusionModel, encoded: EncodedPrompts, mode: Mode, size: tuple[int, int]
    ) -> dict[str, Array]:
        arrays = {"prompt_embeds": encoded.joined()[0]}
        if model.denoiser.guidance_width is not None:
            arrays["w_embedding"] = embedded_guidance(_scale(request), request.images, model.denoiser.guidance_width)
        return arrays


class LatentConsistencyFamily(StableDiffusionFamily):
    """Latent consistency models: a few steps, with the guidance scale as an input."""

    title = "latent consistency"
    steps: ClassVar[Mapping[Mode, int]] = {"text-to-image": 4, "image-to-image": 4}
    guidance: ClassVar[Mapping[Mode, float]] = dict.fromkeys(steps, 8.5)
    strength: ClassVar[Mapping[Mode, float]] = {"image-to-image": 0.8}
    arguments = ("timesteps", "original_inference_steps")
    arrays_between = ("latents", "denoised", "prompt_embeds", "w_embedding")
    consistent = True

    def of_mode(self, mode: Mode) -> tuple[str, ...]:
        return ()

    def mended_fields(self, mode: Mode) -> Mapping[str, Any]:
        return {}

    def guided(self, model: DiffusionModel, scale: float) -> bool:
        return False

    def arrays(
        self, request: ImageRequest, model: DiffusionModel, encoded: EncodedPrompts, mode: Mode, size: tuple[int, int]
    ) -> dict[str, Array]:
        if model.denoiser.guidance_width is None:
            raise UnsupportedError(
                f"the UNet of {model.name_or_path} does not take the guidance scale (its config has no "
                "time_cond_proj_dim): load it as a StableDiffusionPipeline with an LCMScheduler"
            )
        return super().arrays(request, model, encoded, mode, size)


class StableDiffusionXLFamily(DiffusionFamily):
    """SDXL: base, refiner, Turbo, Lightning."""

    title = "Stable Diffusion XL"
    steps: ClassVar[Mapping[Mode, int]] = {"text-to-image": 50, "image-to-image": 50, "inpainting": 50}
    guidance: ClassVar[Mapping[Mode, float]] = {"text-to-image": 5.0, "image-to-image": 5.0, "inpainting": 7.5}
    strength: ClassVar[Mapping[Mode, float]] = {"image-to-image": 0.3, "inpainting": 0.9999}
    arguments = (
        *_NEGATIVE, *_POOLED, "timesteps", "eta", "guidance_rescale", "denoising_end", "original_size", "target_size",
        "crops_coords_top_left", "negative_original_size", "negative_target_size", "negative_crops_coords_top_left",
    )  # fmt: skip
    arrays_between = ("latents", "prompt_embeds", "add_text_embeds", "add_time_ids")

    def of_mode(self, mode: Mode) -> tuple[str, ...]:
        return () if mode == "text-to-image" else ("denoising_start", "aesthetic_score", "negative_aesthetic_score")

    def encode(
        self, request: ImageRequest, model: DiffusionModel, parts: Mapping[str, TextPart], guided: bool
    ) -> EncodedPrompts:
        zeros = model.switch("force_zeros_for_empty_prompt")
        return encode_two(request, parts, guided, zeros=True if zeros is None else bool(zeros))

    def arrays(
        self, request: ImageRequest, model: DiffusionModel, encoded: EncodedPrompts, mode: Mode, size: tuple[int, int]
    ) -> dict[str, Array]:
        embeds, pooled = encoded.joined()
        assert pooled is not None  # the encoders of this family return it
        ids, negative = _size_ids(request, model, mode, size)
        if encoded.negative is None:
            ids = np.tile(ids, (request.images, 1))
        elif mode == "text-to-image":
            # diffusers repeats the pair, so that negative and positive sizes alternate
            ids = np.tile(np.concatenate([negative, ids]), (request.images, 1))
        else:
            ids = np.concatenate([np.repeat(negative, request.images, 0), np.repeat(ids, request.images, 0)])
        arrays = {"prompt_embeds": embeds, "add_text_embeds": pooled, "add_time_ids": ids}
        if model.denoiser.guidance_width is not None:
            arrays["w_embedding"] = embedded_guidance(_scale(request), request.images, model.denoiser.guidance_width)
        return arrays


class StableDiffusion3Family(DiffusionFamily):
    """Stable Diffusion 3 and 3.5: a transformer that matches flows."""

    title = "Stable Diffusion 3"
    steps: ClassVar[Mapping[Mode, int]] = {"text-to-image": 28, "image-to-image": 50, "inpainting": 50}
    guidance: ClassVar[Mapping[Mode, float]] = dict.fromkeys(steps, 7.0)
    strength: ClassVar[Mapping[Mode, float]] = {"image-to-image": 0.6, "inpainting": 0.6}
    arguments = (*_NEGATIVE, *_POOLED, "prompt_3", "negative_prompt_3", "max_sequence_length", "mu")
    flow = True
    arrays_between = ("latents", "prompt_embeds")

    def of_mode(self, mode: Mode) -> tuple[str, ...]:
        return _SIZE if mode == "image-to-image" else ()

    def shown(self, mode: Mode) -> tuple[str, ...]:
        negative = ("negative_prompt_embeds", "negative_pooled_prompt_embeds")
        return (*super().shown(mode), *(("pooled_prompt_embeds",) if mode == "text-to-image" else negative))

    def guided(self, model: DiffusionModel, scale: float) -> bool:
        return scale > 1

    def encode(
        self, request: ImageRequest, model: DiffusionModel, parts: Mapping[str, TextPart], guided: bool
    ) -> EncodedPrompts:
        width = model.denoiser.config.get("joint_attention_dim", 4096)
        return encode_three(request, parts, guided, int(width))

    def arrays(
        self, request: ImageRequest, model: DiffusionModel, encoded: EncodedPrompts, mode: Mode, size: tuple[int, int]
    ) -> dict[str, Array]:
        embeds, pooled = encoded.joined()
        assert pooled is not None
        return {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}

    def first_step(self, count: int, strength: float) -> int:
        return int(max(count - min(count * strength, count), 0))

    def schedule_arguments(
        self, request: ImageRequest, model: DiffusionModel, scheduler: Scheduler[Any], size: tuple[int, int]
    ) -> dict[str, Any]:
        config = scheduler.config
        if request.mu is not None or not config.get("use_dynamic_shifting"):
            return {} if request.mu is None else {"mu": request.mu}
        side = model.vae.factor * model.denoiser.patch_size
        few, many = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
        low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
        slope = (high - low) / (many - few)
        return {"mu": (size[0] // side) * (size[1] // side) * slope + low - slope * few}


def embedded_guidance(scale: float, images: int, width: int) -> Array:
    """Embed a guidance scale as sines and cosines, float32 (images, width).

    Source: `get_guidance_scale_embedding` of diffusers, after Kingma et al., Variational Diffusion Models.
    """
    half = width // 2
    fall = np.log(np.float32(10000.0)) / np.float32(half - 1)
    angles = np.float32((scale - 1) * 1000.0) * np.exp(np.arange(half, dtype=np.float32) * -fall)
    embedding = np.concatenate([np.sin(angles), np.cos(angles), np.zeros(width % 2, np.float32)])
    return np.tile(embedding.astype(np.float32), (images, 1))


def _scale(request: ImageRequest) -> float:
    assert request.guidance_scale is not None  # the pipeline has put its default there
    return request.guidance_scale


def _size_ids(request: ImageRequest, model: DiffusionModel, mode: Mode, size: tuple[int, int]) -> tuple[Array, Array]:
    """Make the numbers that tell SDXL sizes and crops, for the prompt and the negative one, float32 (1, 6 or 5)."""
    original, target = request.original_size or size, request.target_size or size
    crop, negative_crop = request.crops_coords_top_left, request.negative_crops_coords_top_left
    negative_original, negative_target = request.negative_original_size, request.negative_target_size
    ids: list[float]
    negative: list[float]
    if mode == "text-to-image":
        both_given = negative_original is not None and negative_target is not None
        ids = [*original, *crop, *target]
        negative = [*(negative_original or ()), *negative_crop, *(negative_target or ())] if both_given else ids
    elif model.switch("requires_aesthetics_score"):
        ids = [*original, *crop, request.aesthetic_score]
        negative = [*(negative_original or original), *negative_crop, request.negative_aesthetic_score]
    else:
        ids = [*original, *crop, *target]
        negative = [*(negative_original or original), *crop, *(negative_target or target)]
    return np.asarray([ids], np.float32), np.asarray([negative], np.float32)


STABLE_DIFFUSION = StableDiffusionFamily()
LATENT_CONSISTENCY = LatentConsistencyFamily()
STABLE_DIFFUSION_XL = StableDiffusionXLFamily()
STABLE_DIFFUSION_3 = StableDiffusion3Family()
