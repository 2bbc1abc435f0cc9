"""Heun's method, algorithm 1 of Karras et al., "Elucidating the Design Space of Diffusion-Based Models" (2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.diffusion.random import Noise
from onnxpipe.diffusion.schedulers.base import Draw, ScheduleRequest, SchedulerOutput
from onnxpipe.diffusion.schedulers.config import BetaConfig, SpacedSigmas, choice
from onnxpipe.diffusion.schedulers.families import UnscaledScheduler
from onnxpipe.diffusion.schedulers.predictions import clipped, image_of_unscaled
from onnxpipe.diffusion.schedulers.sigmas import interpolated, replaced, timesteps_of
from onnxpipe.diffusion.schedulers.timesteps import falling, fractional


@dataclass(frozen=True, kw_only=True, eq=False)
class HeunDiscreteConfig(BetaConfig, SpacedSigmas):
    """The fields of `HeunDiscreteScheduler`.

    Attributes:
        clip_sample, clip_sample_range: keep the predicted image within plus and minus the range.
    """

    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: str = choice("linear", "scaled_linear", "squaredcos_cap_v2", "exp")
    clip_sample: bool = False
    clip_sample_range: float = 1.0


class HeunDiscreteScheduler(UnscaledScheduler[HeunDiscreteConfig]):
    """Takes each step twice: the second time with the mean of the directions at both ends. See `Scheduler`."""

    config_class = HeunDiscreteConfig
    order = 2
    takes = frozenset({"timesteps"})

    def _plan(self, request: ScheduleRequest) -> None:
        config, table = self.config, self._table
        if request.timesteps is None:
            timesteps = fractional(config, request.count)
        elif config.replaces_sigmas:
            raise ValueError("timesteps cannot be chosen where the config replaces sigmas")
        else:
            timesteps = falling(request.timesteps, config, np.float32)
        sigmas = interpolated(timesteps, table)
        if config.replaces_sigmas:
            sigmas = replaced(config, float(sigmas[0]), float(sigmas[-1]), len(sigmas))
            timesteps = timesteps_of(sigmas, table)
        doubled = np.concatenate((sigmas[:1], np.repeat(sigmas[1:], 2), [0.0]))
        self.sigmas = doubled.astype(np.float32)
        self.timesteps = np.concatenate((timesteps[:1], np.repeat(timesteps[1:], 2))).astype(np.float32)
        self.num_inference_steps = len(timesteps)
        self._first: tuple[Noise, Noise] | None = None

    def _step(self, output: Noise, timestep: Any, sample: Noise, eta: float, draw: Draw) -> SchedulerOutput:
        step = self._enter(timestep)
        sigma = self.sigmas[step]
        image = clipped(image_of_unscaled(self.config.prediction_type, output, sample, sigma), self.config)
        direction = (sample - image) / sigma
        self._step_index = step + 1
        if self._first is None:
            self._first = sample, direction
            return SchedulerOutput(sample + direction * (self.sigmas[step + 1] - sigma), image)
        start, direction_there = self._first
        self._first = None
        mean = (direction_there + direction) / np.float32(2.0)
        return SchedulerOutput(start + mean * (sigma - self.sigmas[step - 1]), image)
