"""Image generation from prompts: the images of diffusers from the same seeds, the answers, and calls between steps."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

pytest.importorskip("diffusers")

import diffusers
import torch

import onnxpipe
from conformance.diffusion_pairs import (
    CLOSE,
    GREY,
    PROMPTS,
    Pair,
    compare,
    every_scheduler,
    mask,
    pair,
    scene,
    torch_generators,
)
from onnxpipe.diffusion import schedulers
from onnxpipe.errors import UnknownArgumentError
from zoo import DIFFUSION
from zoo.cache import cached_bundle, cached_model


# -- images of prompts ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["sd", "sd2", "turbo", "sdxl", "lcm", "sd3", "sd35"])
@pytest.mark.parametrize("seed", [42, [1, 2, 3, 4]], ids=["seed", "seeds"])
def test_images_of_prompts(name: str, seed: Any) -> None:
    width = 80 if name.startswith("sd3") else 72  # which is an odd number of latents
    pair(name).check(seed, prompt=PROMPTS, num_images_per_prompt=2, num_inference_steps=3, height=64, width=width)


@every_scheduler
def test_schedulers(scheduler: str, config: Mapping[str, Any]) -> None:
    pair("sd", scheduler=scheduler, **config).check(prompt=PROMPTS[0], num_inference_steps=5)


@pytest.mark.parametrize("kind", ["", "Inpaint"])
def test_outdated_schedulers_are_mended(kind: str) -> None:
    """Pipelines of diffusers change such fields of the scheduler that they are built with."""
    fields: dict[str, Any] = {"steps_offset": 0, "skip_prk_steps": True} if kind else {"steps_offset": 0}
    scheduler, fields = ("PNDMScheduler", fields) if kind else ("DDIMScheduler", {**fields, "clip_sample": True})
    both, name = pair("sd"), f"StableDiffusion{kind}Pipeline"
    pipes = []
    for pipe, library in ((both.ours, onnxpipe), (both.theirs, diffusers)):
        outdated = getattr(library, scheduler).from_config(pipe.scheduler.config, **fields)
        more = {"requires_safety_checker": False} if library is diffusers else {}
        pipes.append(getattr(library, name)(**{**pipe.components, "scheduler": outdated}, **more))
        assert pipes[-1].scheduler.config["steps_offset"] == 1
    images = {"image": scene(), "mask_image": mask()} if kind else {}
    Pair(*pipes).check(prompt=PROMPTS[0], num_inference_steps=3, **images)


@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_noise_of_ddim(eta: float) -> None:
    pair("sd2").check(prompt=PROMPTS, num_inference_steps=4, eta=eta)


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3"])
def test_negative_prompts(name: str) -> None:
    both = pair(name)
    both.check(prompt=PROMPTS, negative_prompt=["blur", ""], num_inference_steps=2, guidance_scale=4.0)
    both.check(prompt=PROMPTS[0], negative_prompt="blur", num_inference_steps=2, num_images_per_prompt=2)
    both.check(prompt=PROMPTS[0], negative_prompt="blur", num_inference_steps=2, guidance_scale=1.0)


def test_prompts_for_each_encoder() -> None:
    more = {"prompt_2": "oil on canvas", "negative_prompt": "blur", "negative_prompt_2": "noise"}
    pair("sdxl").check(prompt=PROMPTS[0], num_inference_steps=2, **more)
    more |= {"prompt_3": "a stormy sea", "negative_prompt_3": "a photo", "max_sequence_length": 40}
    pair("sd3").check(prompt=PROMPTS[0], num_inference_steps=2, **more)


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_rescaled_guidance(name: str) -> None:
    pair(name).check(prompt=PROMPTS, num_inference_steps=3, guidance_rescale=0.7)


def test_sizes_that_sdxl_is_told() -> None:
    both = pair("sdxl")
    sizes = {"original_size": (512, 256), "target_size": (128, 96), "crops_coords_top_left": (8, 16)}
    both.check(prompt=PROMPTS, num_inference_steps=2, **sizes)
    sizes |= {"negative_original_size": (100, 50), "negative_target_size": (64, 64),
             "negative_crops_coords_top_left": (1, 2)}  # fmt: skip
    both.check(prompt=PROMPTS, num_inference_steps=2, **sizes)


def test_timesteps_and_sigmas() -> None:
    pair("sd", scheduler="EulerDiscreteScheduler").check(prompt=PROMPTS[0], sigmas=[14.6, 3.0, 0.5, 0.0])
    pair("sd", scheduler="DDPMScheduler").check(prompt=PROMPTS[0], timesteps=[900, 500, 100], num_inference_steps=None)
    pair("sd3").check(prompt=PROMPTS[0], sigmas=[1.0, 0.6, 0.2])


def test_embeddings_and_latents() -> None:
    both, rng = pair("sd"), np.random.default_rng(3)
    embeds, negative = rng.standard_normal((2, 2, 77, 32), dtype=np.float32)
    latents = rng.standard_normal((2, 4, 8, 8), dtype=np.float32)
    arrays = {"prompt_embeds": embeds, "negative_prompt_embeds": negative, "latents": latents}
    theirs = both.theirs(
        num_inference_steps=2, output_type="np", **{name: torch.from_numpy(value) for name, value in arrays.items()}
    )
    compare(both.ours(num_inference_steps=2, output_type="np", **arrays).images, theirs.images)


def test_latents_with_statistics_of_each_channel(tmp_path: Path) -> None:
    """VAEs of SDXL's size and form by others: latents have a mean and a standard deviation for each channel."""
    statistics = {"latents_mean": [0.1, -0.2, 0.3, 0.05], "latents_std": [1.2, 0.8, 0.9, 1.1]}
    folders = {}
    for cached, parts in ((cached_model, ["vae"]), (cached_bundle, ["vae_encoder", "vae_decoder"])):
        folders[cached] = tmp_path / cached.__name__
        shutil.copytree(cached("sdxl", DIFFUSION), folders[cached])
        for part in parts:
            path = folders[cached] / part / "config.json"
            path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **statistics}))
    (folders[cached_bundle] / "bundle.json").unlink()
    for kind, images in (("", {}), ("Img2Img", {"image": scene(), "strength": 0.6})):
        cls = f"StableDiffusionXL{kind}Pipeline"
        theirs = getattr(diffusers, cls).from_pretrained(folders[cached_model])
        theirs.set_progress_bar_config(disable=True)
        ours = getattr(onnxpipe, cls).from_pretrained(folders[cached_bundle])
        Pair(ours, theirs).check(prompt=PROMPTS[0], num_inference_steps=3, **images)


@pytest.mark.parametrize(("name", "shift"), [("sd3", {}), ("sd3", {"use_dynamic_shifting": True})])
def test_shifts_of_flows(name: str, shift: dict[str, Any]) -> None:
    pair(name, scheduler="FlowMatchEulerDiscreteScheduler", **shift).check(prompt=PROMPTS[0], num_inference_steps=3)


def test_guidance_of_consistency_models() -> None:
    for scale in (1.0, 8.5):
        pair("lcm").check(prompt=PROMPTS[0], num_inference_steps=2, guidance_scale=scale, original_inference_steps=40)


@pytest.mark.parametrize("skipped", [1, 2])
def test_skipped_layers(skipped: int) -> None:
    """diffusers fails there with this transformers, so the prompt's embeddings are worked out from its layers."""
    both = pair("sd")
    encoder, tokenizer = both.theirs.text_encoder, both.theirs.tokenizer
    ids = tokenizer(PROMPTS[0], padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        states = encoder(ids, output_hidden_states=True).hidden_states[-1 - skipped]
        norm = getattr(encoder, "text_model", encoder).final_layer_norm
        theirs = both.theirs(
            prompt_embeds=norm(states), num_inference_steps=2, generator=torch_generators(5), output_type="np"
        )
    ours = both.ours(PROMPTS[0], num_inference_steps=2, seed=5, output_type="np", clip_skip=skipped)
    compare(ours.images, theirs.images)


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "lcm"])
@pytest.mark.parametrize("guided", [True, False])
def test_encoded_prompts(name: str, guided: bool) -> None:
    both = pair(name)
    several = {
        other: None for other in ("prompt_2", "prompt_3") if other in both.theirs.encode_prompt.__code__.co_varnames
    }
    arguments = {"num_images_per_prompt": 2, "do_classifier_free_guidance": guided and name != "lcm"}
    negative = {} if name == "lcm" else {"negative_prompt": "blur"}
    with torch.no_grad():
        theirs = both.theirs.encode_prompt(PROMPTS[0], device="cpu", **several, **negative, **arguments)
    ours = both.ours.encode_prompt(PROMPTS[0], device="cpu", **negative, **arguments)
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine is None) == (other is None)
        if mine is not None:
            assert np.abs(mine - other.numpy()).max() < CLOSE
    with pytest.raises(UnknownArgumentError, match="encode_prompt got an unexpected keyword argument 'strength'"):
        both.ours.encode_prompt(PROMPTS[0], strength=0.5)


def test_attributes_that_code_for_diffusers_reads() -> None:
    both = pair("sd")
    names = {each.__name__ for each in both.theirs.scheduler.compatibles}
    assert {each.__name__ for each in both.ours.scheduler.compatibles} == names & set(schedulers.SCHEDULERS)
    for pipe in (both.ours, both.theirs):
        assert pipe.unet.config.sample_size == 8
        assert pipe.vae.config.scaling_factor == 0.18215
        pipe.vae.enable_tiling()
        pipe.vae.disable_tiling()
    assert not both.ours.vae.tiling
    assert both.ours.config["_class_name"] == both.ours.config._class_name == "StableDiffusionPipeline"
    with pytest.raises(AttributeError, match="has no 'sample_sise'"):
        _ = both.ours.unet.config.sample_sise


def test_skipped_layers_of_two_encoders() -> None:
    pair("sdxl").check(prompt=PROMPTS[0], num_inference_steps=2, clip_skip=1)


# -- what comes back --------------------------------------------------------------------------------------------------
def test_kinds_of_output() -> None:
    both = pair("sd")
    arguments = {"prompt": PROMPTS, "num_inference_steps": 2}
    theirs = both.theirs(generator=torch_generators(42), **arguments)
    ours = both.ours(seed=42, **arguments)
    assert [image.size for image in ours.images] == [image.size for image in theirs.images]
    for mine, other in zip(ours.images, theirs.images, strict=True):
        assert np.abs(np.asarray(mine, int) - np.asarray(other, int)).max() <= GREY
    assert list(ours) == list(theirs)
    images, flags = both.ours(seed=42, return_dict=False, **arguments)
    assert np.array_equal(np.asarray(images[0]), np.asarray(ours.images[0]))
    assert flags == ours.nsfw_content_detected == [False, False]
    assert ours[0] is ours.images is ours["images"]
    latents = both.ours(seed=42, output_type="latent", **arguments).images
    reference = both.theirs(generator=torch_generators(42), output_type="latent", **arguments).images
    assert np.abs(latents - reference.numpy()).max() < 1e-3


def test_generators_of_pytorch_move_on() -> None:
    """A generator goes on from call to call, in both."""
    both = pair("sd")
    generator, ours = torch.Generator().manual_seed(7), onnxpipe.Generator().manual_seed(7)
    for _ in range(2):
        theirs = both.theirs(PROMPTS[0], num_inference_steps=2, generator=generator, output_type="np")
        mine = both.ours(PROMPTS[0], num_inference_steps=2, generator=ours, output_type="np")
        compare(mine.images, theirs.images)


def test_what_the_safety_checker_finds() -> None:
    """The zoo's checker finds something in light images."""
    both = pair("sd")
    shades = np.array([0.0, 0.2, 0.8, 1.0], np.float32)
    images = np.broadcast_to(shades[:, None, None, None], (4, 64, 64, 3))
    tensors = torch.from_numpy(images.transpose(0, 3, 1, 2) * 2 - 1)
    _, found = both.theirs.run_safety_checker(tensors, "cpu", torch.float32)
    assert both.ours.safety_checker(images) == found
    assert set(found) == {True, False}


def test_images_that_were_found_are_black(caplog: pytest.LogCaptureFixture) -> None:
    def find(images: Any, device: Any, dtype: Any) -> Any:
        images[1] = 0.0
        return images, [False, True]

    class FindsTheSecond:
        def __call__(self, images: Any) -> list[bool]:
            return [False, True]

        def release(self) -> None:
            pass

    both = pair("sd")
    both.theirs.run_safety_checker, both.ours.safety_checker = find, FindsTheSecond()
    ours, theirs = both.check(prompt=PROMPTS, num_inference_steps=1)
    assert ours.nsfw_content_detected == theirs.nsfw_content_detected == [False, True]
    assert not ours.images[1].any()
    assert "the safety checker replaced image 2 by black" in caplog.text


def test_no_safety_checker(caplog: pytest.LogCaptureFixture) -> None:
    pipe = onnxpipe.StableDiffusionPipeline.from_pretrained(cached_bundle("sd", DIFFUSION), safety_checker=None)
    assert "You have disabled the safety checker" in caplog.text
    assert pipe(PROMPTS[0], num_inference_steps=1).nsfw_content_detected is None


# -- between steps ----------------------------------------------------------------------------------------------------
def test_callbacks_see_and_replace_arrays() -> None:
    both = pair("sd", scheduler="DDIMScheduler")

    def halve(pipe: Any, step: int, timestep: Any, arrays: dict[str, Any]) -> dict[str, Any]:
        seen.append((step, int(timestep), sorted(arrays)))
        return {"latents": arrays["latents"] * 0.5}

    def stop_guiding(pipe: Any, step: int, timestep: Any, arrays: dict[str, Any]) -> dict[str, Any]:
        if step != 1:
            return arrays
        pipe._guidance_scale = 0.0
        half = len(arrays["prompt_embeds"]) // 2
        return {**arrays, "prompt_embeds": arrays["prompt_embeds"][half:]}

    names = ["latents", "prompt_embeds"]
    for callback in (halve, stop_guiding):
        runs = []
        for pipe, seed in ((both.theirs, {"generator": torch_generators(42)}), (both.ours, {"seed": 42})):
            seen: list[Any] = []
            made = pipe(PROMPTS[0], num_inference_steps=4, output_type="np", callback_on_step_end=callback,
                        callback_on_step_end_tensor_inputs=names, **seed)  # fmt: skip
            runs.append((made.images, list(seen)))
        compare(runs[1][0], runs[0][0])
        assert runs[0][1] == runs[1][1]


class ChangesPrompts:
    """A callback as those of diffusers, which says itself which arrays it wants."""

    tensor_inputs: ClassVar[list[str]] = ["latents", "prompt_embeds"]

    def __call__(self, pipe: Any, step: int, timestep: Any, arrays: dict[str, Any]) -> dict[str, Any]:
        assert sorted(arrays) == self.tensor_inputs
        arrays["prompt_embeds"][-1] *= 0.5  # where it lies
        return {"latents": arrays["latents"] * 0.9}


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3"])
def test_callbacks_change_what_diffusers_lets_them(name: str) -> None:
    def change(pipe: Any, step: int, timestep: Any, arrays: dict[str, Any]) -> dict[str, Any]:
        return {name: array * 0.9 for name, array in arrays.items()}

    both = pair(name)
    theirs = [each for each in type(both.theirs)._callback_tensor_inputs if not each.startswith("negative")]
    arguments = {"prompt": PROMPTS[0], "num_inference_steps": 3}
    both.check(callback_on_step_end=change, callback_on_step_end_tensor_inputs=theirs, **arguments)
    for kind in ("Img2Img", "Inpaint"):
        cls = type(both.theirs).__name__.replace("Pipeline", f"{kind}Pipeline")
        allowed = set(getattr(diffusers, cls)._callback_tensor_inputs)
        assert allowed <= set(getattr(onnxpipe, cls).family.shown(getattr(onnxpipe, cls).mode))


def test_callbacks_that_say_what_they_want() -> None:
    both = pair("sd")
    inputs = {"callback_on_step_end_tensor_inputs": ChangesPrompts.tensor_inputs}
    theirs = both.theirs(PROMPTS[0], num_inference_steps=3, generator=torch_generators(42), output_type="np",
                         callback_on_step_end=ChangesPrompts(), **inputs)  # fmt: skip
    ours = both.ours(
        PROMPTS[0], num_inference_steps=3, seed=42, output_type="np", callback_on_step_end=ChangesPrompts()
    )
    compare(ours.images, theirs.images)


def test_negative_prompts_that_callbacks_return_take_effect() -> None:
    """diffusers has joined them to the prompts by then, and reads them no more."""
    ours, images = pair("sd").ours, []

    def negative(pipe: Any, step: int, timestep: Any, arrays: dict[str, Any]) -> dict[str, Any]:
        return {"negative_prompt_embeds": arrays["negative_prompt_embeds"] * 0.5}

    def joined(pipe: Any, step: int, timestep: Any, arrays: dict[str, Any]) -> dict[str, Any]:
        embeds = arrays["prompt_embeds"].copy()
        embeds[:1] *= 0.5
        return {"prompt_embeds": embeds, "negative_prompt_embeds": arrays["negative_prompt_embeds"]}

    def nothing(pipe: Any, step: int, timestep: Any, arrays: dict[str, Any]) -> dict[str, Any]:
        return arrays

    names = ["latents", "prompt_embeds", "negative_prompt_embeds"]
    for callback in (nothing, joined, negative):
        made = ours(PROMPTS[0], num_inference_steps=3, seed=42, output_type="np", callback_on_step_end=callback,
                    callback_on_step_end_tensor_inputs=names)  # fmt: skip
        images.append(made.images)
    assert np.array_equal(images[1], images[2])
    assert not np.array_equal(images[0], images[1])


def test_an_interrupted_run_ends_early() -> None:
    both = pair("sd", scheduler="DDIMScheduler")

    def interrupt(pipe: Any, step: int, timestep: Any, arrays: dict[str, Any]) -> dict[str, Any]:
        pipe._interrupt = step == 1
        return arrays

    both.check(prompt=PROMPTS[0], num_inference_steps=5, callback_on_step_end=interrupt)
    assert not both.ours.interrupt


def test_ctrl_c_between_steps_leaves_the_pipeline_usable() -> None:
    both = pair("sd", scheduler="PNDMScheduler")

    def press(pipe: Any, step: int, timestep: Any, arrays: dict[str, Any]) -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        both.ours(PROMPTS[0], num_inference_steps=5, callback_on_step_end=press)
    both.check(prompt=PROMPTS[0], num_inference_steps=3)


# -- folders ----------------------------------------------------------------------------------------------------------
def test_the_class_is_that_of_the_folder() -> None:
    kinds = {
        "sd": "StableDiffusionPipeline", "sd-inpaint": "StableDiffusionInpaintPipeline",
        "sdxl-refiner": "StableDiffusionXLImg2ImgPipeline", "sd3": "StableDiffusion3Pipeline",
    }  # fmt: skip
    for name, kind in kinds.items():
        assert type(onnxpipe.DiffusionPipeline.from_pretrained(cached_bundle(name, DIFFUSION))).__name__ == kind


def test_auto_pipelines_choose_the_family() -> None:
    folder = cached_bundle("sdxl", DIFFUSION)
    text = onnxpipe.AutoPipelineForText2Image.from_pretrained(folder)
    image = onnxpipe.AutoPipelineForImage2Image.from_pipe(text)
    paint = onnxpipe.AutoPipelineForInpainting.from_pipe(image)
    assert [type(each).__name__ for each in (text, image, paint)] == [
        "StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline",
    ]  # fmt: skip
    assert paint.model is text.model


def test_pytorch_is_not_needed(tmp_path: Path) -> None:
    """The images are the same in a process that cannot import PyTorch, transformers or diffusers."""
    folder, target = cached_bundle("sd", DIFFUSION), tmp_path / "images.npy"
    code = f"""
import sys
for name in ("torch", "transformers", "diffusers", "onnx", "scipy"):
    sys.modules[name] = None
import numpy, onnxpipe
pipe = onnxpipe.DiffusionPipeline.from_pretrained({str(folder)!r}, torch_dtype="float32", use_safetensors=True)
pipe.to("cpu")
images = pipe(prompt={PROMPTS!r}, num_inference_steps=2, seed=3, output_type="np").images
numpy.save({str(target)!r}, images)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    here = onnxpipe.DiffusionPipeline.from_pretrained(folder)(
        PROMPTS, num_inference_steps=2, seed=3, output_type="np"
    )  # fmt: skip
    assert np.array_equal(np.load(target), here.images)
