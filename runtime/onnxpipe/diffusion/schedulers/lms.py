"""The linear multistep method of k-diffusion: Adams and Bashforth's, with steps of any length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.diffusion.random import Noise
from onnxpipe.diffusion.schedulers.base import Draw, ScheduleRequest, SchedulerOutput
from onnxpipe.diffusion.schedulers.config import BetaConfig, SpacedSigmas
from onnxpipe.diffusion.schedulers.families import UnscaledScheduler
from onnxpipe.diffusion.schedulers.predictions import image_of_unscaled
from onnxpipe.diffusion.schedulers.sigmas import interpolated, replaced, timesteps_of
from onnxpipe.diffusion.schedulers.timesteps import fractional

_ORDER = 4
#: Two nodes of Gauss and Legendre integrate polynomials up to the third degree exactly.
_NODES = np.array([-1.0, 1.0]) / np.sqrt(3.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class LMSDiscreteConfig(BetaConfig, SpacedSigmas):
    """The fields of `LMSDiscreteScheduler`."""


class LMSDiscreteScheduler(UnscaledScheduler[LMSDiscreteConfig]):
    """Follows the polynomial through the directions of the last four steps. See `Scheduler`."""

    config_class = LMSDiscreteConfig

    def _plan(self, request: ScheduleRequest) -> None:
        timesteps = fractional(self.config, request.count)
        sigmas = interpolated(timesteps, self._table)
        if self.config.replaces_sigmas:
            sigmas = replaced(self.config, float(sigmas[0]), float(sigmas[-1]), len(sigmas))
            timesteps = timesteps_of(sigmas, self._table)
        self.sigmas, self.timesteps = np.append(sigmas, 0.0).astype(np.float32), timesteps.astype(np.float32)
        self.num_inference_steps = request.count
        self._directions: list[Noise] = []

    def _step(self, output: Noise, timestep: Any, sample: Noise, eta: float, draw: Draw) -> SchedulerOutput:
        step = self._enter(timestep)
        sigma = self.sigmas[step]
        image = image_of_unscaled(self.config.prediction_type, output, sample, sigma)
        self._directions = [(sample - image) / sigma, *self._directions][:_ORDER]
        # A run that begins in the middle has fewer directions than its place asks for: as in diffusers, the weights are
        # those of the full order, and what is missing is left out.
        reached = sample
        for weight, direction in zip(self._weights(step), self._directions):
            reached = reached + np.float32(weight) * direction
        self._step_index = step + 1
        return SchedulerOutput(reached, image)

    def _weights(self, step: int) -> list[float]:
        """Integrate the Lagrange polynomials of the last steps' sigmas over the step, the newest first."""
        sigmas = self.sigmas.astype(np.float64)
        start, end = sigmas[step], sigmas[step + 1]
        known = sigmas[step - np.arange(min(step + 1, _ORDER))]
        nodes = (start + end) / 2 + (end - start) / 2 * _NODES
        weights = []
        for one, at in enumerate(known):
            others = np.delete(known, one)
            weights.append(float(np.prod((nodes[:, None] - others) / (at - others), axis=1).sum() * (end - start) / 2))
        return weights
