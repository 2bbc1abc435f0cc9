"""DDIM: Song et al., "Denoising Diffusion Implicit Models" (2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.diffusion.random import Noise
from onnxpipe.diffusion.schedulers.base import Draw, ScheduleRequest, SchedulerOutput
from onnxpipe.diffusion.schedulers.config import BetaConfig, Thresholds, choice
from onnxpipe.diffusion.schedulers.families import AlphaScheduler
from onnxpipe.diffusion.schedulers.predictions import bounded, image_of, noise_of
from onnxpipe.diffusion.schedulers.timesteps import whole


@dataclass(frozen=True, kw_only=True, eq=False)
class DDIMConfig(BetaConfig, Thresholds):
    """The fields of `DDIMScheduler`.

    Attributes:
        clip_sample, clip_sample_range: keep the predicted image within plus and minus the range.
        set_alpha_to_one: whether the last step goes to the image itself, or to the training's first step.
        rescale_betas_zero_snr: let the training's schedule end in pure noise.
    """

    timestep_spacing: str = choice("leading", "linspace", "trailing")
    clip_sample: bool = True
    clip_sample_range: float = 1.0
    set_alpha_to_one: bool = True
    rescale_betas_zero_snr: bool = False


class DDIMScheduler(AlphaScheduler[DDIMConfig]):
    """Goes to the predicted image and back to less noise, of which `eta` is fresh. See `Scheduler`."""

    config_class = DDIMConfig

    def _plan(self, request: ScheduleRequest) -> None:
        self.timesteps = whole(self.config, request.count)
        self.num_inference_steps = request.count

    def _step(self, output: Noise, timestep: Any, sample: Noise, eta: float, draw: Draw) -> SchedulerOutput:
        kind, one = self.config.prediction_type, np.float32(1.0)
        # Whatever the spacing, and so it is in diffusers.
        previous = timestep - self.config.num_train_timesteps // (self.num_inference_steps or 1)
        kept, target = self._alpha(timestep), self._alpha(previous)
        alpha, sigma = np.sqrt(kept), np.sqrt(one - kept)
        noise = noise_of(kind, output, sample, alpha, sigma)
        image = bounded(image_of(kind, output, sample, alpha, sigma), self.config)
        # The spread of fresh noise: equation 16.
        spread = np.float32(eta) * np.sqrt((one - target) / (one - kept) * (one - kept / target)) if eta else 0.0
        # With eta 1 and no image left, rounding could make the rest negative.
        rest = np.sqrt(np.maximum(one - target - spread**2, np.float32(0.0)))
        reached = np.sqrt(target) * image + rest * noise
        return SchedulerOutput(reached + spread * draw(output.shape) if eta else reached, image)
