"""image-to-image: turn images into images (super-resolution), as transformers 4 does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack, overload

import numpy as np

from onnxpipe.engine.scheduler import Answered
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.auto import AutoModelForImageToImage
from onnxpipe.tasks.base.call_types import ImageCallOptions, ImageInput, Stream
from onnxpipe.tasks.base.columns import no_columns
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.image import ImageOptions, ImagePipeline
from onnxpipe.tasks.base.spec import TaskSpec

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class ImageToImageOptions(ImageOptions):
    """Options of image-to-image."""


class ImageToImagePipeline(ImagePipeline[ImageToImageOptions]):
    """Turn images into PIL images of the padded image's size times the model's scale, as in transformers."""

    Options = ImageToImageOptions

    if TYPE_CHECKING:

        @overload
        def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
            self, inputs: list[Any], **options: Unpack[ImageCallOptions]
        ) -> list[Image]: ...
        @overload
        def __call__(self, inputs: ImageInput, **options: Unpack[ImageCallOptions]) -> Image: ...
        @overload
        def __call__(self, inputs: Stream, **options: Unpack[ImageCallOptions]) -> PipelineIterator[Image]: ...
        def __call__(self, inputs: Any, *args: Any, **options: Any) -> Any: ...

    def parse(self, kwargs: Mapping[str, Any], base: ImageToImageOptions | None) -> ImageToImageOptions:
        if kwargs.get("head_mask") is not None:
            raise UnsupportedError("head_mask is not supported: the graph has no input for it")
        kept = {name: value for name, value in kwargs.items() if name != "head_mask"}
        return super().parse(kept, base)

    def decode(self, rows: Answered, options: ImageToImageOptions) -> Image:
        from PIL.Image import fromarray

        reconstruction = np.clip(rows[0][1]["reconstruction"].astype(np.float32), 0, 1)  # (channels, height, width)
        pixels = (np.moveaxis(reconstruction, 0, -1) * 255.0).round().astype(np.uint8)
        return fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


TASK = TaskSpec(
    name="image-to-image",
    pipeline=ImageToImagePipeline,
    auto_classes=(AutoModelForImageToImage,),
    help="Make images larger and sharper (super-resolution).",
    example='"photo.jpg"',
    default_model=("caidas/swin2SR-classical-sr-x2-64", "cee1c92"),
    input="image",
    columns=no_columns(),
    output="image",
    draws=True,
)
