"""Schedulers: the sequence of noise levels from noise to an image, and the step from each to the next."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from onnxpipe.errors import UnsupportedError

if TYPE_CHECKING:
    from onnxpipe.diffusion.schedulers.base import Scheduler

#: Every scheduler by its module.
SCHEDULERS = {
    "DDIMScheduler": "ddim",
    "DDPMScheduler": "ddpm",
    "DPMSolverMultistepScheduler": "dpm_solver",
    "EulerAncestralDiscreteScheduler": "euler_ancestral",
    "EulerDiscreteScheduler": "euler",
    "FlowMatchEulerDiscreteScheduler": "flow_match_euler",
    "HeunDiscreteScheduler": "heun",
    "LCMScheduler": "lcm",
    "LMSDiscreteScheduler": "lms",
    "PNDMScheduler": "pndm",
    "UniPCMultistepScheduler": "unipc",
}


def __getattr__(name: str) -> Any:
    if name not in SCHEDULERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{SCHEDULERS[name]}"), name)


def scheduler_of(config: Mapping[str, Any]) -> Scheduler[Any]:
    """Make the scheduler that a config names.

    Args:
        config: the object of a scheduler_config.json, or a scheduler's `config`.

    Raises:
        UnsupportedError: a scheduler that is not here, or a value that it does not take.
    """
    name = config.get("_class_name")
    if name not in SCHEDULERS:
        raise UnsupportedError(
            f"the scheduler {name!r} is not supported; those that are: {', '.join(sorted(SCHEDULERS))}. Another one is "
            "set by pipe.scheduler = X.from_config(pipe.scheduler.config), or by its config in the folder"
        )
    scheduler: Scheduler[Any] = __getattr__(name).from_config(config)
    return scheduler
