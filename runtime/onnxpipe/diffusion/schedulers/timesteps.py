"""Which of the training's steps are taken: the three spacings of table 2 of Lin et al. (2023).

Schedulers round them differently, and some leave out the training's first step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.diffusion.schedulers.config import BetaConfig

Timesteps = NDArray[Any]


def whole(config: BetaConfig, count: int) -> Timesteps:
    """Choose whole steps, int64 (count,), falling: DDIM, DDPM and PNDM.

    Raises:
        ValueError: more steps than the training had, or steps_offset leads beyond its last one.
    """
    steps = _spaced(config, count)
    if steps[0] >= config.num_train_timesteps or steps[-1] < 0:
        raise ValueError(
            f"steps_offset={config.steps_offset} leads out of the {config.num_train_timesteps} steps of the model's "
            f"training with num_inference_steps={count}: take fewer steps"
        )
    return steps


def fractional(config: BetaConfig, count: int) -> Timesteps:
    """Choose steps that may lie between two of the training, float32 (count,), falling: Euler, Heun and LMS."""
    if config.timestep_spacing == "linspace":
        return np.linspace(0, config.num_train_timesteps - 1, count, dtype=np.float32)[::-1].copy()
    return _spaced(config, count).astype(np.float32)


def inner(config: BetaConfig, count: int, last: int) -> Timesteps:
    """Choose whole steps without the training's first, int64 (count,), falling: DPM-Solver++ and UniPC.

    Args:
        config: names the spacing.
        count: number of steps.
        last: number of the training's steps that are in reach.

    Raises:
        ValueError: more steps than are in reach.
    """
    _check_count(config, count)
    if last < count:
        raise ValueError(f"lambda_min_clipped leaves {last} steps of the training, but {count} were asked for")
    steps: Timesteps
    if config.timestep_spacing == "linspace":
        steps = np.linspace(0, last - 1, count + 1).round()[::-1][:-1]
    elif config.timestep_spacing == "leading":
        steps = (np.arange(count + 1) * (last // (count + 1)))[::-1][:-1] + config.steps_offset
    else:
        steps = np.arange(last, 0, -config.num_train_timesteps / count).round() - 1
    return steps.astype(np.int64)


def falling(timesteps: Any, config: BetaConfig, kind: type[np.generic]) -> Timesteps:
    """Check timesteps that the user chose.

    Raises:
        ValueError: none, not numbers that fall, or beyond the training's last step.
    """
    steps = np.asarray(timesteps)
    if steps.ndim != 1 or not steps.size or steps.dtype.kind not in "iuf":
        raise ValueError("timesteps must be a list of numbers, from the noisiest step on")
    if np.any(np.diff(steps) >= 0):
        raise ValueError("timesteps must be in descending order")
    if steps[0] >= config.num_train_timesteps or steps[-1] < 0:
        raise ValueError(
            f"timesteps must lie from {config.num_train_timesteps - 1} (num_train_timesteps - 1) down to 0"
        )
    return steps.astype(kind)


def _spaced(config: BetaConfig, count: int) -> Timesteps:
    _check_count(config, count)
    total = config.num_train_timesteps
    steps: Timesteps
    if config.timestep_spacing == "linspace":
        steps = np.linspace(0, total - 1, count).round()[::-1]
    elif config.timestep_spacing == "leading":
        steps = (np.arange(count) * (total // count))[::-1] + config.steps_offset
    else:
        steps = np.round(np.arange(total, 0, -total / count)) - 1
    return steps.astype(np.int64)


def _check_count(config: BetaConfig, count: int) -> None:
    if count > config.num_train_timesteps:
        raise ValueError(
            f"num_inference_steps={count} is more than the {config.num_train_timesteps} steps of the model's training "
            "(num_train_timesteps)"
        )
