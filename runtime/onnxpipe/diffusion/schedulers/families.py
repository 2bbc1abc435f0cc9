"""The three families of schedulers: by what they find the noise of a step, and how they add it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, TypeVar

import numpy as np

from onnxpipe.diffusion.random import Noise
from onnxpipe.diffusion.schedulers.base import ConfigT, Scheduler
from onnxpipe.diffusion.schedulers.betas import Floats, alphas_cumprod
from onnxpipe.diffusion.schedulers.config import BetaConfig
from onnxpipe.diffusion.schedulers.sigmas import training_sigmas

BetaConfigT = TypeVar("BetaConfigT", bound=BetaConfig)


class AlphaScheduler(Scheduler[BetaConfigT]):
    """A scheduler that finds the noise of a step by its timestep: DDIM, DDPM, PNDM and LCM.

    Attributes:
        alphas_cumprod: the share of the image's variance that is left at each step of the training.
    """

    alphas_cumprod: Floats

    def _prepare(self) -> None:
        self.alphas_cumprod = alphas_cumprod(self.config, zero_snr=self.config.own("rescale_betas_zero_snr", False))
        self._final_alpha = np.float32(1.0) if self.config.own("set_alpha_to_one", True) else self.alphas_cumprod[0]

    def _alpha(self, timestep: Any) -> np.float32:
        """The share at a timestep; before the training's first it is the last one's."""
        return np.float32(self.alphas_cumprod[int(timestep)] if timestep >= 0 else self._final_alpha)

    def add_noise(self, original: Noise, noise: Noise, timesteps: Any) -> Noise:
        kept = self.alphas_cumprod[np.asarray(timesteps, np.int64).reshape(-1)]
        kept = kept.reshape(-1, *[1] * (original.ndim - 1))
        return np.asarray(np.sqrt(kept) * original + np.sqrt(np.float32(1.0) - kept) * noise, np.float32)


class SigmaScheduler(Scheduler[ConfigT]):
    """A scheduler whose steps have numbers, with a sigma for each.

    Attributes:
        sigmas: float32, one for each step, and the one after the last.
    """

    sigmas: Floats

    def add_noise(self, original: Noise, noise: Noise, timesteps: Any) -> Noise:
        if self._begin_index is None:
            steps = [self._index_of(one) for one in np.reshape(timesteps, -1)]
        else:
            steps = [self._begin_index if self._step_index is None else self._step_index]
        sigma = self.sigmas[steps].reshape(-1, *[1] * (original.ndim - 1))
        kept, share = self._shares(sigma)
        return np.asarray(kept * original + share * noise, np.float32)

    @abstractmethod
    def _shares(self, sigma: Any) -> tuple[Any, Any]:
        """Tell the shares of the image and of the noise in a sample of this sigma."""


class UnscaledScheduler(SigmaScheduler[BetaConfigT]):
    """A scheduler that adds noise to the image and keeps its scale: Euler, Heun and LMS."""

    _table: Floats

    def _prepare(self) -> None:
        kept = alphas_cumprod(self.config, zero_snr=self.config.own("rescale_betas_zero_snr", False), finite=True)
        self._table = training_sigmas(kept)
        self.sigmas = np.append(self._table[::-1], np.float32(0.0))

    @property
    def init_noise_sigma(self) -> float:
        largest = float(self.sigmas.max())
        return (largest**2 + 1) ** 0.5 if self.config.timestep_spacing == "leading" else largest

    def scale_model_input(self, sample: Noise, timestep: Any = None) -> Noise:
        sigma = self.sigmas[self._enter(timestep)]
        return np.asarray(sample / np.sqrt(sigma**2 + 1), np.float32)

    def _shares(self, sigma: Any) -> tuple[Any, Any]:
        return np.float32(1.0), sigma
