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
                prediction = self._predict(pipe, request, timestep)
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

    def _predict(self, pipe: ImageGenerator, request: ImageRequest, timestep: Any) -> Array:
        arrays, guided = self.arrays, pipe.do_classifier_free_guidance
        latents = arrays["latents"]
        sample = np.concatenate([latents, latents]) if guided else latents
        sample = self.scheduler.scale_model_input(sample, timestep)
        if "masked_image_latents" in arrays and self.painting is None:
            sample = np.concatenate([sample, arrays["mask"], arrays["masked_image_latents"]], axis=1)
        prediction = pipe.model.denoiser(sample, float(timestep), pipe.family.feeds(arrays))
        if not guided:
            return prediction
        negative, positive = np.split(prediction, 2)
        prediction = negative + np.float32(pipe._guidance_scale) * (positive - negative)
        return rescaled(prediction, positive, request.guidance_rescale) if request.guidance_rescale > 0 else prediction

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
        shown = {name: self.arrays[name] for name in request.callback_on_step_end_tensor_inputs if name in self.arrays}
        answer = callback(pipe, number, timestep, shown)
        if answer is None:
            return
        if not isinstance(answer, Mapping):
            raise UnsupportedError(
                f"callback_on_step_end returned a {type(answer).__name__}: return a dict of the arrays to replace"
            )
        for name, value in answer.items():
            self.arrays[name] = to_array(value).astype(np.float32)


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
