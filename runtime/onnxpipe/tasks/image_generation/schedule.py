"""The steps of a request: the scheduler's timesteps, and which of them are run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.diffusion.schedulers.base import Scheduler
from onnxpipe.diffusion.schedulers.config import DEFAULTED
from onnxpipe.engine.batching import Array
from onnxpipe.errors import UnsupportedError
from onnxpipe.generation.validation import arguments_refused
from onnxpipe.models.diffusion.model import DiffusionModel
from onnxpipe.tasks.image_generation.families import DiffusionFamily
from onnxpipe.tasks.image_generation.request import ImageRequest

logger = logging.getLogger("onnxpipe")

_FLOW = "flow_prediction"


@dataclass(frozen=True)
class Schedule:
    """The steps that are run.

    Attributes:
        timesteps: one for each run of the denoiser.
        steps: how many they are to a user; a scheduler of the second order runs twice for each.
    """

    timesteps: Array
    steps: int


def check_scheduler(scheduler: Any, family: DiffusionFamily, model: str, prediction_type: str | None = None) -> None:
    """Refuse what is no scheduler, or one for models that predict something else.

    Args:
        scheduler: the scheduler.
        family: the pipeline's.
        model: the model's name, for errors.
        prediction_type: what the model predicts, as the scheduler says that it came with; None for not known.

    Raises:
        UnsupportedError: it does not fit.
    """
    if not isinstance(scheduler, Scheduler):
        raise UnsupportedError(f"scheduler is a {type(scheduler).__name__}: pass a scheduler of onnxpipe")
    name, config = type(scheduler).__name__, scheduler.config
    flow = name.startswith("FlowMatch") or bool(config.own("use_flow_sigmas", False))
    if flow != family.flow:
        kinds = ("matches flows", "predicts noise")
        raise UnsupportedError(
            f"{name} is for models that match flows{'' if flow else ' not'}, and {model} ({family.title}) "
            f"{kinds[0] if family.flow else kinds[1]}: pass one for its kind"
        )
    if family.consistent and "original_inference_steps" not in scheduler.takes:
        raise UnsupportedError(f"{name} does not lead a latent consistency model: pass an LCMScheduler")
    own = config.get("prediction_type")
    if prediction_type is not None and own is not None and own not in (prediction_type, _FLOW):
        raise UnsupportedError(
            f"{name} takes prediction_type={own!r}, and {model} predicts {prediction_type!r}: build it by "
            f"{name}.from_config(pipe.scheduler.config). If the model's own scheduler_config.json is wrong, pass "
            "scheduler= to from_pretrained()"
        )


def mended(scheduler: Scheduler[Any], fields: Mapping[str, Any]) -> Scheduler[Any]:
    """Return a scheduler with these values of fields where its config has others, as diffusers' pipelines make it.

    Args:
        scheduler: that of a folder.
        fields: from `DiffusionFamily.mended_fields`.
    """
    config = scheduler.config
    changes = {name: value for name, value in fields.items() if config.get(name, value) != value}
    if not changes:
        return scheduler
    text = ", ".join(f"{name}={config[name]!r}" for name in changes)
    logger.info("the config of %s is outdated: %s. It is taken as diffusers takes it", type(scheduler).__name__, text)
    defaulted = [name for name in config.get(DEFAULTED) or () if name not in changes]
    return type(scheduler).from_config({**config, **changes, DEFAULTED: defaulted})


def plan_steps(
    scheduler: Scheduler[Any],
    request: ImageRequest,
    family: DiffusionFamily,
    model: DiffusionModel,
    size: tuple[int, int],
) -> Schedule:
    """Set the scheduler's timesteps, and choose those that a request runs.

    Raises:
        UnsupportedError: it asks for steps that the scheduler does not take, or for none.
    """
    if family.consistent:
        return _consistency(scheduler, request)
    _set(scheduler, request, family.schedule_arguments(request, model, scheduler, size))
    timesteps = np.asarray(scheduler.timesteps)
    steps = len(timesteps) if request.num_inference_steps is None else request.num_inference_steps
    start = _fraction(request.denoising_start)
    end = _fraction(request.denoising_end)
    if start is not None and end is not None and start >= end:
        raise UnsupportedError(f"denoising_start={start} must be less than denoising_end={end}")
    begin = 0
    if start is not None:
        left = int((timesteps < _cutoff(scheduler, start)).sum())
        if scheduler.order == 2 and left % 2 == 0:
            left += 1  # a step of two runs is not cut in the middle
        begin, steps = len(timesteps) - left, left
    elif request.strength is not None:
        first = family.first_step(steps, request.strength)
        begin, steps = first * scheduler.order, steps - first
    timesteps = timesteps[begin:]
    if request.strength is not None or "denoising_end" in family.arguments:
        scheduler.set_begin_index(begin)  # the text-to-image of other families leaves it to the scheduler, as diffusers
    if end is not None:
        steps = int((timesteps >= _cutoff(scheduler, end)).sum())
        timesteps = timesteps[:steps]
    return Schedule(timesteps, steps)


def _set(scheduler: Scheduler[Any], request: ImageRequest, others: dict[str, Any]) -> None:
    """Set the timesteps, from their number or from those that were passed."""
    passed = {name: getattr(request, name) for name in ("timesteps", "sigmas") if getattr(request, name) is not None}
    for name in passed:
        if name not in scheduler.takes:
            raise UnsupportedError(f"{type(scheduler).__name__} takes no {name}: pass num_inference_steps")
    with arguments_refused():
        scheduler.set_timesteps(None if passed else request.num_inference_steps, **passed, **others)


def _consistency(scheduler: Scheduler[Any], request: ImageRequest) -> Schedule:
    """Set the timesteps of a latent consistency model: the strength chooses among those of its training."""
    others: dict[str, Any] = {}
    if request.original_inference_steps is not None:
        others["original_inference_steps"] = request.original_inference_steps
    if request.strength is not None:
        others["strength"] = request.strength
    _set(scheduler, request, others)
    timesteps = np.asarray(scheduler.timesteps)
    return Schedule(timesteps, len(timesteps))


def _fraction(value: float | None) -> float | None:
    """Return a part of the steps; 0 and 1 are all of them, as in diffusers."""
    return value if value is not None and 0 < value < 1 else None


def _cutoff(scheduler: Scheduler[Any], part: float) -> int:
    """Find the timestep at which a part of the steps begins or ends."""
    steps: int = scheduler.config.num_train_timesteps
    return round(steps - part * steps)
