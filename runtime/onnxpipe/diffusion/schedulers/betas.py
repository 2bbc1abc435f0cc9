"""The noise of the training's steps: beta is the variance that a step adds, alpha_cumprod what is left of the image."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from onnxpipe.diffusion.schedulers.config import BetaConfig
from onnxpipe.errors import UnsupportedError

Floats = NDArray[np.float32]

#: The last alpha_cumprod of a schedule that ends in pure noise: its sigma is 4096 and not infinite.
_NEARLY_ZERO = 2.0**-24


def alphas_cumprod(config: BetaConfig, *, zero_snr: bool = False, finite: bool = False) -> Floats:
    """Work out the product of (1 - beta) up to each step: float32 (num_train_timesteps,), falling.

    Args:
        config: names the schedule.
        zero_snr: shift the schedule so that nothing is left of the image at its end (Lin et al., "Common Diffusion
            Noise Schedules and Sample Steps are Flawed", 2023).
        finite: leave a little, so that sigma stays finite.

    Raises:
        UnsupportedError: betas that are not between 0 and 1, or not as many as the training has steps.
    """
    betas = _betas(config)
    kept = _product(np.float32(1.0) - betas)
    if zero_snr:
        root = np.sqrt(kept)
        root = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
        shifted = root**2
        kept = _product(np.float32(1.0) - (np.float32(1.0) - np.append(shifted[:1], shifted[1:] / shifted[:-1])))
        if finite:
            kept[-1] = _NEARLY_ZERO
    return kept


def _product(alphas: Floats) -> Floats:
    return np.cumprod(alphas, dtype=np.float64).astype(np.float32)  # summed up in float64, as in torch


def _betas(config: BetaConfig) -> Floats:
    count, first, last = config.num_train_timesteps, config.beta_start, config.beta_end
    if config.trained_betas is not None:
        betas = _trained(config)
    elif config.beta_schedule == "linear":
        betas = np.linspace(first, last, count, dtype=np.float32)
    elif config.beta_schedule == "scaled_linear":
        betas = np.linspace(abs(first) ** 0.5, abs(last) ** 0.5, count, dtype=np.float32) ** 2
    elif config.beta_schedule == "sigmoid":
        slope = np.linspace(-6, 6, count, dtype=np.float32)
        betas = np.float32(last - first) / (np.float32(1.0) + np.exp(-slope)) + np.float32(first)
    else:
        betas = _of_share(_SHARES[config.beta_schedule], count)
    if not (np.all(betas > 0) and np.all(betas < 1)):
        raise UnsupportedError(
            f"{config.class_name}: the betas must lie between 0 and 1; check beta_start and beta_end"
        )
    return betas


def _trained(config: BetaConfig) -> Floats:
    try:
        betas = np.asarray(config.trained_betas, np.float32)
    except (TypeError, ValueError):
        betas = np.empty(0, np.float32)
    if betas.shape != (config.num_train_timesteps,):
        raise UnsupportedError(
            f"{config.class_name}: trained_betas must be num_train_timesteps={config.num_train_timesteps} numbers"
        )
    return betas


def _of_share(share: Callable[[float], float], count: int) -> Floats:
    """Betas of a schedule given by the share of the image that is left at a time from 0 to 1."""
    pairs = ((share(step / count), share((step + 1) / count)) for step in range(count))
    return np.array([min(1 - after / before, 0.999) for before, after in pairs], np.float32)


def _cosine(time: float) -> float:
    return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2


def _laplace(time: float) -> float:
    log_ratio = -0.5 * math.copysign(1, 0.5 - time) * math.log(1 - 2 * abs(0.5 - time) + 1e-6)
    return math.sqrt(1 / (1 + math.exp(-log_ratio)))


def _exponential(time: float) -> float:
    return math.exp(-12.0 * time)


_SHARES: dict[str, Callable[[float], float]] = {
    "squaredcos_cap_v2": _cosine,
    "laplace": _laplace,
    "exp": _exponential,
}
