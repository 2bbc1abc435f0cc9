"""Sigma, the noise's share in the sample over that of the image, and the sequences of sigmas to choose from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.diffusion.schedulers.betas import Floats
from onnxpipe.diffusion.schedulers.config import SpacedSigmas

Doubles = NDArray[np.float64]

#: The exponent of Karras et al. (2022), and both parameters of "Beta Sampling is All You Need" (2024).
_RHO, _BETA = 7.0, 0.6


def training_sigmas(kept: Floats) -> Floats:
    """Work out sigma at each step of the training from alphas_cumprod: float32, rising."""
    return np.asarray(np.sqrt((np.float32(1.0) - kept) / kept), np.float32)


def interpolated(timesteps: NDArray[Any], table: Floats) -> Doubles:
    """Sigmas at timesteps, which may lie between two of the training: float64."""
    return np.asarray(np.interp(timesteps, np.arange(len(table)), table))


def timesteps_of(sigmas: NDArray[Any], table: Floats) -> Doubles:
    """Find the timesteps of sigmas, with fractions, linearly in their logarithms: float64."""
    return np.asarray(np.interp(np.log(np.maximum(sigmas, 1e-10)), np.log(table), np.arange(len(table))))


def replaced(config: SpacedSigmas, largest: float, smallest: float, count: int) -> Doubles:
    """Choose `count` sigmas from the largest to the smallest as the config says: float64, falling."""
    share = np.linspace(0, 1, count)
    if config.use_karras_sigmas:  # Karras et al., "Elucidating the Design Space of Diffusion-Based Models", eq. 5
        first, last = largest ** (1 / _RHO), smallest ** (1 / _RHO)
        return np.asarray((first + share * (last - first)) ** _RHO, np.float64)
    if config.use_exponential_sigmas:
        return np.exp(np.linspace(math.log(largest), math.log(smallest), count))
    return smallest + np.array([_beta_quantile(1 - one) for one in share]) * (largest - smallest)


def final_sigma(final_sigmas_type: str, table: Floats) -> float:
    """Sigma after the last step: none, or that of the training's first step."""
    return float(table[0]) if final_sigmas_type == "sigma_min" else 0.0


def shifted(sigmas: NDArray[Any], shift: float) -> NDArray[Any]:
    """Move sigmas of flow matching, from 0 to 1, towards noise (Esser et al., 2024, eq. 23)."""
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def shifted_by_size(sigmas: NDArray[Any], mu: float, kind: str) -> NDArray[Any]:
    """Move sigmas of flow matching towards noise by an amount that grows with the image (Flux, SD 3.5)."""
    weight = math.exp(mu) if kind == "exponential" else mu
    return weight / (weight + (1 / sigmas - 1))


def stretched(sigmas: NDArray[Any], terminal: float) -> NDArray[Any]:
    """Stretch sigmas of flow matching so that the last is `terminal` (LTX-Video).

    Raises:
        ValueError: there is nothing to stretch, because the last is 1, as in a run of one step.
    """
    rest = 1 - sigmas
    if rest[-1] == 0:
        raise ValueError("shift_terminal needs at least 2 steps: the only sigma is 1")
    return np.asarray(1 - rest / (rest[-1] / (1 - terminal)))


def _beta_quantile(share: float) -> float:
    """The quantile of the beta distribution with both parameters 0.6, by bisection of its distribution function."""
    if share in (0.0, 1.0):
        return share
    low, high = 0.0, 1.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _beta_share(middle) < share else (low, middle)
    return (low + high) / 2


def _beta_share(value: float) -> float:
    """The distribution function of that distribution: DLMF 8.17.22, a continued fraction by Lentz's method."""
    if value > 0.5:
        return 1 - _beta_share(1 - value)
    if value == 0.0:
        return 0.0
    a = b = _BETA
    front: float = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)) * value**a * (1 - value) ** b / a
    fraction, c, d = 1.0, 1.0, 0.0
    for term in range(60):
        half = term // 2
        if term == 0:
            numerator = 1.0
        elif term % 2:
            numerator = -(a + half) * (a + b + half) * value / ((a + 2 * half) * (a + 2 * half + 1))
        else:
            numerator = half * (b - half) * value / ((a + 2 * half - 1) * (a + 2 * half))
        d = 1 / (1 + numerator * d)
        c = 1 + numerator / c
        fraction *= c * d
    return front * (fraction - 1)
