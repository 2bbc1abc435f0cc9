"""Preprocess images for image-text models that keep the aspect ratio: SigLIP 2 "naflex", ViLT."""

from __future__ import annotations

from math import ceil
from typing import Any, ClassVar

import numpy as np

from onnxpipe.processing.images import transforms
from onnxpipe.processing.images.base import ImageProcessor, PreparedImage
from onnxpipe.processing.images.detr import with_mask
from onnxpipe.processing.images.settings import BICUBIC, BILINEAR, CROPPING, HALF, PADDING, ImageProcessorSettings
from onnxpipe.processing.images.transforms import Array


class Siglip2ImageProcessor(ImageProcessor):
    """SigLIP 2 "naflex": resize to as many patches as are allowed, at the image's own aspect ratio.

    A call returns `pixel_values` (images, max_num_patches, patch pixels · channels), `pixel_attention_mask` int32
    (images, max_num_patches) and `spatial_shapes` int64 (images, 2), the rows and columns of patches.
    """

    unused: ClassVar[frozenset[str]] = CROPPING | PADDING | frozenset({"size"})
    defaults: ClassVar = ImageProcessorSettings(
        do_resize=True, resample=BILINEAR, do_rescale=True, do_normalize=True, image_mean=HALF, image_std=HALF,
        patch_size=16, max_num_patches=256,
    )  # fmt: skip
    model_input_names = ("pixel_values", "pixel_attention_mask", "spatial_shapes")

    def target_size(self, height: int, width: int, settings: ImageProcessorSettings) -> tuple[int, int]:
        """Compute the size with the most patches that are allowed."""
        return size_in_patches(height, width, settings.patch_size or 16, settings.max_num_patches or 256)

    def collect(self, images: list[PreparedImage], settings: ImageProcessorSettings) -> dict[str, list[Any]]:
        """Collect the patches (each pixel by pixel with its channels), padded with zeros; masks; rows and columns."""
        side, most = settings.patch_size or 16, settings.max_num_patches or 256
        transforms.checked_size((side * side, most), images[0].original)
        patches = [_patches(image.values, side) for image in images]
        masks = [np.arange(max(most, len(rows))) < len(rows) for rows in patches]
        return {
            "pixel_values": [np.pad(rows, ((0, max(0, most - len(rows))), (0, 0))) for rows in patches],
            "pixel_attention_mask": [mask.astype(np.int32) for mask in masks],
            "spatial_shapes": [np.array(image.values.shape[-2:], np.int64) // side for image in images],
        }


def size_in_patches(height: int, width: int, side: int, most: int) -> tuple[int, int]:
    """Compute the largest size in whole patches, at about the same aspect ratio, with at most `most` patches.

    The scale is found by bisection, as in transformers, so that the sizes are the same.
    """

    def scaled(scale: float) -> tuple[int, int]:
        return (
            max(side, ceil(height * scale / side) * side),
            max(side, ceil(width * scale / side) * side),
        )

    precision = 1e-5
    low, high = precision / 10, 100.0
    while high - low >= precision:
        middle = (low + high) / 2
        rows, columns = scaled(middle)
        if (rows / side) * (columns / side) <= most:
            low = middle
        else:
            high = middle
    return scaled(low)


def _patches(values: Array, side: int) -> Array:
    """Cut an image into patches, row by row: (patches, side · side · channels)."""
    channels, height, width = values.shape
    rows, columns = height // side, width // side
    grid = values.reshape(channels, rows, side, columns, side)
    return np.ascontiguousarray(grid.transpose(1, 3, 2, 4, 0).reshape(rows * columns, -1))


class ViltImageProcessor(ImageProcessor):
    """ViLT: resize to the short side, the long one at most 1333/800 of it, rounded down to a multiple; add a mask."""

    square: ClassVar[bool] = False
    unused: ClassVar[frozenset[str]] = CROPPING | frozenset({"pad_size"})
    defaults: ClassVar = ImageProcessorSettings(
        do_resize=True, size={"shortest_edge": 384}, resample=BICUBIC, size_divisor=32, do_rescale=True,
        do_normalize=True, image_mean=HALF, image_std=HALF, do_pad=True,
    )  # fmt: skip
    model_input_names = ("pixel_values", "pixel_mask")

    def target_size(self, height: int, width: int, settings: ImageProcessorSettings) -> tuple[int, int]:
        """Compute the size by the short side, in multiples of `size_divisor`."""
        short = transforms.shortest_edge(settings.size)
        longest = int(1333 / 800 * short)
        scale = short / min(height, width)
        sides: tuple[float, float] = (short, scale * width) if height < width else (scale * height, short)
        if max(sides) > longest:
            scale = longest / max(sides)
            sides = (scale * sides[0], scale * sides[1])
        divisor = settings.size_divisor or 1
        rounded = [transforms.down_to_multiple(int(side + 0.5), divisor) for side in sides]
        return rounded[0], rounded[1]

    def collect(self, images: list[PreparedImage], settings: ImageProcessorSettings) -> dict[str, list[Any]]:
        """Collect `pixel_values`; with `do_pad` padded to the largest, and `pixel_mask`."""
        values = [image.values for image in images]
        return with_mask(values, transforms.largest(values)) if settings.do_pad else {"pixel_values": values}
