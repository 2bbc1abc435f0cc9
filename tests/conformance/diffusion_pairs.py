"""Pipelines of diffusers beside ours, with the same scheduler and seeds, and the inputs that both get."""

from __future__ import annotations

import dataclasses
from functools import cache
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
#: Pipelines of the zoo without T5, which diffusers takes as arguments of None.
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
