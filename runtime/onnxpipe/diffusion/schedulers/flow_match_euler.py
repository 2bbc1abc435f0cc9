"""Flow matching with Euler's method, as in Stable Diffusion 3: Esser et al., "Scaling Rectified Flow" (2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.diffusion.random import Noise
from onnxpipe.diffusion.schedulers.base import Draw, ScheduleRequest, SchedulerOutput
from onnxpipe.diffusion.schedulers.config import SpacedSigmas, choice
from onnxpipe.diffusion.schedulers.families import SigmaScheduler
from onnxpipe.diffusion.schedulers.sigmas import replaced, shifted, shifted_by_size, stretched


@dataclass(frozen=True, kw_only=True, eq=False)
class FlowMatchEulerDiscreteConfig(SpacedSigmas):
    """The fields of `FlowMatchEulerDiscreteScheduler`.

    Attributes:
        shift: how far sigmas are moved towards noise.
        use_dynamic_shifting, time_shift_type: move them by `mu` instead, which depends on the image's size.
        base_shift, max_shift, base_image_seq_len, max_image_seq_len: of these, pipelines work out `mu`.
        invert_sigmas: count the noise down from the other end.
        shift_terminal: the last sigma to which they are stretched.
        stochastic_sampling: go to the image in each step, and back with fresh noise.
    """

    shift: float = 1.0
    use_dynamic_shifting: bool = False
    base_shift: float | None = 0.5
    max_shift: float | None = 1.15
    base_image_seq_len: int | None = 256
    max_image_seq_len: int | None = 4096
    invert_sigmas: bool = False
    shift_terminal: float | None = None
    time_shift_type: str = choice("exponential", "linear")
    stochastic_sampling: bool = False


class FlowMatchEulerDiscreteScheduler(SigmaScheduler[FlowMatchEulerDiscreteConfig]):
    """Follows the velocity from noise to the image; sigma is the noise's share, from 1 to 0. See `Scheduler`."""

    config_class = FlowMatchEulerDiscreteConfig
    takes = frozenset({"timesteps", "sigmas", "mu"})

    def _prepare(self) -> None:
        config = self.config
        table = np.arange(config.num_train_timesteps, 0, -1, dtype=np.float32) / np.float32(config.num_train_timesteps)
        if not config.use_dynamic_shifting:
            table = shifted(table, config.shift).astype(np.float32)
        self._ends = float(table[0]), float(table[-1])
        self.sigmas = np.append(table, np.float32(0.0))
        self.timesteps = table * np.float32(config.num_train_timesteps)

    def _check(self, request: ScheduleRequest) -> None:
        if request.timesteps is not None and request.sigmas is not None:
            if len(request.timesteps) != len(request.sigmas):
                raise ValueError(
                    f"{len(request.timesteps)} timesteps and {len(request.sigmas)} sigmas were passed: pass one of "
                    "each for every step"
                )
            request = ScheduleRequest(timesteps=request.timesteps, mu=request.mu)
        super()._check(request)

    def _plan(self, request: ScheduleRequest) -> None:
        config, total = self.config, self.config.num_train_timesteps
        given = None if request.timesteps is None else _numbers("timesteps", request.timesteps)
        if request.sigmas is not None:
            sigmas = _numbers("sigmas", request.sigmas)
        elif given is not None:
            sigmas = given / total
        else:
            # From ends that are shifted already, and shifted once more below: so it is in diffusers.
            sigmas = np.linspace(self._ends[0] * total, self._ends[1] * total, request.count) / total
        sigmas = self._moved(sigmas, request.mu).astype(np.float32)
        if config.invert_sigmas:
            sigmas, given = np.float32(1.0) - sigmas, None
        self.timesteps = np.asarray(sigmas * np.float32(total) if given is None else given, np.float32)
        self.sigmas = np.append(sigmas, np.float32(1.0 if config.invert_sigmas else 0.0))
        self.num_inference_steps = len(sigmas)

    def _moved(self, sigmas: NDArray[Any], mu: float | None) -> NDArray[Any]:
        config = self.config
        sigmas = shifted(sigmas, config.shift) if mu is None else shifted_by_size(sigmas, mu, config.time_shift_type)
        if config.shift_terminal:
            sigmas = stretched(sigmas, config.shift_terminal)
        if config.replaces_sigmas:
            sigmas = replaced(config, float(sigmas[0]), float(sigmas[-1]), len(sigmas))
        return sigmas

    def _shares(self, sigma: Any) -> tuple[Any, Any]:
        return np.float32(1.0) - sigma, sigma

    def _step(self, output: Noise, timestep: Any, sample: Noise, eta: float, draw: Draw) -> SchedulerOutput:
        step = self._enter(timestep)
        sigma, following = self.sigmas[step], self.sigmas[step + 1]
        self._step_index = step + 1
        if not self.config.stochastic_sampling:
            return SchedulerOutput(sample + (following - sigma) * output)
        image = sample - sigma * output
        return SchedulerOutput((np.float32(1.0) - following) * image + following * draw(sample.shape), image)


def _numbers(name: str, values: Any) -> NDArray[Any]:
    """Check a list of numbers that the user chose."""
    numbers = np.asarray(values)
    if numbers.ndim != 1 or not numbers.size or numbers.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be a list of numbers, one for each step")
    return numbers.astype(np.float32)
