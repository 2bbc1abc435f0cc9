"""DDPM: Ho et al., "Denoising Diffusion Probabilistic Models" (2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.diffusion.random import Noise
from onnxpipe.diffusion.schedulers.base import Draw, ScheduleRequest, SchedulerOutput
from onnxpipe.diffusion.schedulers.config import BetaConfig, Thresholds, choice
from onnxpipe.diffusion.schedulers.families import AlphaScheduler
from onnxpipe.diffusion.schedulers.predictions import bounded, image_of
from onnxpipe.diffusion.schedulers.timesteps import falling, whole

_LEARNED = ("learned", "learned_range")


@dataclass(frozen=True, kw_only=True, eq=False)
class DDPMConfig(BetaConfig, Thresholds):
    """The fields of `DDPMScheduler`.

    Attributes:
        variance_type: how much fresh noise a step adds. With the learned ones the model's output has twice the
            channels of the sample. diffusers' "fixed_large_log" is the root of a negative number, and not offered.
        clip_sample, clip_sample_range: keep the predicted image within plus and minus the range.
        rescale_betas_zero_snr: let the training's schedule end in pure noise.
    """

    beta_schedule: str = choice("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace")
    timestep_spacing: str = choice("leading", "linspace", "trailing")
    variance_type: str = choice("fixed_small", "fixed_small_log", "fixed_large", *_LEARNED)
    clip_sample: bool = True
    clip_sample_range: float = 1.0
    rescale_betas_zero_snr: bool = False


class DDPMScheduler(AlphaScheduler[DDPMConfig]):
    """The steps of the training backwards, with fresh noise in each but the last. See `Scheduler`."""

    config_class = DDPMConfig
    takes = frozenset({"timesteps"})

    def _plan(self, request: ScheduleRequest) -> None:
        if request.timesteps is None:
            self.timesteps = whole(self.config, request.count)
        else:
            self.timesteps = falling(request.timesteps, self.config, np.int64)
        self.num_inference_steps = len(self.timesteps)

    def _step(self, output: Noise, timestep: Any, sample: Noise, eta: float, draw: Draw) -> SchedulerOutput:
        one, predicted_variance = np.float32(1.0), None
        if self.config.variance_type in _LEARNED:
            output, predicted_variance = np.split(output, 2, axis=1)
        kept, target = self._alpha(timestep), self._alpha(self._following(timestep))
        image = image_of(self.config.prediction_type, output, sample, np.sqrt(kept), np.sqrt(one - kept))
        image = bounded(image, self.config)
        beta = one - kept / target
        # The mean: equation 7.
        of_image = np.sqrt(target) * beta / (one - kept)
        of_sample = np.sqrt(kept / target) * (one - target) / (one - kept)
        reached = of_image * image + of_sample * sample
        if timestep > 0:
            smallest = np.maximum((one - target) / (one - kept) * beta, np.float32(1e-20))
            reached = reached + self._spread(smallest, beta, predicted_variance) * draw(output.shape)
        return SchedulerOutput(reached, image)

    def _following(self, timestep: Any) -> Any:
        """The timestep after this one; below zero after the last."""
        later = self.timesteps[self.timesteps < timestep]
        return later[0] if later.size else -1

    def _spread(self, smallest: np.float32, beta: np.float32, predicted: Noise | None) -> Any:
        """The standard deviation of the fresh noise: section 3.2, and Nichol and Dhariwal (2021), equation 15."""
        if self.config.variance_type == "fixed_large":
            return np.sqrt(beta)
        if predicted is None:
            return np.sqrt(smallest)
        if self.config.variance_type == "learned":
            return np.sqrt(np.maximum(predicted, np.float32(0.0)))
        share = (predicted + np.float32(1.0)) / np.float32(2.0)
        return np.exp(np.float32(0.5) * (share * np.log(beta) + (np.float32(1.0) - share) * np.log(smallest)))

    def _output_shape(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        return (sample[0], 2 * sample[1], *sample[2:]) if self.config.variance_type in _LEARNED else sample
