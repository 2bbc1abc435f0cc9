"""Schedulers without their original: refusals, configs, folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxpipe.diffusion import schedulers
from onnxpipe.diffusion.schedulers import scheduler_of
from onnxpipe.errors import BundleError, ModelNotFoundError, UnknownArgumentError, UnknownChoiceError, UnsupportedError

SAMPLE = np.zeros((1, 4, 2, 2), np.float32)
NAMES = sorted(schedulers.SCHEDULERS)


def _make(name: str, **fields: Any) -> Any:
    return getattr(schedulers, name)(**fields)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_needs_a_positive_number_of_steps(name: str) -> None:
    scheduler = _make(name)
    with pytest.raises(ValueError, match=r"call .*set_timesteps before"):
        scheduler.step(SAMPLE, 999, SAMPLE)
    for steps in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match="must be a positive int"):
            scheduler.set_timesteps(steps)
    with pytest.raises(ValueError, match="needs one of"):
        scheduler.set_timesteps()


@pytest.mark.parametrize("name", NAMES)
def test_unknown_and_mistyped_fields_are_refused(name: str) -> None:
    with pytest.raises(UnknownArgumentError, match="did you mean 'num_train_timesteps'"):
        _make(name, num_train_timestep=10)
    with pytest.raises(UnsupportedError, match="num_train_timesteps must be of type int, but is '1000'"):
        _make(name, num_train_timesteps="1000")
    for count in (0, 10**9):
        with pytest.raises(UnsupportedError, match="is not from 1 to"):
            _make(name, num_train_timesteps=count)


def test_choices_are_named() -> None:
    with pytest.raises(UnknownChoiceError, match="prediction_type='sample' is none of 'epsilon', 'v_prediction'"):
        schedulers.PNDMScheduler(prediction_type="sample")
    with pytest.raises(UnknownChoiceError, match="timestep_spacing='even' is none of"):
        schedulers.DDIMScheduler(timestep_spacing="even")
    with pytest.raises(UnsupportedError, match="only one of use_karras_sigmas"):
        schedulers.EulerDiscreteScheduler(use_karras_sigmas=True, use_beta_sigmas=True)


@pytest.mark.parametrize(
    "fields",
    [{"beta_start": -1.0}, {"beta_end": 2.0}, {"trained_betas": [0.1, 0.2]}, {"trained_betas": "many"}],
    ids=["negative", "above one", "too few", "no numbers"],
)
def test_betas_that_cannot_be_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match="betas"):
        schedulers.EulerDiscreteScheduler(**fields)


def test_set_timesteps_refuses_what_a_scheduler_does_not_take() -> None:
    with pytest.raises(ValueError, match="takes num_inference_steps and nothing else, but not timesteps"):
        schedulers.DDIMScheduler().set_timesteps(timesteps=[10, 5])
    with pytest.raises(ValueError, match="takes num_inference_steps and sigmas, timesteps, but not strength"):
        schedulers.EulerDiscreteScheduler().set_timesteps(4, strength=0.5)
    with pytest.raises(ValueError, match="no more"):
        schedulers.EulerDiscreteScheduler().set_timesteps(2, timesteps=[10, 5])
    with pytest.raises(ValueError, match="more than the 1000 steps of the model's training"):
        schedulers.DDIMScheduler().set_timesteps(1001)
    with pytest.raises(ValueError, match="the model was trained on no more steps"):
        schedulers.LCMScheduler().set_timesteps(51)


@pytest.mark.parametrize(
    ("timesteps", "message"),
    [([5, 10], "descending"), ([1000, 5], "999"), ([5, -1], "down to 0"), ([], "list of numbers"), (["a"], "numbers")],
    ids=["rising", "beyond", "negative", "none", "text"],
)
def test_chosen_timesteps_are_checked(timesteps: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        schedulers.EulerDiscreteScheduler().set_timesteps(timesteps=timesteps)


def test_noise_that_cannot_be_drawn_is_missed() -> None:
    scheduler = schedulers.EulerAncestralDiscreteScheduler()
    scheduler.set_timesteps(2)
    with pytest.raises(ValueError, match="pass noise="):
        scheduler.step(SAMPLE, scheduler.timesteps[0], SAMPLE)


def test_steps_beyond_the_last_and_unknown_timesteps_are_refused() -> None:
    scheduler = schedulers.EulerDiscreteScheduler()
    scheduler.set_timesteps(2)
    with pytest.raises(ValueError, match=r"timestep 5 is none of EulerDiscreteScheduler\.timesteps"):
        scheduler.step(SAMPLE, 5, SAMPLE)
    for timestep in scheduler.timesteps:
        scheduler.step(SAMPLE, timestep, SAMPLE)
    with pytest.raises(ValueError, match="all 2 steps are done"):
        scheduler.step(SAMPLE, scheduler.timesteps[1], SAMPLE)
    scheduler.set_timesteps(2)
    scheduler.step(SAMPLE, scheduler.timesteps[0], SAMPLE)


def test_equal_timesteps_at_the_start_are_all_taken() -> None:
    scheduler = schedulers.DPMSolverMultistepScheduler(beta_schedule="squaredcos_cap_v2", use_karras_sigmas=True)
    scheduler.set_timesteps(10)
    assert scheduler.timesteps[0] == scheduler.timesteps[1]
    sample = np.ones((1, 4, 2, 2), np.float32)
    for timestep in scheduler.timesteps:
        sample = scheduler.step(0.1 * sample, timestep, sample).prev_sample
    assert scheduler.step_index == 10
    assert np.isfinite(sample).all()


def test_a_run_does_not_depend_on_the_one_before() -> None:
    sample = np.ones((1, 4, 2, 2), np.float32)
    for name in NAMES:
        scheduler, results = _make(name), []
        for _ in range(2):
            scheduler.set_timesteps(6)
            x = sample
            for timestep in scheduler.timesteps:
                scaled = scheduler.scale_model_input(x, timestep)
                x = scheduler.step(
                    0.3 * scaled, timestep, x, noise=lambda shape: np.ones(shape, np.float32)
                ).prev_sample
            results.append(x)
        np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("UniPCMultistepScheduler", {"solver_type": "bh1"}, "solver_type='bh1' ends in NaN"),
        ("UniPCMultistepScheduler", {"predict_x0": False}, "predict_x0=False ends in NaN"),
        ("UniPCMultistepScheduler", {"solver_p": {}}, "solver_p, another scheduler"),
        ("UniPCMultistepScheduler", {"shift_terminal": 0.1}, "needs use_flow_sigmas=True"),
        ("UniPCMultistepScheduler", {"solver_order": 4}, "is not from 1 to 3"),
        ("DPMSolverMultistepScheduler", {"prediction_type": "flow_prediction"}, "needs use_flow_sigmas=True"),
        ("DPMSolverMultistepScheduler", {"variance_type": "learned"}, "predict the variance"),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver"}, "is none of 'dpmsolver\\+\\+'"),
        ("DDPMScheduler", {"variance_type": "fixed_large_log"}, "is none of"),
        ("EulerDiscreteScheduler", {"sigma_min": 0.0}, "sigma_min must be positive"),
        ("FlowMatchEulerDiscreteScheduler", {"shift": -1.0}, "shift must be positive"),
        ("UniPCMultistepScheduler", {"flow_shift": float("inf")}, "flow_shift must be positive"),
    ],
)
def test_fields_that_have_no_meaning_are_refused(name: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        _make(name, **fields)


def test_solvers_stand_in_for_the_types_of_others() -> None:
    unipc = schedulers.UniPCMultistepScheduler.from_config({"solver_type": "heun"})
    assert unipc.config.solver_type == "bh2"
    solver = schedulers.DPMSolverMultistepScheduler(solver_type="bh1", algorithm_type="deis")
    assert (solver.config.solver_type, solver.config.algorithm_type) == ("midpoint", "dpmsolver++")


def test_flow_matching_checks_its_steps() -> None:
    dynamic = schedulers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    with pytest.raises(ValueError, match="pass mu"):
        dynamic.set_timesteps(4)
    plain = schedulers.FlowMatchEulerDiscreteScheduler()
    with pytest.raises(ValueError, match="mu is for configs with use_dynamic_shifting"):
        plain.set_timesteps(4, mu=0.5)
    with pytest.raises(ValueError, match="2 timesteps and 1 sigmas"):
        plain.set_timesteps(timesteps=[1000.0, 500.0], sigmas=[1.0])
    with pytest.raises(ValueError, match="sigmas must be a list of numbers"):
        plain.set_timesteps(sigmas=[])
    with pytest.raises(ValueError, match="needs at least 2 steps"):
        schedulers.FlowMatchEulerDiscreteScheduler(shift_terminal=0.1).set_timesteps(1)


def test_an_output_of_another_shape_is_refused() -> None:
    learned = schedulers.DDPMScheduler(variance_type="learned")
    learned.set_timesteps(2)
    with pytest.raises(ValueError, match=r"must have the shape \(1, 8, 2, 2\), but has \(1, 4, 2, 2\)"):
        learned.step(SAMPLE, learned.timesteps[0], SAMPLE)
    for name in NAMES:
        scheduler = _make(name)
        scheduler.set_timesteps(4)
        with pytest.raises(ValueError, match=r"must have the shape \(1, 4, 2, 2\), but has \(2, 4, 2, 2\)"):
            scheduler.step(np.repeat(SAMPLE, 2, axis=0), scheduler.timesteps[0], SAMPLE)


def test_steps_stay_within_the_training() -> None:
    with pytest.raises(ValueError, match="steps_offset=1 leads out of the 1000 steps"):
        schedulers.DDIMScheduler(steps_offset=1).set_timesteps(1000)
    with pytest.raises(ValueError, match="lambda_min_clipped leaves"):
        schedulers.DPMSolverMultistepScheduler(lambda_min_clipped=4.0).set_timesteps(25)


def test_config_is_read_by_attribute_and_by_key() -> None:
    config = schedulers.EulerDiscreteScheduler(steps_offset=1).config
    assert config.steps_offset == config["steps_offset"] == 1
    assert config["_class_name"] == "EulerDiscreteScheduler"
    assert "steps_offset" not in config["_use_default_values"]
    with pytest.raises(AttributeError, match="EulerDiscreteScheduler has no field 'clip_sample'"):
        _ = config.clip_sample
    with pytest.raises(KeyError):
        config["clip_sample"]


def test_a_field_of_another_scheduler_is_carried_along_and_not_used() -> None:
    source = schedulers.DDIMScheduler(rescale_betas_zero_snr=True, set_alpha_to_one=False, clip_sample=False)
    pndm = schedulers.PNDMScheduler.from_config(source.config, skip_prk_steps=True)
    assert pndm.config.rescale_betas_zero_snr is True
    assert pndm.alphas_cumprod[-1] > 0
    back = schedulers.DDIMScheduler.from_config(pndm.config)
    assert back.alphas_cumprod[-1] == 0
    assert back.config.clip_sample is False
    with pytest.raises(UnknownArgumentError, match="clip_sampel"):
        schedulers.DDIMScheduler.from_config(source.config, clip_sampel=True)


def test_folders_are_written_and_read(tmp_path: Path) -> None:
    scheduler = schedulers.EulerDiscreteScheduler(use_karras_sigmas=True, prediction_type="v_prediction")
    scheduler.save_pretrained(tmp_path / "scheduler")
    again = schedulers.EulerDiscreteScheduler.from_pretrained(tmp_path, subfolder="scheduler", steps_offset=1)
    assert (again.config.use_karras_sigmas, again.config.steps_offset) == (True, 1)
    file = tmp_path / "scheduler" / "scheduler_config.json"
    assert type(scheduler_of(json.loads(file.read_text()))) is schedulers.EulerDiscreteScheduler
    file.write_text('{"prediction_type": "colour"}')
    with pytest.raises(BundleError, match=r"scheduler_config\.json: .*'colour' is none of"):
        schedulers.EulerDiscreteScheduler.from_pretrained(tmp_path, subfolder="scheduler")
    with pytest.raises(ModelNotFoundError):
        schedulers.EulerDiscreteScheduler.from_pretrained(tmp_path)


def test_schedulers_that_are_not_here_are_named() -> None:
    with pytest.raises(UnsupportedError, match="'KDPM2DiscreteScheduler' is not supported; those that are: DDIM"):
        scheduler_of({"_class_name": "KDPM2DiscreteScheduler"})
    with pytest.raises(UnsupportedError, match="None is not supported"):
        scheduler_of({})
    with pytest.raises(AttributeError):
        _ = schedulers.KDPM2DiscreteScheduler
