"""image-to-image: a picture made from a picture (super-resolution), as transformers 4 has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.engine.scheduler import Answered
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.auto import AutoModelForImageToImage
from onnxpipe.tasks.base.columns import no_columns
from onnxpipe.tasks.base.image import ImageOptions, ImagePipeline
from onnxpipe.tasks.base.spec import TaskSpec


@dataclass(frozen=True)
class ImageToImageOptions(ImageOptions):
    """Parameters of image-to-image."""


class ImageToImagePipeline(ImagePipeline):
    """A PIL image for a picture. Its size is that of the padded picture times the model's scale, as in transformers."""

    Options = ImageToImageOptions

    def parse(self, given: Mapping[str, Any], base: ImageToImageOptions | None) -> ImageToImageOptions:
        if given.get("head_mask") is not None:
            raise UnsupportedError("head_mask is refused: the graph has no switch for its attention heads")
        kept = {name: value for name, value in given.items() if name != "head_mask"}
        options: ImageToImageOptions = super().parse(kept, base)
        return options

    def decode(self, rows: Answered, options: ImageToImageOptions) -> Any:
        from PIL import Image

        made = np.clip(rows[0][1]["reconstruction"].astype(np.float32), 0, 1)  # (channels, height, width)
        pixels = (np.moveaxis(made, 0, -1) * 255.0).round().astype(np.uint8)
        return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


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
