"""image-to-image: turn images into images: larger ones, as transformers 4 does, or others by a prompt, as diffusers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Unpack, overload

import numpy as np

from onnxpipe.engine.batching import Row
from onnxpipe.engine.scheduler import Answered, OnError, Outputs
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.auto import AutoModelForImageToImage
from onnxpipe.models.diffusion.model import DiffusionModel
from onnxpipe.tasks.base.call_types import ImageInput, Stream
from onnxpipe.tasks.base.columns import no_columns
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.image import ImageOptions, ImagePipeline
from onnxpipe.tasks.base.option_rules import number_option
from onnxpipe.tasks.base.spec import TaskSpec
from onnxpipe.tasks.image_generation.families import Mode
from onnxpipe.tasks.image_generation.task import (
    ImageGenerationCallOptions,
    ImageGenerationOptions,
    PromptedImages,
    generation_options,
    with_seed,
)

if TYPE_CHECKING:
    from PIL.Image import Image

_PROMPTED = frozenset({"prompt", "strength", *generation_options()})


@dataclass(frozen=True)
class ImageToImageOptions(ImageGenerationOptions, ImageOptions):
    """Options of image-to-image. All but `timeout` are for image generators, not for models that enlarge images.

    Attributes:
        prompt: what images become, for inputs that have no prompt of their own.
        strength: how much of an image is made anew, from 0 to 1.
    """

    prompt: str | None = None
    strength: float | None = number_option(None, least=0, most=1)


class ImageToImageCallOptions(ImageGenerationCallOptions, total=False):
    """The options of a call: see `ImageToImageOptions`."""

    timeout: float | None
    prompt: str | None
    strength: float | None


class ImageToImagePipeline(ImagePipeline[ImageToImageOptions]):
    """Turn images into PIL images: of the padded image's size times the model's scale, as in transformers, or, with an
    image generator, into what a prompt says.

    For an image generator an input is an image, with `prompt=` for all of them, or a dict of `image`, `prompt` and
    options of its own. `num_images_per_prompt` gives lists; `image.info["generation"]` holds the seed, the scheduler
    and the prompt.

    Args:
        *args: as in `Pipeline`.
        low_memory, scheduler, vae: for image generators, as in `TextToImagePipeline`.
        **options: as in `Pipeline`.
    """

    Options = ImageToImageOptions
    _load_image_processor = None
    mode: ClassVar[Mode] = "image-to-image"

    def __init__(
        self, *args: Any, low_memory: bool = False, scheduler: Any = None, vae: Any = None, **options: Any
    ) -> None:
        self._low_memory = low_memory
        self._passed = {"scheduler": scheduler, "vae": vae}
        super().__init__(*args, **options)

    def prepare(self) -> None:
        self._images: PromptedImages | None = None
        if isinstance(self.model, DiffusionModel):
            self._images = PromptedImages(self.model, self.mode, self._low_memory, self._passed)
            self.window = 1  # type: ignore[misc] # an image takes seconds, so a stream does not read far ahead
            return
        for name, value in (("low_memory", self._low_memory), *self._passed.items()):
            if value:
                raise UnsupportedError(f"{name}= is for image generators, and {self.model.name_or_path} is none")
        super().prepare()

    @property
    def generator(self) -> Any:
        """The pipeline with diffusers' name; None for models that enlarge images."""
        return None if self._images is None else self._images.generator

    if TYPE_CHECKING:

        @overload
        def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
            self, inputs: list[Any], **options: Unpack[ImageToImageCallOptions]
        ) -> list[Image | list[Image]]: ...
        @overload
        def __call__(
            self, inputs: ImageInput | Mapping[str, Any], **options: Unpack[ImageToImageCallOptions]
        ) -> Image | list[Image]: ...
        @overload
        def __call__(
            self, inputs: Stream, **options: Unpack[ImageToImageCallOptions]
        ) -> PipelineIterator[Image | list[Image]]: ...
        def __call__(self, inputs: Any, *args: Any, **options: Any) -> Any: ...

    def parse(self, kwargs: Mapping[str, Any], base: ImageToImageOptions | None) -> ImageToImageOptions:
        if kwargs.get("head_mask") is not None:
            raise UnsupportedError("head_mask is not supported: the graph has no input for it")
        kept = {name: value for name, value in kwargs.items() if name != "head_mask"}
        if self._images is None:
            for name in kept:
                if name in _PROMPTED and kept[name] is not None:
                    raise UnsupportedError(
                        f"{name}= is for image generators, and {self.model.name_or_path} enlarges images: leave it out"
                    )
        return super().parse(kept, base)

    def dispatch(
        self,
        inputs: Any,
        options: ImageToImageOptions,
        num_workers: int | None = None,
        batch_size: int | None = None,
        on_error: OnError = "raise",
    ) -> Any:
        options = options if self._images is None else with_seed(options)
        return super().dispatch(inputs, options, num_workers, batch_size, on_error)

    def encode(self, value: Any, options: ImageToImageOptions) -> Iterable[Row]:
        if self._images is None:
            return super().encode(value, options)
        parts = dict(value) if isinstance(value, Mapping) else {"image": value}
        if "image" not in parts:
            raise UnsupportedError("an input is an image, or a dict with an image and a prompt; the image is missing")
        if not isinstance(parts.get("prompt", options.prompt), str):
            raise UnsupportedError('the prompt is missing: pass prompt=, or {"image": ..., "prompt": ...}')
        return [self._images.row({**parts, "image": self.load(parts["image"], options)}, options, self.parse)]

    def run(self, rows: Sequence[Row], options: ImageToImageOptions) -> list[Outputs]:
        return super().run(rows, options) if self._images is None else self._images.run(rows, options)

    def decode(self, rows: Answered, options: ImageToImageOptions) -> Image | list[Image]:
        if self._images is not None:
            return self._images.answer(rows)
        from PIL.Image import fromarray

        reconstruction = np.clip(rows[0][1]["reconstruction"].astype(np.float32), 0, 1)  # (channels, height, width)
        pixels = (np.moveaxis(reconstruction, 0, -1) * 255.0).round().astype(np.uint8)
        return fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


TASK = TaskSpec(
    name="image-to-image",
    pipeline=ImageToImagePipeline,
    auto_classes=(AutoModelForImageToImage,),
    help="Make images larger (super-resolution), or others by a prompt.",
    example='"photo.jpg"',
    default_model=("caidas/swin2SR-classical-sr-x2-64", "cee1c92"),
    input="image",
    columns=no_columns(),
    output="image",
    draws=True,
    image_options={"input_image": "image"},
)
