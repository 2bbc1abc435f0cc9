"""Image processors of models that give a picture back: not resized, only padded."""

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
    """Swin2SR: mirrored at the bottom and at the right up to the next multiple of `size_divisor`, always the next."""

    unused: ClassVar[frozenset[str]] = RESIZING | CROPPING | NORMALIZING | frozenset({"pad_size"})
    renamed: ClassVar = {"pad_size": "size_divisor"}
    defaults: ClassVar = ImageProcessorSettings(do_rescale=True, do_pad=True, size_divisor=8)

    def shape(self, picture: ImageOrArray, settings: ImageProcessorSettings) -> ImageOrArray:
        """Padded; bytes are as good for it as numbers."""
        if not settings.do_pad:
            return picture
        height, width = transforms.size_of(picture)
        divisor = settings.size_divisor or 1
        size = ((height // divisor + 1) * divisor, (width // divisor + 1) * divisor)
        transforms.checked_size(size, (height, width))
        more = ((0, size[0] - height), (0, size[1] - width), (0, 0))
        return np.pad(transforms.as_array(picture), more, mode="symmetric")

    def collect(self, images: list[PreparedImage], settings: ImageProcessorSettings) -> dict[str, list[Any]]:
        """`pixel_values`; the padding is done."""
        return {"pixel_values": [image.values for image in images]}


class VitMatteImageProcessor(ImageProcessor):
    """ViTMatte: a fourth channel has the trimap (what is surely foreground, surely background, unknown)."""

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
        """Arrays for the model.

        Args:
            images, return_tensors, **overrides: see `ImageProcessor`.
            trimaps: one for each picture, of its size, in grey.

        Returns:
            `pixel_values` float32 (pictures, 4, height, width).

        Raises:
            ImageError: a picture without a trimap, or one of another size.
        """
        pictures, maps = flatten_images(images), [] if trimaps is None else flatten_images(trimaps)
        if len(pictures) != len(maps):
            raise ImageError(f"{len(pictures)} pictures need as many trimaps; got {len(maps)}")
        return super().__call__(
            [_Pair(*pair) for pair in zip(pictures, maps)], return_tensors=return_tensors, **overrides
        )

    def _one(self, image: Any, settings: ImageProcessorSettings) -> PreparedImage:
        picture = super()._one(image.picture, settings)
        grey = to_image_or_array(image.trimap, ImageProcessorSettings(image_mean=(0.0,)))
        trimap = np.moveaxis(transforms.rescale(transforms.as_array(grey), settings), -1, 0)
        if trimap.shape[-2:] != picture.shaped:
            raise ImageError(f"a trimap of {trimap.shape[-2:]} (height, width) for a picture of {picture.shaped}")
        both = np.concatenate([picture.values, np.asarray(trimap, np.float32)])
        return PreparedImage(_padded(both, settings), picture.original, picture.shaped)

    def collect(self, images: list[PreparedImage], settings: ImageProcessorSettings) -> dict[str, list[Any]]:
        """`pixel_values`; the padding is done."""
        return {"pixel_values": [image.values for image in images]}


class _Pair:
    """A picture and its trimap."""

    def __init__(self, picture: Any, trimap: Any) -> None:
        self.picture, self.trimap = picture, trimap


def _padded(values: Array, settings: ImageProcessorSettings) -> Array:
    if not settings.do_pad:
        return values
    height, width = (transforms.up_to_multiple(side, settings.size_divisor or 1) for side in values.shape[-2:])
    return transforms.pad(values, (height, width))
