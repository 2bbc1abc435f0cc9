"""DPM-Solver++: Lu et al., "Fast Solver for Guided Sampling of Diffusion Probabilistic Models" (2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.diffusion.random import Noise
from onnxpipe.diffusion.schedulers.base import Draw, ScheduleRequest, SchedulerOutput
from onnxpipe.diffusion.schedulers.config import choice
from onnxpipe.diffusion.schedulers.multistep import MultistepConfig, MultistepScheduler
from onnxpipe.diffusion.schedulers.predictions import bounded, image_of
from onnxpipe.diffusion.schedulers.sigmas import final_sigma, interpolated, replaced, shifted, timesteps_of
from onnxpipe.diffusion.schedulers.timesteps import falling, inner
from onnxpipe.errors import UnsupportedError

#: Runs of fewer steps lower the order at their end.
_SHORT = 15


@dataclass(frozen=True, kw_only=True, eq=False)
class DPMSolverMultistepConfig(MultistepConfig):
    """The fields of `DPMSolverMultistepScheduler`.

    Attributes:
        algorithm_type: the equation without or with fresh noise; diffusers' deprecated forms are not offered.
        solver_type: how the second order is worked out.
        euler_at_final: take the last step with order one.
        use_lu_lambdas: space the steps evenly in lambda.
        lambda_min_clipped: leave out the noisiest steps of the training, where lambda is below.
        variance_type: must be None; models that predict the variance are not offered.
    """

    algorithm_type: str = choice("dpmsolver++", "sde-dpmsolver++", aliases={"deis": "dpmsolver++"})
    solver_type: str = choice("midpoint", "heun", aliases=dict.fromkeys(("logrho", "bh1", "bh2"), "midpoint"))
    euler_at_final: bool = False
    use_lu_lambdas: bool | None = False
    lambda_min_clipped: float = -math.inf
    variance_type: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variance_type is not None:
            raise UnsupportedError(
                f"{self.class_name}: variance_type={self.variance_type!r} is for models that predict the variance "
                "besides; they are not supported with this scheduler"
            )


class DPMSolverMultistepScheduler(MultistepScheduler[DPMSolverMultistepConfig]):
    """Solves the diffusion equation with the predicted images of up to three steps. See `Scheduler`."""

    config_class = DPMSolverMultistepConfig
    takes = frozenset({"timesteps", "mu"})

    def _plan(self, request: ScheduleRequest) -> None:
        self._keep(*self._chosen(request), final_sigma(self.config.final_sigmas_type, self._table))

    def _chosen(self, request: ScheduleRequest) -> tuple[NDArray[Any], NDArray[Any]]:
        """Choose timesteps and their sigmas."""
        config, table = self.config, self._table
        if request.timesteps is not None:
            if config.replaces_sigmas or config.use_lu_lambdas:
                raise ValueError("timesteps cannot be chosen where the config replaces sigmas")
            timesteps = falling(request.timesteps, config, np.int64)
        else:
            timesteps = inner(config, request.count, self._reach())
        count = len(timesteps)
        if config.replaces_sigmas:
            sigmas = replaced(config, float(table[-1]), float(table[0]), count)
        elif config.use_lu_lambdas:
            ends = np.log(table[[-1, 0]]).tolist()
            sigmas = np.exp(ends[0] + np.linspace(0, 1, count) * (ends[1] - ends[0]))
        elif config.use_flow_sigmas:
            shift = config.flow_shift if request.mu is None else math.exp(request.mu)
            sigmas = shifted(1.0 - np.linspace(1, 1 / config.num_train_timesteps, count + 1), shift)[::-1][:-1]
            return sigmas * config.num_train_timesteps, sigmas
        else:
            return timesteps, interpolated(timesteps, table)
        timesteps = timesteps_of(sigmas, table)
        # Timesteps are whole, by rounding for these and by cutting off for the rest, as in diffusers.
        rounds = (config.use_karras_sigmas or config.use_lu_lambdas) and config.beta_schedule != "squaredcos_cap_v2"
        return timesteps.round() if rounds else timesteps, sigmas

    def _reach(self) -> int:
        """Count the steps of the training in which lambda is not below its bound."""
        rising = -np.log(self._table)[::-1]
        return len(rising) - int(np.searchsorted(rising, self.config.lambda_min_clipped))

    def _step(self, output: Noise, timestep: Any, sample: Noise, eta: float, draw: Draw) -> SchedulerOutput:
        step = self._enter(timestep)
        alpha, sigma, _ = self._shares_at(step)
        image = bounded(image_of(self.config.prediction_type, output, sample, alpha, sigma), self.config)
        self._remember(image)
        noise = draw(output.shape) if self._adds_noise else None
        reached = self._solved(step, self._order_of(step), sample, noise)
        self._step_index = step + 1
        return SchedulerOutput(reached, image)

    @property
    def _adds_noise(self) -> bool:
        return self.config.algorithm_type.startswith("sde")

    def _order_of(self, step: int) -> int:
        """Tell the order of a step: as many predictions as there are, and fewer at the end."""
        config, left = self.config, len(self.timesteps) - step
        lowers = config.lower_order_final and len(self.timesteps) < _SHORT
        if left == 1 and (config.euler_at_final or lowers or config.final_sigmas_type == "zero"):
            return 1
        return min(len(self._history), 2) if left == 2 and lowers else len(self._history)

    def _solved(self, step: int, order: int, sample: Noise, noise: Noise | None) -> Noise:
        """Take a step of an order: equations of table 1 in the papers of both DPM-Solvers."""
        alpha, sigma, target = self._shares_at(step + 1)
        _, before, place = self._shares_at(step)
        h = target - place
        span = h if noise is None else np.float32(2.0) * h
        moved = np.float32(1.0) - np.exp(-span)
        kept = sigma / before if noise is None else sigma / before * np.exp(-h)
        reached = kept * sample + alpha * moved * self._history[-1]
        if order > 1:
            reached = reached + self._correction(step, order, h, span, moved, alpha)
        if noise is not None:
            reached = reached + sigma * np.sqrt(np.float32(1.0) - np.exp(np.float32(-2.0) * h)) * noise
        return np.asarray(reached, np.float32)

    def _correction(
        self, step: int, order: int, h: np.float32, span: np.float32, moved: np.float32, alpha: np.float32
    ) -> Noise:
        """The part of a step that follows from how the predictions changed."""
        newest, before = self._history[-1], self._history[-2]
        place, place_before = self._shares_at(step)[2], self._shares_at(step - 1)[2]
        ratio = (place - place_before) / h
        slope = (newest - before) / ratio
        first = alpha * (np.float32(1.0) - moved / span)
        if order == 2:
            weight = first if self.config.solver_type == "heun" else np.float32(0.5) * alpha * moved
            return np.asarray(weight * slope, np.float32)
        ratio_before = (place_before - self._shares_at(step - 2)[2]) / h
        slope_before = (before - self._history[-3]) / ratio_before
        bend = (slope - slope_before) / (ratio + ratio_before)
        # The sign of one half is diffusers'; the derivation has plus in both.
        half = np.float32(-0.5 if self._adds_noise else 0.5)
        second = alpha * ((moved - span) / span**2 + half)
        return np.asarray(first * (slope + ratio * bend) + second * bend, np.float32)
