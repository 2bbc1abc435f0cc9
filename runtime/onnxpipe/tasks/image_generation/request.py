"""What a call of an image generator asks for: its arguments, checked as far as no model is needed for that."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.errors import UnknownArgumentError, UnsupportedError
from onnxpipe.processing.arrays import to_array

#: Arguments of diffusers that cannot be had from graphs, and why. None may be passed.
_REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("ip_adapter_image", "ip_adapter_image_embeds"), "the graphs have no IP-Adapter"),
    **dict.fromkeys(
        ("cross_attention_kwargs", "joint_attention_kwargs"),
        "attention is fixed in the graph; a LoRA is merged into the model before it is exported",
    ),
    **dict.fromkeys(
        ("skip_guidance_layers", "skip_layer_guidance_scale", "skip_layer_guidance_start", "skip_layer_guidance_stop"),
        "the graph runs all its layers",
    ),
    **dict.fromkeys(("callback", "callback_steps"), "pass callback_on_step_end"),
}
#: What `output_type` may be, but for tensors of PyTorch.
_OUTPUTS = ("pil", "np", "latent")

Prompt = str | list[str]
Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class ImageRequest:
    """The arguments of a call. None stands for the pipeline's default, or for nothing.

    Attributes:
        prompt: a text, or one for each image.
        prompt_2, prompt_3: the texts for the second and the third text encoder, if they are others.
        negative_prompt, negative_prompt_2, negative_prompt_3: what the images should not show.
        image: the image to start from, or to paint into; one or several.
        mask_image: white where an image is painted over.
        masked_image_latents: latents of the image without what is painted over.
        padding_mask_crop: work on the part of the image around the mask, with so many pixels of margin.
        height, width: of the images in pixels.
        strength: how much of an image is made anew, from 0 to 1.
        num_inference_steps: steps of denoising.
        timesteps, sigmas: the steps' own timesteps or noise levels.
        original_inference_steps: steps that a latent consistency model was trained with.
        denoising_start, denoising_end: the part of the steps that is done, from 0 to 1.
        guidance_scale: how closely images follow the prompt; above 1 each step runs twice.
        guidance_rescale: how much of the overexposure of strong guidance is taken back, from 0 to 1.
        num_images_per_prompt: images of each prompt.
        eta: the noise of DDIM, from 0 to 1.
        generator: where noise comes from: an `onnxpipe.Generator`, one for each image, or one of NumPy or PyTorch.
        seed: the same as a number, or one for each image.
        latents: float32 (images, channels, height / 8, width / 8), instead of drawn noise.
        prompt_embeds, negative_prompt_embeds: encoded prompts, float32 (prompts, tokens, width).
        pooled_prompt_embeds, negative_pooled_prompt_embeds: their pooled vectors.
        output_type: "pil", "np" for float32 (images, height, width, 3) in [0, 1], "latent".
        return_dict: False gives a tuple.
        clip_skip: layers of the text encoder that are left out at its end.
        max_sequence_length: tokens of T5.
        original_size, target_size, crops_coords_top_left: the sizes and the crop in SDXL's `time_ids`, (height, width).
        negative_original_size, negative_target_size, negative_crops_coords_top_left: the same for the negative prompt.
        aesthetic_score, negative_aesthetic_score: the scores in the `time_ids` of SDXL's refiner.
        mu: the shift of noise levels of a scheduler with dynamic shifting.
        callback_on_step_end: called as `(pipe, step, timestep, arrays)` after each step; the arrays that it returns by
            name replace those of the call.
        callback_on_step_end_tensor_inputs: the names of the arrays that it gets.
    """

    prompt: Prompt | None = None
    prompt_2: Prompt | None = None
    prompt_3: Prompt | None = None
    negative_prompt: Prompt | None = None
    negative_prompt_2: Prompt | None = None
    negative_prompt_3: Prompt | None = None
    image: Any = None
    mask_image: Any = None
    masked_image_latents: Any = None
    padding_mask_crop: int | None = None
    height: int | None = None
    width: int | None = None
    strength: float | None = None
    num_inference_steps: int | None = None
    timesteps: Sequence[float] | None = None
    sigmas: Sequence[float] | None = None
    original_inference_steps: int | None = None
    denoising_start: float | None = None
    denoising_end: float | None = None
    guidance_scale: float | None = None
    guidance_rescale: float = 0.0
    num_images_per_prompt: int = 1
    eta: float = 0.0
    generator: Any = None
    seed: Any = None
    latents: Any = None
    prompt_embeds: Any = None
    negative_prompt_embeds: Any = None
    pooled_prompt_embeds: Any = None
    negative_pooled_prompt_embeds: Any = None
    output_type: str = "pil"
    return_dict: bool = True
    clip_skip: int | None = None
    max_sequence_length: int = 256
    original_size: Size | None = None
    target_size: Size | None = None
    crops_coords_top_left: Size = (0, 0)
    negative_original_size: Size | None = None
    negative_target_size: Size | None = None
    negative_crops_coords_top_left: Size = (0, 0)
    aesthetic_score: float = 6.0
    negative_aesthetic_score: float = 2.5
    mu: float | None = None
    callback_on_step_end: Callable[..., Any] | None = None
    callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",)

    @classmethod
    def of(cls, caller: str, known: Collection[str], arguments: Mapping[str, Any]) -> ImageRequest:
        """Check the arguments of a call.

        Args:
            caller: the pipeline's class, for errors.
            known: the arguments that it takes.
            arguments: by name; None is the same as leaving it out.

        Raises:
            UnknownArgumentError, UnsupportedError, TypeError, ValueError.
        """
        given = {name: value for name, value in arguments.items() if value is not None}
        for name in arguments:
            if name in _REFUSED:
                if name in given and given[name] != {}:
                    raise UnsupportedError(f"{caller}: {name}= is not supported: {_REFUSED[name]}")
            elif name not in known:
                raise UnknownArgumentError.among(caller, name, known)
        request = cls(**{name: value for name, value in given.items() if name not in _REFUSED})
        request._check_prompts()
        request._check_numbers()
        return request

    @property
    def prompts(self) -> int:
        """The number of prompts."""
        if isinstance(self.prompt, str):
            return 1
        return len(self.prompt_embeds if self.prompt is None else self.prompt)

    @property
    def images(self) -> int:
        """The number of images to make."""
        return self.prompts * self.num_images_per_prompt

    def array(self, name: str) -> Any:
        """Get an argument that is an array as float32; None if it was not passed."""
        value = getattr(self, name)
        return None if value is None else to_array(value).astype(np.float32)

    def _check_prompts(self) -> None:
        texts = [name for name in ("prompt", "prompt_2", "prompt_3") if getattr(self, name) is not None]
        if self.prompt_embeds is None and self.prompt is None:
            raise UnsupportedError("a prompt is missing: pass prompt=, or prompt_embeds=")
        if self.prompt_embeds is not None and texts:
            raise UnsupportedError(f"{texts[0]} and prompt_embeds were both passed: pass one of them")
        for name in ("prompt", "prompt_2", "prompt_3", "negative_prompt", "negative_prompt_2", "negative_prompt_3"):
            value = getattr(self, name)
            if name.startswith("negative") and value is not None and self.negative_prompt_embeds is not None:
                raise UnsupportedError(f"{name} and negative_prompt_embeds were both passed: pass one of them")
            if value is not None and not _are_texts(value):
                raise UnsupportedError(f"{name} must be a text or a list of texts, not {value!r:.80}")
        if self.prompt == []:
            raise UnsupportedError("prompt is an empty list: pass one text at least")
        if self.prompt is not None and self.negative_prompt is not None:
            _check_pair(self.prompt, self.negative_prompt)
        embeds, negative = self.array("prompt_embeds"), self.array("negative_prompt_embeds")
        if embeds is not None and negative is not None and embeds.shape != negative.shape:
            raise UnsupportedError(
                f"prompt_embeds {embeds.shape} and negative_prompt_embeds {negative.shape} must have the same shape"
            )

    def _check_numbers(self) -> None:
        if self.seed is not None and self.generator is not None:
            raise UnsupportedError("seed and generator were both passed: pass one of them")
        if self.timesteps is not None and self.sigmas is not None:
            raise UnsupportedError("timesteps and sigmas were both passed: pass one of them")
        for name in ("height", "width", "num_inference_steps", "num_images_per_prompt", "original_inference_steps",
                     "max_sequence_length"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not _is_whole(value, 1):
                raise UnsupportedError(f"{name}={value!r}: pass a whole number of at least 1")
        for name in ("clip_skip", "padding_mask_crop"):
            value = getattr(self, name)
            if value is not None and not _is_whole(value, 0):
                raise UnsupportedError(f"{name}={value!r}: pass a whole number of at least 0")
        for name, least, most in (
            ("strength", 0.0, 1.0), ("denoising_start", 0.0, 1.0), ("denoising_end", 0.0, 1.0), ("eta", 0.0, 1.0),
            ("guidance_rescale", 0.0, 1.0), ("guidance_scale", -1e4, 1e4),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not _is_between(value, least, most):
                limits = f" from {least:g} to {most:g}" if name != "guidance_scale" else ""
                raise UnsupportedError(f"{name}={value!r}: pass a number{limits}")
        if self.output_type == "pt":
            raise UnsupportedError('output_type="pt" gives tensors of PyTorch: pass "np" for arrays')
        if self.output_type not in _OUTPUTS:
            raise UnsupportedError(f"output_type={self.output_type!r}: choose one of {', '.join(_OUTPUTS)}")
        if self.max_sequence_length > 512:
            raise UnsupportedError(f"max_sequence_length={self.max_sequence_length}: T5 takes at most 512 tokens")
        if self.padding_mask_crop is not None and self.output_type != "pil":
            raise UnsupportedError(f'padding_mask_crop needs output_type="pil", not {self.output_type!r}')


def argument_names() -> frozenset[str]:
    """List the names of all arguments."""
    return frozenset(field.name for field in dataclasses.fields(ImageRequest))


def _are_texts(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(each, str) for each in value))


def _check_pair(prompt: Prompt, negative: Prompt) -> None:
    if isinstance(negative, list) and isinstance(prompt, str):
        raise TypeError("negative_prompt is a list, and prompt is a text: pass both in the same form")
    if isinstance(negative, list) and len(negative) != len(prompt):
        raise UnsupportedError(f"{len(prompt)} prompts and {len(negative)} negative prompts: pass one for each")


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value >= least)


def _is_between(value: Any, least: float, most: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        return False
    return bool(least <= value <= most)
