"""Every scheduler against diffusers': whole runs from the same noise, with a model that is a function of its input.

Each case runs a scheduler with some fields of its config through all spacings and predictions, with 1, 2, 4, 10 and 25
steps, from noise, and with 4 and 25 from the middle, too, as image-to-image does. A model's output follows from the
sample, so an error in one step shows in all that follow.
"""

from __future__ import annotations

import inspect
import itertools
from dataclasses import dataclass, field
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from conformance import scheduler_cases
from conformance.scheduler_cases import Case
from onnxpipe.diffusion import schedulers
from onnxpipe.diffusion.random import as_generators, draw
from tolerances import float32

SHAPE = (2, 4, 6, 5)
SEED = 3
TERMS = 512
"""Terms on the way from the noise to the image: 25 steps of some ten products, and the tables behind their factors."""


def _model(sample: np.ndarray, timestep: Any, doubled: bool) -> np.ndarray:
    """Give a bounded function of the sample and the timestep, and a prediction of the variance if asked for."""
    output = np.tanh(0.7 * sample + np.float32(np.sin(0.01 * float(timestep)))) + 0.1 * np.roll(sample, 1, -1)
    output = output.astype(np.float32)
    return np.concatenate((output, 0.3 * np.abs(output)), axis=1) if doubled else output


@dataclass
class Pair:
    """A scheduler of diffusers and ours, with the same config and the same steps."""

    case: Case
    config: dict[str, Any]
    original: Any = field(init=False)
    ours: Any = field(init=False)

    def __post_init__(self) -> None:
        self.original = getattr(diffusers, self.case.scheduler)(**self.config)
        self.ours = getattr(schedulers, self.case.scheduler)(**self.config)

    def compare_plan(self, request: dict[str, Any]) -> None:
        """Set the steps of both, and compare them."""
        arrays = {name: np.array(value) if isinstance(value, list) else value for name, value in request.items()}
        self.original.set_timesteps(**arrays)
        self.ours.set_timesteps(**request)
        expected = self.original.timesteps.numpy()
        assert self.ours.timesteps.dtype == expected.dtype
        # Timesteps of replaced sigmas are found among logarithms, and some of them are cut off to whole ones.
        cut = expected.dtype == np.int64 and any("_sigmas" in name for name in self.config)
        near = 1 if cut else float32(1000.0, TERMS)
        np.testing.assert_allclose(self.ours.timesteps, expected, rtol=0, atol=near)
        if hasattr(self.original, "sigmas"):
            np.testing.assert_allclose(self.ours.sigmas, self.original.sigmas.numpy(), rtol=float32(1.0, TERMS))
        assert self.ours.order == self.original.order
        np.testing.assert_allclose(
            self.ours.init_noise_sigma, float(getattr(self.original, "init_noise_sigma", 1.0)), rtol=float32(1.0, TERMS)
        )

    def compare_run(self, start: int) -> None:
        """Compare every sample of a run that begins at a step, numbered as in the request."""
        generator, sources = torch.Generator().manual_seed(SEED), as_generators(SEED, SHAPE[0])
        expected = torch.randn(SHAPE, generator=generator) * float(getattr(self.original, "init_noise_sigma", 1.0))
        sample = draw(SHAPE, sources) * np.float32(self.ours.init_noise_sigma)
        accepted = inspect.signature(self.original.step).parameters
        extra = {"generator": generator} if "generator" in accepted else {}
        extra |= {"eta": self.case.eta} if "eta" in accepted else {}
        first = start * self.ours.order
        if start:
            expected, sample = self._noisy(expected, sample, first)
        scale = float(np.abs(sample).max())
        for before, timestep in zip(self.original.timesteps[first:], self.ours.timesteps[first:], strict=True):
            scaled = self._scaled(expected, before)
            output = _model(scaled.numpy(), before, self.case.doubled)
            expected = self.original.step(torch.from_numpy(output), before, expected, **extra).prev_sample
            output = _model(self.ours.scale_model_input(sample, timestep), before, self.case.doubled)
            sample = self.ours.step(
                output, timestep, sample, eta=self.case.eta, noise=lambda shape: draw(shape, sources)
            ).prev_sample
            assert sample.dtype == np.float32
            scale = max(scale, float(expected.abs().max()))
            bound = float32(scale, TERMS) * self._amplification()
            np.testing.assert_allclose(sample, expected.numpy(), rtol=0, atol=bound)

    def _amplification(self) -> float:
        """By how much a step can blow up the rounding errors of its sample."""
        if "Heun" in self.case.scheduler:  # divides by the sigma at a step's end what came from its start
            return float((self.ours.sigmas[:-2] / np.maximum(self.ours.sigmas[1:-1], 1e-9)).max(initial=1.0))
        if self.case.fields.get("predict_x0") is False:  # scales the image up from its share in the first sample
            return float(np.sqrt(self.ours.sigmas[0] ** 2 + 1))
        return 1.0

    def _scaled(self, sample: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        scale = getattr(self.original, "scale_model_input", None)  # flow matching has none
        return sample if scale is None else scale(sample, timestep)

    def _noisy(self, noise: torch.Tensor, ours: np.ndarray, first: int) -> tuple[torch.Tensor, np.ndarray]:
        """Start from an image with noise, at the step of this number."""
        for scheduler in (self.original, self.ours):
            if hasattr(scheduler, "set_begin_index"):
                scheduler.set_begin_index(first)
        image = np.random.RandomState(1).standard_normal(SHAPE).astype(np.float32)
        timestep = self.original.timesteps[first].reshape(1)
        if hasattr(self.original, "add_noise"):
            expected = self.original.add_noise(torch.from_numpy(image), noise, timestep)
        else:
            expected = self.original.scale_noise(torch.from_numpy(image), timestep, noise)
        noisy = self.ours.add_noise(image, ours, self.ours.timesteps[first])
        np.testing.assert_allclose(noisy, expected.numpy(), rtol=0, atol=float32(float(np.abs(noisy).max()), TERMS))
        return expected, noisy


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("case", scheduler_cases.CASES, ids=str)
def test_runs_as_in_diffusers(case: Case) -> None:
    if case.request:
        pair = Pair(case, case.config)
        pair.compare_plan(case.request)
        pair.compare_run(0)
        return
    for prediction, spacing in itertools.product(case.predictions, case.spacings):
        chosen = {"prediction_type": prediction, "timestep_spacing": spacing, "steps_offset": int(spacing == "leading")}
        pair = Pair(case, {**chosen, **case.config} if case.has_betas else case.config)
        for steps in case.steps:
            for start in (0, steps // 3) if steps in (4, 25) else (0,):
                pair.compare_plan({"num_inference_steps": steps, **case.also})
                pair.compare_run(start)


@pytest.mark.parametrize("name", sorted(schedulers.SCHEDULERS))
def test_has_the_fields_and_defaults_of_diffusers(name: str) -> None:
    ours = getattr(schedulers, name)()
    theirs = getattr(diffusers, name)()
    assert ours.config["_class_name"] == name
    expected = {key: value for key, value in theirs.config.items() if not key.startswith("_")}
    left_out = scheduler_cases.LEFT_OUT.get(name, frozenset())
    assert {key: ours.config[key] for key in expected if key not in left_out} == {
        key: value for key, value in expected.items() if key not in left_out
    }
    assert set(ours.config["_use_default_values"]) == set(theirs.config["_use_default_values"]) - left_out


@pytest.mark.parametrize(
    ("source", "target"),
    [
        pair
        for pair in itertools.permutations(sorted(schedulers.SCHEDULERS), 2)
        if not any("FlowMatch" in name for name in pair)
    ],
)
def test_swapping_takes_over_the_fields_as_in_diffusers(source: str, target: str) -> None:
    """The file of Stable Diffusion 1.5, whose fields are of several schedulers; there and back again."""
    values = {
        "_class_name": source, "_diffusers_version": "0.6.0", "beta_start": 0.00085, "beta_end": 0.012,
        "beta_schedule": "scaled_linear", "num_train_timesteps": 1000, "set_alpha_to_one": False, "steps_offset": 1,
        "skip_prk_steps": True, "clip_sample": False, "timestep_spacing": "trailing", "trained_betas": None,
        "use_karras_sigmas": True, "rescale_betas_zero_snr": True,
    }  # fmt: skip
    theirs = getattr(diffusers, target).from_config(getattr(diffusers, source).from_config(values).config)
    ours = getattr(schedulers, target).from_config(schedulers.scheduler_of(values).config)
    back = getattr(schedulers, source).from_config(ours.config)
    theirs_back = getattr(diffusers, source).from_config(theirs.config)
    for one, other, name in ((ours, theirs, target), (back, theirs_back, source)):
        hidden = scheduler_cases.LEFT_OUT.get(name, frozenset())
        fields = {key for key in inspect.signature(type(other).__init__).parameters if key != "self"} - hidden
        assert {key: one.config[key] for key in fields} == {key: other.config[key] for key in fields}
