"""Euler's method with fresh noise in each step: `sample_euler_ancestral` of k-diffusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.diffusion.random import Noise
from onnxpipe.diffusion.schedulers.base import Draw, ScheduleRequest, SchedulerOutput
from onnxpipe.diffusion.schedulers.config import BetaConfig, choice
from onnxpipe.diffusion.schedulers.families import UnscaledScheduler
from onnxpipe.diffusion.schedulers.predictions import image_of_unscaled
from onnxpipe.diffusion.schedulers.sigmas import interpolated
from onnxpipe.diffusion.schedulers.timesteps import fractional


@dataclass(frozen=True, kw_only=True, eq=False)
class EulerAncestralDiscreteConfig(BetaConfig):
    """The fields of `EulerAncestralDiscreteScheduler`.

    Attributes:
        rescale_betas_zero_snr: let the training's schedule end in pure noise.
    """

    prediction_type: str = choice("epsilon", "v_prediction")
    rescale_betas_zero_snr: bool = False


class EulerAncestralDiscreteScheduler(UnscaledScheduler[EulerAncestralDiscreteConfig]):
    """Euler's method that removes more noise than it should and adds fresh noise for it. See `Scheduler`."""

    config_class = EulerAncestralDiscreteConfig

    def _plan(self, request: ScheduleRequest) -> None:
        self.timesteps = fractional(self.config, request.count)
        self.sigmas = np.append(interpolated(self.timesteps, self._table), 0.0).astype(np.float32)
        self.num_inference_steps = request.count

    def _step(self, output: Noise, timestep: Any, sample: Noise, eta: float, draw: Draw) -> SchedulerOutput:
        step = self._enter(timestep)
        sigma, following = self.sigmas[step], self.sigmas[step + 1]
        image = image_of_unscaled(self.config.prediction_type, output, sample, sigma)
        fresh = np.sqrt(following**2 * (sigma**2 - following**2) / sigma**2)
        target = np.sqrt(following**2 - fresh**2)
        reached = sample + (sample - image) / sigma * (target - sigma)
        self._step_index = step + 1
        return SchedulerOutput(reached + draw(output.shape) * fresh, image)
