"""Image generation without a model: arguments, images and masks, and the command line's files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("PIL")
from PIL import Image

from onnxpipe.diffusion.schedulers import DDIMScheduler, DPMSolverMultistepScheduler
from onnxpipe.errors import ImageError, UnknownArgumentError, UnsupportedError
from onnxpipe.processing.images.generated import (
    Target,
    are_latents,
    crop_around,
    nearest,
    repeat_to,
    to_mask,
    to_pil,
    to_pixels,
    to_unit,
)
from onnxpipe.tasks.image_generation.denoising import rescaled
from onnxpipe.tasks.image_generation.families import (
    LATENT_CONSISTENCY,
    STABLE_DIFFUSION,
    STABLE_DIFFUSION_3,
    STABLE_DIFFUSION_XL,
    embedded_guidance,
)
from onnxpipe.tasks.image_generation.request import ImageRequest, argument_names
from onnxpipe.tasks.image_generation.schedule import check_scheduler

KNOWN = argument_names()


def request(**arguments: Any) -> ImageRequest:
    return ImageRequest.of("Pipe", KNOWN, {"prompt": "a cat", **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": None}, "prompt is missing"),
        ({"prompt": 3}, "must be a text or a list of texts"),
        ({"prompt": []}, "empty list"),
        ({"prompt": ["a", 3]}, "must be a text or a list of texts"),
        ({"prompt_embeds": np.zeros((1, 77, 8))}, "both passed"),
        ({"negative_prompt": "x", "negative_prompt_embeds": np.zeros((1, 77, 8))}, "both passed"),
        ({"prompt": ["a", "b"], "negative_prompt": ["x"]}, "2 prompts and 1 negative"),
        ({"num_inference_steps": 0}, "at least 1"),
        ({"num_inference_steps": -3}, "at least 1"),
        ({"num_inference_steps": 2.5}, "whole number"),
        ({"num_images_per_prompt": 0}, "at least 1"),
        ({"height": 0}, "at least 1"),
        ({"strength": 1.1}, "from 0 to 1"),
        ({"strength": -0.1}, "from 0 to 1"),
        ({"strength": float("nan")}, "from 0 to 1"),
        ({"denoising_end": 2}, "from 0 to 1"),
        ({"guidance_scale": "high"}, "pass a number"),
        ({"guidance_rescale": 7}, "from 0 to 1"),
        ({"output_type": "pt"}, "tensors of PyTorch"),
        ({"output_type": "jpeg"}, "choose one of pil, np, latent"),
        ({"seed": 1, "generator": 2}, "both passed"),
        ({"timesteps": [1], "sigmas": [1.0]}, "both passed"),
        ({"clip_skip": -1}, "at least 0"),
        ({"max_sequence_length": 513}, "at most 512"),
        ({"padding_mask_crop": 4, "output_type": "np"}, "pil"),
        ({"ip_adapter_image": "x.png"}, "IP-Adapter"),
        ({"cross_attention_kwargs": {"scale": 0.5}}, "LoRA"),
        ({"callback": print}, "callback_on_step_end"),
        ({"skip_guidance_layers": [7]}, "all its layers"),
    ],
)
def test_arguments_that_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message) as caught:
        request(**arguments)
    assert isinstance(caught.value, ValueError)


def test_a_negative_prompt_of_another_form() -> None:
    with pytest.raises(TypeError, match="same form"):
        request(negative_prompt=["blur"])


def test_an_argument_that_is_not_known() -> None:
    with pytest.raises(UnknownArgumentError, match="did you mean 'num_inference_steps'"):
        request(num_inference_step=4)
    assert request(ip_adapter_image=None, height=None).height is None
    assert request(cross_attention_kwargs={}).prompt == "a cat"


def test_what_each_family_takes() -> None:
    assert "guidance_rescale" in STABLE_DIFFUSION.known("text-to-image")
    assert "guidance_rescale" not in STABLE_DIFFUSION.known("image-to-image")
    assert "negative_prompt" not in LATENT_CONSISTENCY.known("text-to-image")
    assert "denoising_start" in STABLE_DIFFUSION_XL.known("image-to-image")
    assert "denoising_start" not in STABLE_DIFFUSION_XL.known("text-to-image")
    assert {"prompt_3", "mu"} <= STABLE_DIFFUSION_3.known("text-to-image")
    for family in (STABLE_DIFFUSION, LATENT_CONSISTENCY, STABLE_DIFFUSION_XL, STABLE_DIFFUSION_3):
        assert all(family.known(mode) <= KNOWN for mode in family.steps)


def test_the_number_of_images() -> None:
    assert request(prompt=["a", "b"], num_images_per_prompt=3).images == 6
    assert request(prompt=None, prompt_embeds=np.zeros((2, 77, 8))).images == 2


# -- images -----------------------------------------------------------------------------------------------------------
def test_images_become_pixels_and_come_back() -> None:
    pixels = np.arange(8 * 16 * 3, dtype=np.uint8).reshape(8, 16, 3)
    made = to_pixels(Image.fromarray(pixels), Target(8))
    assert made.shape == (1, 3, 8, 16)
    assert made.dtype == np.float32
    assert np.array_equal(np.asarray(to_pil(to_unit(made))[0]), pixels)
    assert np.allclose(to_pixels(pixels / np.float32(255), Target(8)), made, atol=1e-6)
    first = (pixels / np.float32(255)).transpose(2, 0, 1)
    assert np.allclose(to_pixels(first[None], Target(8)), made, atol=1e-6)


def test_sizes_are_multiples_of_the_factor() -> None:
    assert to_pixels(Image.new("RGB", (30, 21)), Target(8)).shape == (1, 3, 16, 24)
    assert to_pixels(Image.new("RGB", (30, 21)), Target(8, 64, 32)).shape == (1, 3, 64, 32)


def test_a_mask_is_black_or_white() -> None:
    grey = Image.fromarray(np.array([[0, 127], [128, 255]], np.uint8))
    assert to_mask(grey, Target(1)).tolist() == [[[[0, 0], [1, 1]]]]
    shades = np.array([[0.0, 0.49], [0.5, 1.0]], np.float32)
    for array in (shades, shades[None], shades[..., None], shades[None, None]):
        assert to_mask(array, Target(1)).tolist() == [[[[0, 0], [1, 1]]]]


@pytest.mark.parametrize("bad", [[], np.zeros(3), np.zeros((2, 2, 2, 2, 3))])
def test_what_is_no_image(bad: Any) -> None:
    with pytest.raises(ImageError):
        to_pixels(bad, Target(8))


def test_latents_are_told_from_images() -> None:
    assert are_latents(np.zeros((1, 4, 8, 8)), 4)
    assert not are_latents(np.zeros((1, 8, 8, 3)), 4)
    assert not are_latents(np.zeros((1, 4, 4, 3)), 4)
    assert not are_latents(Image.new("RGB", (8, 8)), 4)


def test_resizing_to_the_nearest() -> None:
    values = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
    assert nearest(values, 3, 4) is values
    assert nearest(values, 1, 2).tolist() == [[[[0, 2]]]]
    assert nearest(values, 6, 4)[0, 0, :, 0].tolist() == [0, 0, 4, 4, 8, 8]


def test_the_crop_around_a_mask() -> None:
    mask = Image.new("L", (100, 80))
    mask.paste(255, (40, 30, 50, 40))
    assert crop_around(mask, 64, 64, 0) == (40, 30, 50, 40)
    assert crop_around(mask, 64, 64, 5) == (35, 25, 55, 45)
    assert crop_around(mask, 64, 128, 5) == (25, 25, 65, 45)
    with pytest.raises(UnsupportedError, match="black"):
        crop_around(Image.new("L", (9, 9)), 8, 8, 1)


def test_batches_are_shared_out() -> None:
    values = np.arange(2.0)[:, None]
    assert repeat_to(values, 4, "images", "image").ravel().tolist() == [0, 1, 0, 1]
    with pytest.raises(UnsupportedError, match="image: 2 images cannot be shared out among 3"):
        repeat_to(values, 3, "images", "image")


# -- arithmetic -------------------------------------------------------------------------------------------------------
def test_rescaled_guidance_has_the_spread_of_the_prompt() -> None:
    rng = np.random.default_rng(0)
    positive, guided = rng.standard_normal((2, 3, 4, 8, 8), dtype=np.float32) * np.float32([[[[[1]]]], [[[[5]]]]])
    full = rescaled(guided, positive, 1.0)
    assert np.allclose(full.std(axis=(1, 2, 3)), positive.std(axis=(1, 2, 3)), rtol=1e-5)
    assert np.array_equal(rescaled(guided, positive, 0.0), guided)


def test_embedded_guidance() -> None:
    made = embedded_guidance(1.0, 2, 9)
    assert made.shape == (2, 9)
    assert made[0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 0]


def test_a_scheduler_is_judged_by_its_own_fields() -> None:
    flows = DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction")
    check_scheduler(flows, STABLE_DIFFUSION_3, "model")
    with pytest.raises(UnsupportedError, match="match flows, and model"):
        check_scheduler(flows, STABLE_DIFFUSION, "model")
    carried = DDIMScheduler.from_config({"use_flow_sigmas": True})
    check_scheduler(carried, STABLE_DIFFUSION, "model")  # a field that DDIM has not
