"""Latent consistency models: Luo et al. (2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.diffusion.random import Noise
from onnxpipe.diffusion.schedulers.base import Draw, ScheduleRequest, SchedulerOutput
from onnxpipe.diffusion.schedulers.config import choice
from onnxpipe.diffusion.schedulers.ddim import DDIMConfig
from onnxpipe.diffusion.schedulers.families import AlphaScheduler
from onnxpipe.diffusion.schedulers.predictions import bounded, image_of
from onnxpipe.diffusion.schedulers.timesteps import Timesteps, falling

#: The standard deviation of the data for which the boundary conditions hold.
_SIGMA_DATA = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class LCMConfig(DDIMConfig):
    """The fields of `LCMScheduler`: those of DDIM, and two.

    Attributes:
        original_inference_steps: the steps of the model's training, of which each run takes some.
        timestep_scaling: the factor of the timestep in the boundary conditions.
    """

    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: str = choice("scaled_linear", "linear", "squaredcos_cap_v2")
    clip_sample: bool = False
    original_inference_steps: int = 50
    timestep_scaling: float = 10.0


class LCMScheduler(AlphaScheduler[LCMConfig]):
    """Goes to the image in each step, and back with fresh noise in all but the last. See `Scheduler`."""

    config_class = LCMConfig
    takes = frozenset({"timesteps", "original_inference_steps", "strength"})

    def _plan(self, request: ScheduleRequest) -> None:
        total = self.config.num_train_timesteps
        original = request.original_inference_steps or self.config.original_inference_steps
        if not 1 <= original <= total:
            raise ValueError(f"original_inference_steps={original} is not from 1 to num_train_timesteps={total}")
        if request.timesteps is not None:
            chosen = falling(request.timesteps, self.config, np.int64)
            self.num_inference_steps = len(chosen)
            left = min(int(len(chosen) * request.strength), len(chosen))
            self.timesteps = chosen[len(chosen) - left :]
            return
        trained = np.arange(1, int(original * request.strength) + 1) * (total // original) - 1
        self.timesteps = _spread(trained[::-1], request.count, original, request.strength)
        self.num_inference_steps = request.count

    def _step(self, output: Noise, timestep: Any, sample: Noise, eta: float, draw: Draw) -> SchedulerOutput:
        step, one = self._enter(timestep), np.float32(1.0)
        following = self.timesteps[step + 1] if step + 1 < len(self.timesteps) else timestep
        kept, target = self._alpha(timestep), self._alpha(following)
        image = image_of(self.config.prediction_type, output, sample, np.sqrt(kept), np.sqrt(one - kept))
        image = bounded(image, self.config)
        scaled = float(timestep) * self.config.timestep_scaling
        skip = _SIGMA_DATA**2 / (scaled**2 + _SIGMA_DATA**2)
        out = scaled / (scaled**2 + _SIGMA_DATA**2) ** 0.5
        denoised = np.float32(out) * image + np.float32(skip) * sample
        self._step_index = step + 1
        if step == (self.num_inference_steps or 0) - 1:
            return SchedulerOutput(denoised, denoised)
        return SchedulerOutput(np.sqrt(target) * denoised + np.sqrt(one - target) * draw(output.shape), denoised)


def _spread(trained: Timesteps, count: int, original: int, strength: float) -> Timesteps:
    """Take `count` of the timesteps of the training, evenly."""
    if count > len(trained):
        raise ValueError(
            f"num_inference_steps={count} is more than original_inference_steps x strength = {original} x {strength}: "
            "the model was trained on no more steps"
        )
    return trained[np.floor(np.linspace(0, len(trained), count, endpoint=False)).astype(np.int64)]
