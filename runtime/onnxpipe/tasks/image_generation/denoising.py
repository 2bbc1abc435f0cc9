"""The loop that denoises: the same for all families and modes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxpipe.diffusion.schedulers.base import Scheduler
from onnxpipe.engine.batching import Array
from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.arrays import to_array
from onnxpipe.tasks.image_generation.request import ImageRequest

if TYPE_CHECKING:
    from onnxpipe.tasks.image_generation.base import ImageGenerator


@dataclass(frozen=True)
class Painting:
    """What inpainting keeps of an image.

    Attributes:
        image: the image's latents, float32 (images, channels, height, width).
        noise: the noise that was drawn for the images, of the same shape.
    """

    image: Array
    noise: Array


@dataclass
class Denoising:
    """A run of the loop.

    Attributes:
        scheduler: its timesteps are set.
        timesteps: those that are run.
        steps: how many of them there are to a user: with Heun each has two.
        arrays: what changes from step to step, and what a callback may replace: "latents", "prompt_embeds", ...
        draw: draws noise of a shape.
        painting: what a UNet without a mask of its own keeps of the image that is painted into; None for nothing.
    """

    scheduler: Scheduler[Any]
    timesteps: Array
    steps: int
    arrays: dict[str, Array]
    draw: Callable[[tuple[int, ...]], Array]
    painting: Painting | None = None

    def run(self, pipe: ImageGenerator, request: ImageRequest) -> Array:
        """Denoise; return the latents of the images.

        Args:
            pipe: the pipeline: its model and family; its `_guidance_scale` and `_interrupt` may change between steps.
            request: the request.
        """
        order, arrays = self.scheduler.order, self.arrays
        early = len(self.timesteps) - self.steps * order
        with pipe.progress_bar(total=self.steps) as bar:
            for number, timestep in enumerate(self.timesteps):
                if pipe._interrupt:
                    break
                prediction = self._predict(pipe, timestep)
                result = self.scheduler.step(prediction, timestep, arrays["latents"], eta=request.eta, noise=self.draw)
                arrays["latents"] = result.prev_sample
                if result.pred_original_sample is not None:
                    arrays["denoised"] = result.pred_original_sample
                if self.painting is not None:
                    arrays["latents"] = self._paint(self.painting, number)
                if request.callback_on_step_end is not None:
                    self._call_back(pipe, request, number, timestep)
                if number == len(self.timesteps) - 1 or (number + 1 > early and (number + 1) % order == 0):
                    bar.update()
        return arrays["denoised" if pipe.family.consistent else "latents"]

    def _predict(self, pipe: ImageGenerator, timestep: Any) -> Array:
        arrays, guided = self.arrays, pipe.do_classifier_free_guidance
        latents = arrays["latents"]
        sample = np.concatenate([latents, latents]) if guided else latents
        sample = self.scheduler.scale_model_input(sample, timestep)
        masks = ("mask", "masked_image_latents") if "masked_image_latents" in arrays and self.painting is None else ()
        for name, array in arrays.items():
            if (name in masks or name in pipe.family.fed) and len(array) != len(sample):
                raise UnsupportedError(
                    f"{name} has {len(array)} rows where the denoiser gets {len(sample)}: a callback that ends "
                    "guidance returns the second half of each array that the denoiser reads"
                )
        sample = np.concatenate([sample, *(arrays[name] for name in masks)], axis=1)
        prediction = pipe.model.denoiser(sample, float(timestep), pipe.family.feeds(arrays))
        if not guided:
            return prediction
        negative, positive = np.split(prediction, 2)
        prediction = negative + np.float32(pipe._guidance_scale) * (positive - negative)
        share = pipe._guidance_rescale
        return rescaled(prediction, positive, share) if share > 0 else prediction

    def _paint(self, painting: Painting, number: int) -> Array:
        """Put the image, with the noise that it has after a step, where it is not painted over."""
        image = painting.image
        if number < len(self.timesteps) - 1:
            image = self.scheduler.add_noise(image, painting.noise, self.timesteps[number + 1 : number + 2])
        mask = self.arrays["mask"][: len(image)]
        return np.asarray((1 - mask) * image + mask * self.arrays["latents"], np.float32)

    def _call_back(self, pipe: ImageGenerator, request: ImageRequest, number: int, timestep: Any) -> None:
        callback = request.callback_on_step_end
        assert callback is not None
        shown = {name: self._shown(pipe, name) for name in request.callback_on_step_end_tensor_inputs}
        answer = callback(pipe, number, timestep, dict(shown))
        if answer is None:
            return
        if not isinstance(answer, Mapping):
            raise UnsupportedError(
                f"callback_on_step_end returned a {type(answer).__name__}: return a dict of the arrays to replace"
            )
        known = pipe.family.shown(pipe.mode)
        for name in answer:
            if name not in known:
                raise UnsupportedError(
                    f"callback_on_step_end returned {name!r}, which {type(pipe).__name__} does not read between steps; "
                    f"it reads {', '.join(known)}"
                )
        for name in sorted(answer, key=_JOINED.__contains__):  # parts of an array after the whole
            if answer[name] is not None and answer[name] is not shown.get(name):
                self._replace(pipe, name, to_array(answer[name]).astype(np.float32))

    def _shown(self, pipe: ImageGenerator, name: str) -> Array | None:
        """Return an array as a callback knows it; None for one that this run does without, as in diffusers."""
        if name not in _JOINED:
            return self.arrays.get(name)
        both = self.arrays[_JOINED[name]]
        return both[: len(both) // 2] if pipe.do_classifier_free_guidance else None

    def _replace(self, pipe: ImageGenerator, name: str, value: Array) -> None:
        """Put what a callback returned in an array's place.

        Raises:
            UnsupportedError: there is no such array, or this one does not fit.
        """
        old = self._shown(pipe, name)
        if old is None:
            raise UnsupportedError(f"callback_on_step_end returned {name!r}, which this run does without")
        fits = value.shape == old.shape or (name != "latents" and name not in _JOINED and _alike(value, old))
        if not fits:
            raise UnsupportedError(
                f"callback_on_step_end returned {name} of the shape {value.shape}; it has the shape {old.shape}"
            )
        if name in _JOINED:
            name, value = _JOINED[name], np.concatenate([value, self.arrays[_JOINED[name]][len(value) :]])
        self.arrays[name] = value


#: What a callback knows as an array of its own, and the array whose first half it is while steps are guided.
_JOINED = {"negative_prompt_embeds": "prompt_embeds", "negative_pooled_prompt_embeds": "pooled_prompt_embeds"}


def _alike(value: Array, old: Array) -> bool:
    """Whether arrays differ in no more than their rows, and prompts in their tokens."""
    free = 2 if old.ndim == 3 else 1
    return value.ndim == old.ndim and len(value) > 0 and value.shape[free:] == old.shape[free:]


def rescaled(guided: Array, positive: Array, share: float) -> Array:
    """Take back the overexposure of strong guidance.

    Source: Lin et al., Common Diffusion Noise Schedules and Sample Steps are Flawed, section 3.4.

    Args:
        guided: the prediction with guidance, float32 (images, channels, height, width).
        positive: the prediction of the prompt alone.
        share: of the rescaled prediction in the result.
    """
    axes = tuple(range(1, guided.ndim))
    spread = positive.std(axis=axes, keepdims=True, ddof=1) / guided.std(axis=axes, keepdims=True, ddof=1)
    return np.asarray(share * (guided * spread) + (1 - share) * guided, np.float32)
