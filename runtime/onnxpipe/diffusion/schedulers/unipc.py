"""UniPC: Zhao et al., "A Unified Predictor-Corrector Framework for Fast Sampling of Diffusion Models" (2023)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.diffusion.random import Noise
from onnxpipe.diffusion.schedulers.base import Draw, ScheduleRequest, SchedulerOutput
from onnxpipe.diffusion.schedulers.config import choice
from onnxpipe.diffusion.schedulers.multistep import MultistepConfig, MultistepScheduler
from onnxpipe.diffusion.schedulers.predictions import bounded, image_of, noise_of
from onnxpipe.diffusion.schedulers.sigmas import (
    final_sigma,
    interpolated,
    replaced,
    shifted,
    shifted_by_size,
    stretched,
    timesteps_of,
)
from onnxpipe.diffusion.schedulers.timesteps import inner
from onnxpipe.errors import UnsupportedError

#: The first sigma of flow matching stays below 1 by this, so that lambda is finite.
_BELOW_ONE = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class UniPCMultistepConfig(MultistepConfig):
    """The fields of `UniPCMultistepScheduler`.

    Attributes:
        predict_x0: solve for the image, or for the noise.
        solver_type: the function B of the paper.
        disable_corrector: numbers of steps after which the sample is not corrected.
        solver_p: must be None; another scheduler as the predictor is not offered.
        sigma_min, sigma_max: ends of replaced sigmas; None for those of the training.
        shift_terminal: the last sigma to which those of flow matching are stretched.
    """

    predict_x0: bool = True
    solver_type: str = choice("bh2", "bh1", aliases=dict.fromkeys(("midpoint", "heun", "logrho"), "bh2"))
    disable_corrector: Any = field(default_factory=list)
    solver_p: Any = None
    time_shift_type: str = choice("exponential", "linear")
    sigma_min: float | None = None
    sigma_max: float | None = None
    shift_terminal: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.solver_p is not None:
            raise UnsupportedError(f"{self.class_name}: solver_p, another scheduler as the predictor, is not supported")
        if not self.predict_x0 and self.prediction_type == "flow_prediction":
            raise UnsupportedError(f"{self.class_name}: prediction_type='flow_prediction' needs predict_x0=True")
        if self.shift_terminal is not None and not self.use_flow_sigmas:
            raise UnsupportedError(f"{self.class_name}: shift_terminal needs use_flow_sigmas=True")
        if self.final_sigmas_type == "zero" and (self.solver_type == "bh1" or not self.predict_x0):
            wrong = "solver_type='bh1'" if self.solver_type == "bh1" else "predict_x0=False"
            raise UnsupportedError(
                f"{self.class_name}: {wrong} ends in NaN where the last sigma is zero, in diffusers, too; set "
                "final_sigmas_type='sigma_min'"
            )


class UniPCMultistepScheduler(MultistepScheduler[UniPCMultistepConfig]):
    """Predicts each sample from the steps before, and corrects it when the model has seen it. See `Scheduler`."""

    config_class = UniPCMultistepConfig
    takes = frozenset({"sigmas", "mu"})

    def _plan(self, request: ScheduleRequest) -> None:
        if request.sigmas is not None and (not self.config.use_flow_sigmas or self.config.replaces_sigmas):
            raise ValueError("sigmas can be chosen only with use_flow_sigmas=True, and where none replace them")
        self._keep(*self._chosen(request))
        self._order = 0
        self._last_sample: Noise | None = None

    def _chosen(self, request: ScheduleRequest) -> tuple[NDArray[Any], NDArray[Any], float]:
        """Choose timesteps, their sigmas, and the sigma after the last step."""
        config, table = self.config, self._table
        total = config.num_train_timesteps
        if config.use_flow_sigmas and not config.replaces_sigmas:
            sigmas = self._flow_sigmas(request)
            timesteps = sigmas * total
        elif config.replaces_sigmas:
            largest = float(table[-1]) if config.sigma_max is None else config.sigma_max
            smallest = float(table[0]) if config.sigma_min is None else config.sigma_min
            sigmas = replaced(config, largest, smallest, request.count)
            timesteps = timesteps_of(sigmas, table)
            if config.use_karras_sigmas and config.use_flow_sigmas:
                sigmas = sigmas / (sigmas + 1)
                timesteps = sigmas * total
            elif config.use_karras_sigmas:
                timesteps = timesteps.round()  # the others are cut off, as in diffusers
        else:
            timesteps = inner(config, request.count, total)
            return timesteps, interpolated(timesteps, table), final_sigma(config.final_sigmas_type, table)
        return timesteps, sigmas, float(sigmas[-1]) if config.final_sigmas_type == "sigma_min" else 0.0

    def _flow_sigmas(self, request: ScheduleRequest) -> NDArray[Any]:
        config = self.config
        if request.sigmas is None:
            sigmas: NDArray[Any] = np.linspace(1, 1 / config.num_train_timesteps, request.count + 1)[:-1]
        else:
            sigmas = np.array(request.sigmas, np.float64)
        if request.mu is None:
            sigmas = shifted(sigmas, config.flow_shift)
        else:
            sigmas = shifted_by_size(sigmas, request.mu, config.time_shift_type)
        if config.shift_terminal:
            sigmas = stretched(sigmas, config.shift_terminal)
        if abs(sigmas[0] - 1) < _BELOW_ONE:
            sigmas[0] -= _BELOW_ONE
        return sigmas

    def _step(self, output: Noise, timestep: Any, sample: Noise, eta: float, draw: Draw) -> SchedulerOutput:
        step = self._enter(timestep)
        prediction = self._prediction(step, output, sample)
        if step > 0 and step - 1 not in self.config.disable_corrector and self._last_sample is not None:
            sample = self._corrected(step, prediction, self._last_sample)
        self._remember(prediction)
        left = len(self.timesteps) - step
        highest = min(self.config.solver_order, left) if self.config.lower_order_final else self.config.solver_order
        self._order = min(highest, len(self._history))
        self._last_sample = sample
        reached = self._predicted(step, sample)
        self._step_index = step + 1
        return SchedulerOutput(reached, prediction if self.config.predict_x0 else None)

    def _prediction(self, step: int, output: Noise, sample: Noise) -> Noise:
        """The image, or the noise, that the model's output stands for."""
        alpha, sigma, _ = self._shares_at(step)
        if self.config.predict_x0:
            return bounded(image_of(self.config.prediction_type, output, sample, alpha, sigma), self.config)
        return noise_of(self.config.prediction_type, output, sample, alpha, sigma)

    def _predicted(self, step: int, sample: Noise) -> Noise:
        """UniP: go from a step's sample to the next."""
        moved, factor, slopes, matrix, vector = self._parts(step, sample, self._order)
        if self._order == 2:
            weights = np.array([0.5], np.float32)
        else:
            weights = np.linalg.solve(matrix[:-1, :-1], vector[:-1]).astype(np.float32)
        for weight, slope in zip(weights, slopes):
            moved = moved - factor * weight * slope
        return np.asarray(moved, np.float32)

    def _corrected(self, step: int, prediction: Noise, last_sample: Noise) -> Noise:
        """UniC: go from the last sample to this step's once more, with the prediction made there."""
        moved, factor, slopes, matrix, vector = self._parts(step - 1, last_sample, self._order)
        if self._order == 1:
            weights = np.array([0.5], np.float32)
        else:
            weights = np.linalg.solve(matrix, vector).astype(np.float32)
        for weight, slope in zip(weights, [*slopes, prediction - self._history[-1]]):
            moved = moved - factor * weight * slope
        return np.asarray(moved, np.float32)

    def _parts(
        self, step: int, sample: Noise, order: int
    ) -> tuple[Noise, np.float32, list[Noise], NDArray[np.float32], NDArray[np.float32]]:
        """Work out a step of order one from `step`, and the system of equations 5 to 7 for what is added to it.

        Returns:
            the sample, the factor of what is added, the slopes of the predictions, and the matrix and the right side
            of the system whose solution weighs them.
        """
        alpha, sigma, target = self._shares_at(step + 1)
        alpha_before, sigma_before, place = self._shares_at(step)
        h = target - place
        signed = -h if self.config.predict_x0 else h
        phi = np.expm1(signed)
        scale = phi if self.config.solver_type == "bh2" else signed
        outer, kept = (alpha, sigma / sigma_before) if self.config.predict_x0 else (sigma, alpha / alpha_before)
        newest = self._history[-1]
        ratios = [(self._shares_at(step - back)[2] - place) / h for back in range(1, order)]
        slopes = [(self._history[-1 - back] - newest) / ratio for back, ratio in enumerate(ratios, 1)]
        steps = np.array([*ratios, 1.0], np.float32)
        matrix, vector, part, factorial = [], [], phi / signed - np.float32(1.0), 1
        for power in range(order):
            matrix.append(steps**power)
            vector.append(part * np.float32(factorial) / scale)
            factorial *= power + 2
            part = part / signed - np.float32(1.0 / factorial)
        moved = np.asarray(kept * sample - outer * phi * newest, np.float32)
        return moved, outer * scale, slopes, np.array(matrix, np.float32), np.array(vector, np.float32)
