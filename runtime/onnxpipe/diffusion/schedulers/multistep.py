"""What the solvers of the diffusion equation in the half logarithm of the signal-to-noise ratio share.

With lambda = ln(alpha / sigma) the equation is linear but for the model's part: Lu et al., "DPM-Solver" (2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from onnxpipe.diffusion.random import Noise
from onnxpipe.diffusion.schedulers.betas import Floats, alphas_cumprod
from onnxpipe.diffusion.schedulers.config import BetaConfig, SpacedSigmas, Thresholds, choice
from onnxpipe.diffusion.schedulers.families import SigmaScheduler
from onnxpipe.diffusion.schedulers.sigmas import training_sigmas
from onnxpipe.errors import UnsupportedError


@dataclass(frozen=True, kw_only=True, eq=False)
class MultistepConfig(BetaConfig, SpacedSigmas, Thresholds):
    """The fields that the solvers share.

    Attributes:
        solver_order: how many predictions a step takes into account.
        lower_order_final: lower the order at the end of short runs.
        use_flow_sigmas, flow_shift: sigmas of flow matching, from 0 to 1, and how far they are shifted.
        use_dynamic_shifting, time_shift_type: shift them by `mu` instead, which depends on the image's size.
        final_sigmas_type: whether the last step removes all the noise.
        rescale_betas_zero_snr: let the training's schedule end in pure noise.
    """

    prediction_type: str = choice("epsilon", "sample", "v_prediction", "flow_prediction")
    solver_order: int = 2
    lower_order_final: bool = True
    use_flow_sigmas: bool | None = False
    flow_shift: float = 1.0
    use_dynamic_shifting: bool = False
    time_shift_type: str = choice("exponential")
    final_sigmas_type: str = choice("zero", "sigma_min")
    rescale_betas_zero_snr: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.solver_order <= 3:
            raise UnsupportedError(f"{self.class_name}: solver_order={self.solver_order} is not from 1 to 3")
        if self.prediction_type == "flow_prediction" and not self.use_flow_sigmas:
            raise UnsupportedError(f"{self.class_name}: prediction_type='flow_prediction' needs use_flow_sigmas=True")


MultistepConfigT = TypeVar("MultistepConfigT", bound=MultistepConfig)


class MultistepScheduler(SigmaScheduler[MultistepConfigT]):
    """A solver that takes the predictions of the last steps into account."""

    _table: Floats
    _history: list[Noise]

    def _keep(self, timesteps: Any, sigmas: Any, last: float) -> None:
        """Keep the chosen steps, their sigmas and the sigma after the last, and forget the predictions of before."""
        self.sigmas = np.append(sigmas, last).astype(np.float32)
        self.timesteps = timesteps.astype(np.int64)
        self.num_inference_steps = len(self.timesteps)
        self._history = []

    def _prepare(self) -> None:
        kept = alphas_cumprod(self.config, zero_snr=self.config.rescale_betas_zero_snr, finite=True)
        self._table = training_sigmas(kept)
        self.sigmas = np.append(self._table[::-1], np.float32(0.0))

    def _shares(self, sigma: Any) -> tuple[Any, Any]:
        if self.config.use_flow_sigmas:
            return np.float32(1.0) - sigma, sigma
        alpha = np.float32(1.0) / np.sqrt(sigma**2 + np.float32(1.0))
        return alpha, sigma * alpha

    def _shares_at(self, step: int) -> tuple[np.float32, np.float32, np.float32]:
        """Give alpha, sigma and lambda of a step's sample."""
        alpha, sigma = self._shares(self.sigmas[step])
        with np.errstate(divide="ignore"):  # without noise lambda is infinite
            return alpha, sigma, np.log(alpha) - np.log(sigma)

    def _remember(self, prediction: Noise) -> None:
        self._history = [*self._history, prediction][-self.config.solver_order :]
