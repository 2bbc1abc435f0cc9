"""Image generation: the pipelines with diffusers' names make diffusers' images, from the same seeds."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

import onnxpipe  # noqa: E402 - not without PyTorch
from onnxpipe.diffusion import schedulers  # noqa: E402
from zoo import DIFFUSION  # noqa: E402
from zoo.cache import cached_bundle, cached_model  # noqa: E402

#: Float images, in [0, 1], that came through some steps of a random denoiser, which magnifies differences.
CLOSE = 1e-3
GREY = 1
#: Pipelines of the zoo without T5, which diffusers wants to be told.
_LACKING = {"sd35": {"text_encoder_3": None, "tokenizer_3": None}}


@dataclasses.dataclass(frozen=True)
class Pair:
    """The same pipeline here and in diffusers."""

    ours: Any
    theirs: Any

    def check(self, seed: int | list[int] = 42, **arguments: Any) -> tuple[Any, Any]:
        """Call both, and compare the images; return both answers."""
        theirs = self.theirs(generator=torch_generators(seed), output_type="np", **arguments)
        ours = self.ours(seed=seed, output_type="np", **arguments)
        compare(ours.images, theirs.images)
        return ours, theirs


def torch_generators(seed: int | list[int]) -> Any:
    if isinstance(seed, list):
        return [torch.Generator().manual_seed(one) for one in seed]
    return torch.Generator().manual_seed(seed)


def compare(ours: Any, theirs: Any) -> None:
    assert ours.shape == theirs.shape
    assert ours.dtype == np.float32
    assert np.abs(ours - theirs).max() < CLOSE
    assert np.abs((ours * 255).round() - (theirs * 255).round()).max() <= GREY


@cache
def originals(name: str) -> Any:
    pipe = diffusers.DiffusionPipeline.from_pretrained(cached_model(name, DIFFUSION), **_LACKING.get(name, {}))
    pipe.set_progress_bar_config(disable=True)
    return pipe


@cache
def loaded(name: str) -> Any:
    """Our pipeline of a folder, whose graphs all tests share."""
    return onnxpipe.DiffusionPipeline.from_pretrained(cached_bundle(name, DIFFUSION))


def pair(name: str, kind: str | None = None, scheduler: str | None = None, **config: Any) -> Pair:
    """Load both pipelines.

    Args:
        name: of the zoo's family.
        kind: the class, if it is not the folder's own.
        scheduler: the class of another scheduler.
        **config: its fields.
    """
    theirs = originals(name)
    cls = getattr(diffusers, kind or type(theirs).__name__)
    theirs = cls(
        **{part: value for part, value in theirs.components.items() if part in expected(cls)}, **switches(cls, name)
    )
    theirs.set_progress_bar_config(disable=True)
    ours = (getattr(onnxpipe, kind) if kind else type(loaded(name)))(**loaded(name).components)
    chosen = scheduler or type(theirs.scheduler).__name__
    theirs.scheduler = getattr(diffusers, chosen).from_config(theirs.scheduler.config, **config)
    ours.scheduler = getattr(schedulers, chosen).from_config(ours.scheduler.config, **config)
    return Pair(ours, theirs)


def expected(cls: Any) -> set[str]:
    names, _ = cls._get_signature_keys(cls)
    return set(names)


def switches(cls: Any, name: str) -> dict[str, Any]:
    """The switches of a pipeline that stand in its index."""
    _, options = cls._get_signature_keys(cls)
    return {key: value for key, value in originals(name).config.items() if key in options}


@cache
def scene(height: int = 64, width: int = 64) -> Image.Image:
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([rows * 255 // height, columns * 255 // width, (rows ^ columns) % 256], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


@cache
def mask(height: int = 64, width: int = 64) -> Image.Image:
    shades = np.zeros((height, width), np.uint8)
    shades[height // 4 : height // 2, width // 4 : 3 * width // 4] = 255
    return Image.fromarray(shades)


PROMPTS = ["a lighthouse at dusk", "a cat on a roof"]
SCHEDULERS = [
    ("DDIMScheduler", {}),
    ("DDPMScheduler", {}),
    ("PNDMScheduler", {}),
    ("LMSDiscreteScheduler", {}),
    ("EulerDiscreteScheduler", {}),
    ("EulerDiscreteScheduler", {"timestep_spacing": "trailing", "use_karras_sigmas": True}),
    ("EulerAncestralDiscreteScheduler", {}),
    ("HeunDiscreteScheduler", {}),
    ("DPMSolverMultistepScheduler", {}),
    ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True}),
    ("UniPCMultistepScheduler", {}),
    ("LCMScheduler", {}),
]
every_scheduler = pytest.mark.parametrize(
    ("scheduler", "config"), SCHEDULERS, ids=[f"{name}{'-'.join(config)}" for name, config in SCHEDULERS]
)


# -- images of prompts ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["sd", "sd2", "turbo", "sdxl", "lcm", "sd3", "sd35"])
@pytest.mark.parametrize("seed", [42, [1, 2, 3, 4]], ids=["seed", "seeds"])
def test_images_of_prompts(name: str, seed: Any) -> None:
    width = 80 if name.startswith("sd3") else 72  # which is an odd number of latents
    pair(name).check(seed, prompt=PROMPTS, num_images_per_prompt=2, num_inference_steps=3, height=64, width=width)


@every_scheduler
def test_schedulers(scheduler: str, config: Mapping[str, Any]) -> None:
    pair("sd", scheduler=scheduler, **config).check(prompt=PROMPTS[0], num_inference_steps=5)


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
    told = {"original_size": (512, 256), "target_size": (128, 96), "crops_coords_top_left": (8, 16)}
    both.check(prompt=PROMPTS, num_inference_steps=2, **told)
    told |= {"negative_original_size": (100, 50), "negative_target_size": (64, 64),
             "negative_crops_coords_top_left": (1, 2)}  # fmt: skip
    both.check(prompt=PROMPTS, num_inference_steps=2, **told)


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


def test_skipped_layers_of_two_encoders() -> None:
    pair("sdxl").check(prompt=PROMPTS[0], num_inference_steps=2, clip_skip=1)


# -- images from images -----------------------------------------------------------------------------------------------
@every_scheduler
def test_images_from_images(scheduler: str, config: Mapping[str, Any]) -> None:
    both = pair("sd", "StableDiffusionImg2ImgPipeline", scheduler, **config)
    both.check(prompt=PROMPTS[0], image=scene(), num_inference_steps=6, strength=0.6)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("turbo", "StableDiffusionImg2ImgPipeline"), ("sdxl", "StableDiffusionXLImg2ImgPipeline"),
     ("sdxl-refiner", "StableDiffusionXLImg2ImgPipeline"), ("lcm", "LatentConsistencyModelImg2ImgPipeline"),
     ("sd3", "StableDiffusion3Img2ImgPipeline")],
)  # fmt: skip
@pytest.mark.parametrize("seed", [42, [1, 2, 3, 4]], ids=["seed", "seeds"])
def test_images_from_images_of_families(name: str, kind: str, seed: Any) -> None:
    size = {} if name != "sd3" else {"height": 64, "width": 80}
    image: Any = scene(70, 85)
    if name == "sd3" and isinstance(seed, list):
        image = [image] * 4  # diffusers does not repeat the image there
    both = pair(name, kind)
    both.check(seed, prompt=PROMPTS, image=image, num_images_per_prompt=2, num_inference_steps=5, **size)


def test_several_images() -> None:
    both = pair("sd", "StableDiffusionImg2ImgPipeline", "DDIMScheduler")
    images = [scene(), mask().convert("RGB")]
    both.check([3, 4], prompt=PROMPTS, image=images, num_inference_steps=4, strength=0.5)


def test_images_as_arrays() -> None:
    both = pair("sd", "StableDiffusionImg2ImgPipeline", "DDIMScheduler")
    pixels = np.asarray(scene(70, 85), np.float32) / 255
    both.check(prompt=PROMPTS[0], image=pixels, num_inference_steps=4, strength=0.5)
    channels_first = torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy())
    both.check(prompt=PROMPTS[0], image=channels_first, num_inference_steps=4, strength=0.5)


@pytest.mark.parametrize("scheduler", ["EulerDiscreteScheduler", "HeunDiscreteScheduler", "DDIMScheduler"])
def test_a_base_and_its_refiner(scheduler: str) -> None:
    """The second pipeline goes on where the first one stopped."""
    base = pair("sdxl", scheduler=scheduler)
    refiner = pair("sdxl-refiner", "StableDiffusionXLImg2ImgPipeline", scheduler)
    first = {"prompt": PROMPTS, "num_inference_steps": 10, "denoising_end": 0.6, "output_type": "latent"}
    theirs = base.theirs(generator=torch_generators(42), **first).images
    ours = base.ours(seed=42, **first).images
    assert np.abs(ours - theirs.numpy()).max() < 1e-3
    second = {"prompt": PROMPTS, "num_inference_steps": 10, "denoising_start": 0.6, "output_type": "np"}
    theirs = refiner.theirs(image=theirs, generator=torch_generators(1), **second).images
    compare(refiner.ours(image=ours, seed=1, **second).images, theirs)


def test_two_parts_are_one_run() -> None:
    base, rest = pair("sdxl"), pair("sdxl", "StableDiffusionXLImg2ImgPipeline")
    whole = base.ours(PROMPTS[0], num_inference_steps=8, seed=1, output_type="np").images
    half = base.ours(PROMPTS[0], num_inference_steps=8, seed=1, denoising_end=0.5, output_type="latent").images
    two = rest.ours(PROMPTS[0], image=half, num_inference_steps=8, denoising_start=0.5, output_type="np").images
    assert np.abs(two - whole).max() < CLOSE


# -- painting into images ---------------------------------------------------------------------------------------------
@every_scheduler
@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_painting(scheduler: str, config: Mapping[str, Any], strength: float) -> None:
    both = pair("sd", "StableDiffusionInpaintPipeline", scheduler, **config)
    parts = {"image": scene(), "mask_image": mask()}
    both.check(prompt=PROMPTS[0], num_inference_steps=5, strength=strength, **parts)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("sd-inpaint", "StableDiffusionInpaintPipeline"), ("sdxl", "StableDiffusionXLInpaintPipeline")],
)
@pytest.mark.parametrize("strength", [1.0, 0.6])
@pytest.mark.parametrize("seed", [42, [1, 2, 3, 4]], ids=["seed", "seeds"])
def test_painting_of_families(name: str, kind: str, strength: float, seed: Any) -> None:
    parts = {"image": scene(70, 85), "mask_image": mask(90, 40), "height": 64, "width": 80}
    both = pair(name, kind)
    both.check(seed, prompt=PROMPTS, num_images_per_prompt=2, num_inference_steps=4, strength=strength, **parts)


@pytest.mark.parametrize("strength", [1.0, 0.6])
@pytest.mark.parametrize("seed", [42, [1, 2]], ids=["seed", "seeds"])
def test_painting_of_flows(strength: float, seed: Any) -> None:
    """Latents are compared: diffusers 0.42 forgets to add the VAE's shift there before it decodes them."""
    both = pair("sd3", "StableDiffusion3InpaintPipeline")
    arguments = {"prompt": PROMPTS, "image": scene(70, 85), "mask_image": mask(90, 40), "height": 64, "width": 80,
                 "num_inference_steps": 4, "strength": strength, "output_type": "latent"}  # fmt: skip
    theirs = both.theirs(generator=torch_generators(seed), **arguments).images
    assert np.abs(both.ours(seed=seed, **arguments).images - theirs.numpy()).max() < CLOSE


def test_painting_around_the_mask() -> None:
    both = pair("sd", "StableDiffusionInpaintPipeline", "DDIMScheduler")
    small = Image.new("L", (150, 100))
    small.paste(255, (60, 30, 90, 50))
    arguments = {"prompt": PROMPTS[0], "image": scene(100, 150), "mask_image": small, "padding_mask_crop": 8,
                 "num_inference_steps": 3}  # fmt: skip
    theirs = both.theirs(generator=torch_generators(42), **arguments).images[0]
    ours = both.ours(seed=42, **arguments).images[0]
    assert ours.size == theirs.size == (150, 100)
    assert np.abs(np.asarray(ours, int) - np.asarray(theirs, int)).max() <= GREY


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


# -- memory -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [(64, 64), (104, 152)])
def test_images_in_tiles(size: tuple[int, int]) -> None:
    both = pair("sd", "StableDiffusionImg2ImgPipeline", "DDIMScheduler")
    both.theirs.vae.enable_tiling()
    both.ours.enable_vae_tiling()
    try:
        both.check(prompt=PROMPTS[0], image=scene(*size), num_inference_steps=2, strength=0.5)
    finally:
        both.theirs.vae.disable_tiling()
        both.ours.disable_vae_tiling()


def test_graphs_are_closed_after_use() -> None:
    folder = cached_bundle("sd", DIFFUSION)
    plain = onnxpipe.StableDiffusionPipeline.from_pretrained(folder)
    frugal = onnxpipe.StableDiffusionPipeline.from_pretrained(folder, low_memory=True)
    arguments: dict[str, Any] = {"num_inference_steps": 2, "seed": 1, "output_type": "np"}
    assert np.array_equal(plain(PROMPTS[0], **arguments).images, frugal(PROMPTS[0], **arguments).images)
    assert sorted(plain.model.graphs.opened) == ["safety_checker", "text_encoder", "unet", "vae_decoder"]
    assert frugal.model.graphs.opened == []


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
