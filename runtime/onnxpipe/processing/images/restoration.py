"""Preprocess images for models that return an image: pad them, without resizing."""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

import numpy as np

from onnxpipe.errors import ImageError
from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.images import transforms
from onnxpipe.processing.images.base import ImageProcessor, PreparedImage
from onnxpipe.processing.images.inputs import flatten_images, to_image_or_array
from onnxpipe.processing.images.settings import (
    CROPPING,
    HALF,
    NORMALIZING,
    RESIZING,
    ImageProcessorOverrides,
    ImageProcessorSettings,
)
from onnxpipe.processing.images.transforms import Array, ImageOrArray


class Swin2SRImageProcessor(ImageProcessor):
    """Swin2SR: pad with the mirrored image, at the bottom and at the right, to the next multiple of `size_divisor`.

    A side that is a multiple already is padded to the next one too.
    """

    unused: ClassVar[frozenset[str]] = RESIZING | CROPPING | NORMALIZING | frozenset({"pad_size"})
    renamed: ClassVar = {"pad_size": "size_divisor"}
    defaults: ClassVar = ImageProcessorSettings(do_rescale=True, do_pad=True, size_divisor=8)

    def shape(self, image: ImageOrArray, settings: ImageProcessorSettings) -> ImageOrArray:
        """Pad before rescaling, which gives the same numbers."""
        if not settings.do_pad:
            return image
        height, width = transforms.size_of(image)
        divisor = settings.size_divisor or 1
        size = ((height // divisor + 1) * divisor, (width // divisor + 1) * divisor)
        transforms.checked_size(size, (height, width))
        more = ((0, size[0] - height), (0, size[1] - width), (0, 0))
        return np.pad(transforms.as_array(image), more, mode="symmetric")

    def collect(self, images: list[PreparedImage], settings: ImageProcessorSettings) -> dict[str, list[Any]]:
        """Collect `pixel_values`, which are padded already."""
        return {"pixel_values": [image.values for image in images]}


class VitMatteImageProcessor(ImageProcessor):
    """ViTMatte: add the trimap (sure foreground, sure background, unknown) as a fourth channel."""

    unused: ClassVar[frozenset[str]] = RESIZING | CROPPING | frozenset({"pad_size"})
    defaults: ClassVar = ImageProcessorSettings(
        do_rescale=True, do_normalize=True, image_mean=HALF, image_std=HALF, do_pad=True, size_divisor=32
    )

    def __call__(
        self,
        images: Any,
        trimaps: Any = None,
        *,
        return_tensors: Any = "np",
        **overrides: Unpack[ImageProcessorOverrides],
    ) -> BatchFeature:
        """Convert images and trimaps to the arrays of the model.

        Args:
            images, return_tensors, **overrides: see `ImageProcessor`.
            trimaps: one for each image, of the same size, in grey.

        Returns:
            `pixel_values` float32 (images, 4, height, width).

        Raises:
            ImageError: an image without a trimap, or with one of another size.
        """
        flat, maps = flatten_images(images), [] if trimaps is None else flatten_images(trimaps)
        if len(flat) != len(maps):
            raise ImageError(f"{len(flat)} images need as many trimaps; got {len(maps)}")
        return super().__call__(
            [_ImageWithTrimap(*pair) for pair in zip(flat, maps)], return_tensors=return_tensors, **overrides
        )

    def _one(self, image: Any, settings: ImageProcessorSettings) -> PreparedImage:
        prepared = super()._one(image.image, settings)
        grey = to_image_or_array(image.trimap, ImageProcessorSettings(image_mean=(0.0,)))
        trimap = np.moveaxis(transforms.rescale(transforms.as_array(grey), settings), -1, 0)
        if trimap.shape[-2:] != prepared.shaped:
            raise ImageError(
                f"a trimap of {trimap.shape[-2:]} (height, width) does not fit an image of {prepared.shaped}"
            )
        both = np.concatenate([prepared.values, np.asarray(trimap, np.float32)])
        return PreparedImage(_padded(both, settings), prepared.original, prepared.shaped)

    def collect(self, images: list[PreparedImage], settings: ImageProcessorSettings) -> dict[str, list[Any]]:
        """Collect `pixel_values`, which are padded already."""
        return {"pixel_values": [image.values for image in images]}


class _ImageWithTrimap:
    """An image and its trimap."""

    def __init__(self, image: Any, trimap: Any) -> None:
        self.image, self.trimap = image, trimap


def _padded(values: Array, settings: ImageProcessorSettings) -> Array:
    if not settings.do_pad:
        return values
    height, width = (transforms.up_to_multiple(side, settings.size_divisor or 1) for side in values.shape[-2:])
    return transforms.pad(values, (height, width))
