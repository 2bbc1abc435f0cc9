"""What the tasks with an image generator share: options, one input to an image, and what an image says of itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from onnxpipe.bundle import HubOptions
from onnxpipe.engine.batching import Row
from onnxpipe.engine.scheduler import Answered, Outputs
from onnxpipe.errors import UnsupportedError
from onnxpipe.generation.seed import next_seed
from onnxpipe.models.diffusion.model import DiffusionModel
from onnxpipe.processing.images.generated import to_pil
from onnxpipe.tasks.base.call_types import CallOptions
from onnxpipe.tasks.base.option_rules import number_option
from onnxpipe.tasks.image_generation.base import ImageGenerator
from onnxpipe.tasks.image_generation.families import Mode
from onnxpipe.tasks.image_generation.loading import load_parts
from onnxpipe.tasks.image_generation.pipelines import class_for

if TYPE_CHECKING:
    from PIL.Image import Image

#: The key under which an image's `info` says how it was made: name to text.
RECORD = "generation"
#: Seeds that give different noise: PyTorch takes no more of one than its lower half.
_SEEDS = 1 << 32
#: The parts of an input; every other key is an option.
_PARTS = ("prompt", "image", "mask_image")


@dataclass(frozen=True)
class ImageGenerationOptions:
    """Options of the tasks with an image generator. None takes the model's own default.

    Attributes:
        negative_prompt: what images should not show.
        num_inference_steps: steps of denoising: 50 for most models, 1 to 8 for those that were trained for few.
        guidance_scale: how closely images follow the prompt. Above 1 each step runs twice; models trained for few steps
            want 0 or 1.
        guidance_rescale: how much of the overexposure of strong guidance is taken back.
        num_images_per_prompt: images of each prompt; several are a list.
        eta: the noise of the scheduler DDIM.
        clip_skip: layers of the text encoder that are left out at its end.
        seed: the first input's; that of each next one is 1 more. An image with the same seed, prompt and options comes
            out the same, as in diffusers with `torch.Generator("cpu").manual_seed(seed)`. None draws one, which
            `image.info["generation"]` tells.
    """

    negative_prompt: str | None = None
    num_inference_steps: int | None = number_option(None, least=1)
    guidance_scale: float | None = number_option(None, least=0)
    guidance_rescale: float | None = number_option(None, least=0, most=1)
    num_images_per_prompt: int = number_option(1, least=1)
    eta: float | None = number_option(None, least=0, most=1)
    clip_skip: int | None = number_option(None, least=0)
    seed: int | None = number_option(None, least=0)


@dataclass(frozen=True)
class SizedOptions(ImageGenerationOptions):
    """Options of the tasks that choose the size of images.

    Attributes:
        height, width: of images in pixels, multiples of 8; by default the model's.
    """

    height: int | None = number_option(None, least=1)
    width: int | None = number_option(None, least=1)


class ImageGenerationCallOptions(CallOptions, total=False):
    """The options of a call: see `ImageGenerationOptions`."""

    negative_prompt: str | None
    num_inference_steps: int | None
    guidance_scale: float | None
    guidance_rescale: float | None
    num_images_per_prompt: int | None
    eta: float | None
    clip_skip: int | None
    seed: int | None


class _Parser(Protocol):
    def __call__(self, kwargs: Mapping[str, Any], base: Any) -> Any: ...


class PromptedImages:
    """Makes the images of a task's inputs, one input at a time.

    Args:
        model: the graphs.
        mode: what images start from.
        low_memory: close each graph when its step is done.
        parts: a scheduler, a VAE or a safety checker instead of the model's, by name.

    Attributes:
        generator: the pipeline with diffusers' name.
    """

    #: Options that the generator gets by the same name.
    _same: ClassVar[frozenset[str]] = frozenset(
        {"negative_prompt", "num_inference_steps", "guidance_scale", "guidance_rescale", "num_images_per_prompt", "eta",
         "clip_skip", "height", "width", "strength", "prompt"}
    )  # fmt: skip

    def __init__(self, model: Any, mode: Mode, low_memory: bool, parts: Mapping[str, Any]) -> None:
        if not isinstance(model, DiffusionModel):
            raise UnsupportedError(f"{mode} needs an image generator, and the model is a {type(model).__name__}")
        given = {name: part for name, part in parts.items() if part is not None}
        self.generator: ImageGenerator = class_for(model, mode)(model=model, **load_parts(model, given, HubOptions()))
        self.generator.set_progress_bar_config(leave=False)
        model.graphs.low_memory = low_memory

    def row(self, value: Mapping[str, Any], options: Any, parse: _Parser) -> Row:
        """Make the row of an input.

        Args:
            value: its prompt and images, and options of its own.
            options: of the call.
            parse: reads options.
        """
        own = {name: each for name, each in value.items() if name not in _PARTS}
        seed = own.get("seed")
        options = parse(own, options) if own else options
        arguments = {name: getattr(options, name) for name in self._same if hasattr(options, name)}
        arguments |= {name: value[name] for name in _PARTS if value.get(name) is not None}
        return Row({}, 1, ({name: each for name, each in arguments.items() if each is not None}, seed))

    def run(self, rows: Sequence[Row], options: Any) -> list[Outputs]:
        """Make the images of each row: "images", float32 (images, height, width, 3), and its "seed"."""
        outputs: list[Outputs] = []
        for row in rows:
            arguments, seed = row.extra
            seed = (options.seed if row.seed is None else row.seed) + row.index if seed is None else seed
            made = self.generator.generate({**arguments, "seed": seed, "output_type": "np"})
            outputs.append({"images": made.images, "seed": np.array(seed, np.uint64)})
        return outputs

    def answer(self, rows: Answered) -> Image | list[Image]:
        """Turn a row's images into a PIL image, or a list of them; their `info` says how they were made."""
        ((row, outputs),) = rows
        images = to_pil(outputs["images"])
        for number, image in enumerate(images):
            image.info[RECORD] = self._record(row.extra[0], int(outputs["seed"]), number, len(images))
        return images[0] if len(images) == 1 else images

    def _record(self, arguments: Mapping[str, Any], seed: int, number: int, count: int) -> dict[str, str]:
        generator = self.generator
        known = generator.family
        record = {
            "prompt": arguments.get("prompt", ""),
            "negative_prompt": arguments.get("negative_prompt", ""),
            "seed": seed,
            "image": f"{number + 1} of {count}" if count > 1 else "",
            "scheduler": type(generator.scheduler).__name__,
            "num_inference_steps": arguments.get("num_inference_steps", known.steps[generator.mode]),
            "guidance_scale": arguments.get("guidance_scale", known.guidance[generator.mode]),
            "strength": arguments.get("strength", known.strength.get(generator.mode, "")),
            "model": generator.model.name_or_path,
            "precision": generator.model.precision,
        }
        return {name: str(value) for name, value in record.items() if value != ""}


def with_seed(options: Any) -> Any:
    """Return options with a seed, drawn if they have none."""
    return replace(options, seed=next_seed() % _SEEDS) if options.seed is None else options


def generation_options() -> frozenset[str]:
    """List the names of the options that only an image generator has."""
    return frozenset(field.name for field in dataclasses.fields(ImageGenerationOptions))
