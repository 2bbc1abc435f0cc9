"""Euler's method, algorithm 2 of Karras et al., "Elucidating the Design Space of Diffusion-Based Models" (2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.diffusion.random import Noise
from onnxpipe.diffusion.schedulers.base import Draw, ScheduleRequest, SchedulerOutput
from onnxpipe.diffusion.schedulers.config import BetaConfig, SpacedSigmas, choice
from onnxpipe.diffusion.schedulers.families import UnscaledScheduler
from onnxpipe.diffusion.schedulers.predictions import image_of_unscaled
from onnxpipe.diffusion.schedulers.sigmas import final_sigma, interpolated, replaced, timesteps_of
from onnxpipe.diffusion.schedulers.timesteps import falling, fractional


@dataclass(frozen=True, kw_only=True, eq=False)
class EulerDiscreteConfig(BetaConfig, SpacedSigmas):
    """The fields of `EulerDiscreteScheduler`.

    Attributes:
        interpolation_type: how sigmas between two steps of the training are found.
        sigma_min, sigma_max: ends of replaced sigmas; None for those of the chosen timesteps.
        timestep_type: "continuous" gives models that predict the velocity a quarter of the logarithm of sigma.
        rescale_betas_zero_snr: let the training's schedule end in pure noise.
        final_sigmas_type: whether the last step removes all the noise.
    """

    interpolation_type: str = choice("linear", "log_linear")
    sigma_min: float | None = None
    sigma_max: float | None = None
    timestep_type: str = choice("discrete", "continuous")
    rescale_betas_zero_snr: bool = False
    final_sigmas_type: str = choice("zero", "sigma_min")


class EulerDiscreteScheduler(UnscaledScheduler[EulerDiscreteConfig]):
    """Euler's method: each step follows the direction that the model gives. See `Scheduler`."""

    config_class = EulerDiscreteConfig
    takes = frozenset({"timesteps", "sigmas"})

    def _plan(self, request: ScheduleRequest) -> None:
        if request.sigmas is not None:
            sigmas = np.asarray(request.sigmas, np.float32)
            if sigmas.ndim != 1 or sigmas.size < 2 or np.any(np.diff(sigmas) >= 0) or sigmas[-1] < 0:
                raise ValueError("sigmas must fall: one for each step, and the one after the last step, usually 0")
            timesteps = timesteps_of(sigmas[:-1], self._table)
        else:
            timesteps, chosen = self._chosen(request)
            sigmas = np.append(chosen, final_sigma(self.config.final_sigmas_type, self._table)).astype(np.float32)
        if self._continuous:
            timesteps = 0.25 * np.log(sigmas[:-1])
        self.sigmas, self.timesteps = sigmas, timesteps.astype(np.float32)
        self.num_inference_steps = len(self.timesteps)

    def _chosen(self, request: ScheduleRequest) -> tuple[NDArray[Any], NDArray[Any]]:
        """Choose timesteps and their sigmas."""
        config, table = self.config, self._table
        if request.timesteps is not None:
            if config.replaces_sigmas or self._continuous:
                raise ValueError("timesteps cannot be chosen where the config replaces sigmas or has continuous times")
            timesteps = falling(request.timesteps, config, np.float32)
        else:
            timesteps = fractional(config, request.count)
        count = len(timesteps)
        sigmas = interpolated(timesteps, table)
        if config.interpolation_type == "log_linear":
            # One more than steps, so the last step does not reach the final sigma; so it is in diffusers.
            sigmas = np.exp(np.linspace(np.log(table[-1]), np.log(table[0]), count + 1))
        if config.replaces_sigmas:
            largest = float(sigmas[0]) if config.sigma_max is None else config.sigma_max
            smallest = float(sigmas[-1]) if config.sigma_min is None else config.sigma_min
            sigmas = replaced(config, largest, smallest, count)
            timesteps = timesteps_of(sigmas, table)
        return timesteps, sigmas

    @property
    def _continuous(self) -> bool:
        return self.config.timestep_type == "continuous" and self.config.prediction_type == "v_prediction"

    def _step(self, output: Noise, timestep: Any, sample: Noise, eta: float, draw: Draw) -> SchedulerOutput:
        step = self._enter(timestep)
        sigma, following = self.sigmas[step], self.sigmas[step + 1]
        image = image_of_unscaled(self.config.prediction_type, output, sample, sigma)
        direction = (sample - image) / sigma
        self._step_index = step + 1
        return SchedulerOutput(sample + direction * (following - sigma), image)
