"""PNDM: Liu et al., "Pseudo Numerical Methods for Diffusion Models on Manifolds" (2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.diffusion.random import Noise
from onnxpipe.diffusion.schedulers.base import Draw, ScheduleRequest, SchedulerOutput
from onnxpipe.diffusion.schedulers.config import BetaConfig, choice
from onnxpipe.diffusion.schedulers.families import AlphaScheduler
from onnxpipe.diffusion.schedulers.predictions import noise_of
from onnxpipe.diffusion.schedulers.timesteps import Timesteps, whole

#: Adams and Bashforth's weights of the last predictions, the newest first (equation 12), by how many there are.
_WEIGHTS = {2: (3 / 2, -1 / 2), 3: (23 / 12, -16 / 12, 5 / 12), 4: (55 / 24, -59 / 24, 37 / 24, -9 / 24)}
#: Runge and Kutta's weights of the four calls of a step.
_RUNGE_KUTTA = (1 / 6, 1 / 3, 1 / 3, 1 / 6)


@dataclass(frozen=True, kw_only=True, eq=False)
class PNDMConfig(BetaConfig):
    """The fields of `PNDMScheduler`.

    Attributes:
        skip_prk_steps: do not begin with Runge and Kutta's method; true in Stable Diffusion.
        set_alpha_to_one: whether the last step goes to the image itself, or to the training's first step.
    """

    timestep_spacing: str = choice("leading", "linspace", "trailing")
    prediction_type: str = choice("epsilon", "v_prediction")
    skip_prk_steps: bool = False
    set_alpha_to_one: bool = False


class PNDMScheduler(AlphaScheduler[PNDMConfig]):
    """A multistep method: each step weighs the last four predictions. See `Scheduler`."""

    config_class = PNDMConfig

    def _plan(self, request: ScheduleRequest) -> None:
        steps, count = whole(self.config, request.count)[::-1], request.count
        self._stride = self.config.num_train_timesteps // count
        self._runge_kutta = np.empty(0, np.int64)
        if self.config.skip_prk_steps:
            # The second step is done twice: only then are there two predictions.
            multistep = np.concatenate((steps[:-1], steps[-2:-1], steps[-1:]))
        else:
            self._runge_kutta = _runge_kutta_steps(steps, self._stride)
            multistep = steps[:-3]
        self.timesteps = np.concatenate((self._runge_kutta, multistep[::-1]))
        self.num_inference_steps = count
        self._calls = 0
        self._predictions: list[Noise] = []
        self._start_sample: Noise | None = None
        self._sum: Any = 0.0

    def _step(self, output: Noise, timestep: Any, sample: Noise, eta: float, draw: Draw) -> SchedulerOutput:
        take = self._step_runge_kutta if self._calls < len(self._runge_kutta) else self._step_multistep
        reached = take(output, int(timestep), sample)
        self._calls += 1
        return SchedulerOutput(reached)

    def _step_runge_kutta(self, output: Noise, timestep: int, sample: Noise) -> Noise:
        call = self._calls % 4
        previous = timestep - (0 if call % 2 else self._stride // 2)
        if call == 0:
            self._predictions.append(output)
            self._start_sample = sample
        weighted = self._sum + _RUNGE_KUTTA[call] * output
        self._sum = weighted if call < 3 else 0.0
        direction = weighted if call == 3 else output
        assert self._start_sample is not None
        return self._transferred(self._start_sample, int(self._runge_kutta[self._calls // 4 * 4]), previous, direction)

    def _step_multistep(self, output: Noise, timestep: int, sample: Noise) -> Noise:
        if not self.config.skip_prk_steps and len(self._predictions) < 3:
            raise ValueError(
                "PNDMScheduler needs at least 4 steps unless its config has skip_prk_steps=True: the first three are "
                "Runge and Kutta's"
            )
        previous = timestep - self._stride
        if self._calls == 1:  # once more from the first sample, with the mean of both predictions
            assert self._start_sample is not None
            previous, timestep, sample = timestep, timestep + self._stride, self._start_sample
            output = (output + self._predictions[-1]) * np.float32(0.5)
        else:
            self._predictions = [*self._predictions[-3:], output]
            self._start_sample = sample
            if weights := _WEIGHTS.get(len(self._predictions)):
                newest = reversed(self._predictions)
                output = sum(np.float32(weight) * one for weight, one in zip(weights, newest))  # type: ignore[assignment]
        return self._transferred(sample, timestep, previous, output)

    def _transferred(self, sample: Noise, timestep: int, previous: int, output: Noise) -> Noise:
        """Go from one timestep to another in the direction of a prediction: equation 11."""
        one = np.float32(1.0)
        kept, target = self._alpha(timestep), self._alpha(previous)
        noise = noise_of(self.config.prediction_type, output, sample, np.sqrt(kept), np.sqrt(one - kept))
        below = kept * np.sqrt(one - target) + np.sqrt(kept * (one - kept) * target)
        return np.asarray(np.sqrt(target / kept) * sample - (target - kept) * noise / below, np.float32)


def _runge_kutta_steps(steps: Timesteps, stride: int) -> Timesteps:
    """The timesteps of Runge and Kutta's calls: the noisiest four steps and the middles between them, doubled."""
    pairs = np.repeat(steps[-4:], 2) + np.tile([0, stride // 2], 4)[: 2 * len(steps[-4:])]
    return np.repeat(pairs[:-1], 2)[1:-1][::-1].copy()
