"""What all schedulers share: config, place in the sequence of steps, noise."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np

from onnxpipe.bundle import HubKeywords, HubOptions, fetch
from onnxpipe.bundle.files import read_json
from onnxpipe.diffusion.random import Noise
from onnxpipe.diffusion.schedulers.config import SchedulerConfig
from onnxpipe.diffusion.schedulers.timesteps import Timesteps
from onnxpipe.errors import BundleError, UnsupportedError

CONFIG_FILE = "scheduler_config.json"
ConfigT = TypeVar("ConfigT", bound=SchedulerConfig)

#: Draws standard normal noise of a shape, float32.
Draw = Callable[[tuple[int, ...]], Noise]


@dataclass(frozen=True)
class SchedulerOutput:
    """What a step gives.

    Attributes:
        prev_sample: the sample with less noise, float32 of the sample's shape: the next step's.
        pred_original_sample: the image that the model predicts behind the noise, or None where a scheduler does not
            work it out.
    """

    prev_sample: Noise
    pred_original_sample: Noise | None = None


@dataclass(frozen=True)
class ScheduleRequest:
    """What `set_timesteps` was asked for; see there."""

    num_inference_steps: int | None = None
    timesteps: Sequence[float] | None = None
    sigmas: Sequence[float] | None = None
    mu: float | None = None
    original_inference_steps: int | None = None
    strength: float = 1.0

    @property
    def count(self) -> int:
        """The number of steps that was asked for."""
        assert self.num_inference_steps is not None
        return self.num_inference_steps


class Scheduler(ABC, Generic[ConfigT]):
    """Leads from noise to an image in a few steps; every step takes a model's output and gives a less noisy sample.

        scheduler.set_timesteps(20)
        sample = noise * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            output = model(scheduler.scale_model_input(sample, t), t)
            sample = scheduler.step(output, t, sample).prev_sample

    A scheduler keeps what it needs of the steps before, so it must not serve two loops at once; make one for each with
    `type(scheduler).from_config(scheduler.config)`. The names, defaults and formulas are those of diffusers.

    Args:
        **fields: of the config, e.g. `use_karras_sigmas=True`.

    Attributes:
        config: the fields; see `SchedulerConfig`.
        order: how many calls of the model a step of the request takes.
        timesteps: the steps of the last `set_timesteps`, from the noisiest on: one for each call of the model.
        num_inference_steps: the steps it was asked for, or None before.

    Raises:
        UnknownArgumentError: a field that this scheduler does not have.
        UnknownChoiceError, UnsupportedError: a value that it does not take.
    """

    config_class: ClassVar[type[SchedulerConfig]]
    order: ClassVar[int] = 1
    #: What `set_timesteps` takes besides the number of steps.
    takes: ClassVar[frozenset[str]] = frozenset()

    config: ConfigT
    timesteps: Timesteps
    num_inference_steps: int | None

    def __init__(self, **fields: Any) -> None:
        self._start(self.config_class.of(fields, type(self).__name__))

    def _start(self, config: SchedulerConfig) -> None:
        self.config = config  # type: ignore[assignment]  # the subclass names its own
        self.num_inference_steps = None
        self.timesteps = np.arange(config.num_train_timesteps)[::-1].copy()
        self._begin_index: int | None = None
        self._step_index: int | None = None
        self._prepare()

    @property
    def compatibles(self) -> list[type[Scheduler[Any]]]:
        """The schedulers that may take this one's place with `X.from_config(scheduler.config)`."""
        from onnxpipe.diffusion import schedulers

        alone = ("LCMScheduler", "FlowMatchEulerDiscreteScheduler")  # for models that were trained for them
        name = type(self).__name__
        return [type(self)] if name in alone else [
            getattr(schedulers, each) for each in schedulers.SCHEDULERS if each not in alone
        ]  # fmt: skip

    @classmethod
    def from_config(cls, config: Mapping[str, Any], **changes: Any) -> Self:
        """Make a scheduler from the config of another one, also of another class, or from a file's object.

        Fields that both know are taken over; what only the other knows is carried along in `config`, for the way back.

        Args:
            config: a scheduler's `config`, or the object of a scheduler_config.json.
            **changes: fields to set anew, e.g. `timestep_spacing="trailing"`.
        """
        scheduler = cls.__new__(cls)
        scheduler._start(cls.config_class.adopt(config, cls.__name__, changes))
        return scheduler

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str], subfolder: str | None = None, **keywords: Any) -> Self:
        """Make a scheduler from the scheduler_config.json of a folder or a Hub repository.

        Args:
            path: folder or Hub id.
            subfolder: where in it the file is, "scheduler" in the folder of a pipeline.
            **keywords: the Hub's (`HubKeywords`), and fields to set anew.

        Raises:
            ModelNotFoundError: no such folder, repository or file.
            BundleError: the file is not a config, or has values that are not possible.
        """
        hub, changes = HubOptions.split(keywords, HubKeywords)
        folder = fetch(path, need="config", **hub.keywords)
        name = f"{subfolder}/{CONFIG_FILE}" if subfolder else CONFIG_FILE
        values = read_json(folder, name)
        try:
            return cls.from_config(values, **changes)
        except UnsupportedError as error:
            raise BundleError(f"{folder / name}: {error}") from error

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> None:
        """Write the config to scheduler_config.json in a folder, which is created if need be."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG_FILE).write_text(self.config.to_json_string(), encoding="utf-8")

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        *,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
        original_inference_steps: int | None = None,
        strength: float = 1.0,
    ) -> None:
        """Choose the steps, and forget those done before.

        Args:
            num_inference_steps: how many, unless `timesteps` or `sigmas` say it.
            timesteps: which of the training's steps, falling.
            sigmas: the noise of each step, falling, and for Euler that after the last one, too.
            mu: how far sigmas are shifted where the config says `use_dynamic_shifting`.
            original_inference_steps, strength: LCM's: the steps of its training, and the share of them to go.

        Raises:
            ValueError: no positive number of steps, two that contradict each other, or an argument that this scheduler
                does not take.
        """
        request = ScheduleRequest(num_inference_steps, timesteps, sigmas, mu, original_inference_steps, strength)
        self._check(request)
        self._begin_index = self._step_index = None
        self._plan(request)

    def _check(self, request: ScheduleRequest) -> None:
        name, count = type(self).__name__, request.num_inference_steps
        for argument, default in (("timesteps", None), ("sigmas", None), ("mu", None),
                                  ("original_inference_steps", None), ("strength", 1.0)):  # fmt: skip
            if getattr(request, argument) != default and argument not in self.takes:
                able = ", ".join(sorted(self.takes)) or "nothing else"
                raise ValueError(f"{name}.set_timesteps takes num_inference_steps and {able}, but not {argument}")
        if sum(one is not None for one in (count, request.timesteps, request.sigmas)) != 1:
            raise ValueError(
                f"{name}.set_timesteps needs one of num_inference_steps, timesteps and sigmas, and no more"
            )
        if count is not None and (isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 1):
            raise ValueError(f"num_inference_steps must be a positive int, but is {count!r}")
        if request.mu is not None and not self.config.own("use_dynamic_shifting", False):
            raise ValueError(f"mu is for configs with use_dynamic_shifting; this {name} has none")
        if request.mu is None and self.config.own("use_dynamic_shifting", False):
            raise ValueError(f"{name} has use_dynamic_shifting: pass mu, which depends on the image's size")

    @property
    def init_noise_sigma(self) -> float:
        """The factor of the first step's noise."""
        return 1.0

    @property
    def step_index(self) -> int | None:
        """The number of the next step, or None before the first one."""
        return self._step_index

    @property
    def begin_index(self) -> int | None:
        """The number of the first step as `set_begin_index` set it, or None."""
        return self._begin_index

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Start at a later step, as image-to-image does; the steps before it are left out."""
        self._begin_index = begin_index

    def scale_model_input(self, sample: Noise, timestep: Any = None) -> Noise:
        """Scale the sample to what the model was trained on."""
        return sample

    def step(
        self, model_output: Noise, timestep: Any, sample: Noise, *, eta: float = 0.0, noise: Draw | None = None
    ) -> SchedulerOutput:
        """Take one step.

        Args:
            model_output: the model's prediction, float32 of the sample's shape.
            timestep: the step's, one of `timesteps`.
            sample: the noisy sample, float32.
            eta: DDIM's share of fresh noise, from 0 to 1; no other scheduler has it, and diffusers' pipelines leave it
                out for them.
            noise: draws fresh noise, for schedulers that add some; see `onnxpipe.diffusion.random.draw`.

        Raises:
            ValueError: no timesteps were set, they are used up, the output has another shape than the sample, or noise
                is needed and cannot be drawn.
        """
        if self.num_inference_steps is None:
            raise ValueError(f"call {type(self).__name__}.set_timesteps before the first step")
        output, sample = np.asarray(model_output), np.asarray(sample)
        if output.shape != (expected := self._output_shape(sample.shape)):
            raise ValueError(
                f"{type(self).__name__}: a model's output for a sample of shape {sample.shape} must have the shape "
                f"{expected}, but has {output.shape}"
            )
        result = self._step(output, timestep, sample, eta, _checked(noise, self))
        image = result.pred_original_sample
        return SchedulerOutput(
            np.asarray(result.prev_sample, np.float32), None if image is None else np.asarray(image, np.float32)
        )

    def _output_shape(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        """Tell the shape of a model's output for a sample of a shape."""
        return sample

    def _enter(self, timestep: Any) -> int:
        """Find the number of the step about to be taken."""
        if self._step_index is None:
            self._step_index = self._index_of(timestep) if self._begin_index is None else self._begin_index
        if self._step_index >= len(self.timesteps):
            raise ValueError(f"all {len(self.timesteps)} steps are done: call set_timesteps for the next image")
        return self._step_index

    def _index_of(self, timestep: Any) -> int:
        """Find the number of a timestep.

        Of one that stands there several times it is the second, as in diffusers, so that no sigma is left out; but the
        first timestep is where a run begins.
        """
        places = np.flatnonzero(self.timesteps == timestep)
        if not places.size:
            raise ValueError(f"timestep {timestep} is none of {type(self).__name__}.timesteps")
        return int(places[0 if places[0] == 0 else min(1, places.size - 1)])

    @abstractmethod
    def add_noise(self, original: Noise, noise: Noise, timesteps: Any) -> Noise:
        """Add as much noise to images as they have at the start of a step.

        Args:
            original: images (n, ...), float32.
            noise: standard normal noise of the same shape.
            timesteps: the step's for each image (n,), or one for all. After `set_begin_index` it is the scheduler's
                place that counts, for schedulers whose steps have numbers.
        """

    @abstractmethod
    def _prepare(self) -> None:
        """Work out the tables that depend on the config alone."""

    @abstractmethod
    def _plan(self, request: ScheduleRequest) -> None:
        """Set `timesteps`, `num_inference_steps` and what the steps need."""

    @abstractmethod
    def _step(self, output: Noise, timestep: Any, sample: Noise, eta: float, draw: Draw) -> SchedulerOutput:
        """Take a step; see `step`."""


def _checked(noise: Draw | None, scheduler: Scheduler[Any]) -> Draw:
    def refuse(shape: tuple[int, ...]) -> Noise:
        raise ValueError(f"{type(scheduler).__name__} adds noise in this step: pass noise=, which draws it")

    return noise or refuse
