"""Preprocess images for Pix2Struct: as many square patches as are allowed, each with its row and its column."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any, ClassVar

import numpy as np

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.images import transforms
from onnxpipe.processing.images.base import ImageProcessor, PreparedImage
from onnxpipe.processing.images.inputs import to_image_or_array
from onnxpipe.processing.images.interpolate import interpolate
from onnxpipe.processing.images.settings import CROPPING, PADDING, RESIZING, ImageProcessorSettings
from onnxpipe.processing.images.transforms import Array


class Pix2StructImageProcessor(ImageProcessor):
    """Pix2Struct: an image keeps its shape, and is normalised by its own mean and deviation.

    A call returns `flattened_patches` float32 (images, max_patches, 2 + patch pixels · channels), which begin with the
    row and the column from 1 on, and `attention_mask` float32 (images, max_patches), 0 at padding.
    """

    unused: ClassVar[frozenset[str]] = (
        CROPPING | PADDING | RESIZING | frozenset({"do_rescale", "rescale_factor", "image_mean", "image_std"})
    )
    defaults: ClassVar = ImageProcessorSettings(
        do_convert_rgb=True, do_normalize=True, patch_size=16, max_patches=2048, is_vqa=False
    )
    model_input_names = ("flattened_patches", "attention_mask")

    def _parsed(self, settings: Mapping[str, Any], where: str) -> dict[str, Any]:
        size = settings.get("patch_size")
        if isinstance(size, Mapping):
            if size.get("height") != size.get("width"):
                raise UnsupportedError(f"patch_size must be square; got {dict(size)}")
            settings = {**settings, "patch_size": size.get("height")}
        return super()._parsed(settings, where)

    def _one(self, image: Any, settings: ImageProcessorSettings) -> PreparedImage:
        if settings.is_vqa:
            raise UnsupportedError(
                "is_vqa=True: this model wants its question drawn above the image with a font that is not in its "
                "folder, so that its answers cannot be those of the original. Take a model of image-to-text, or one of "
                "visual-question-answering (ViLT, BLIP)"
            )
        image = to_image_or_array(image, settings)
        array = np.ascontiguousarray(np.moveaxis(transforms.as_array(image), -1, 0), np.float32)
        original = array.shape[-2:]
        if settings.do_normalize:
            array = (array - array.mean()) / max(array.std(), 1.0 / sqrt(array.size))
        side = settings.patch_size or 16
        rows, columns = _grid(original[0], original[1], side, settings.max_patches or 2048)
        size = transforms.checked_size((rows * side, columns * side), original)
        resized = interpolate(array, size, antialias=True)
        return PreparedImage(_patches(resized, side), (original[0], original[1]), (rows, columns))

    def collect(self, images: list[PreparedImage], settings: ImageProcessorSettings) -> dict[str, list[Array]]:
        """Collect the patches, padded with zeros, and their masks."""
        most = settings.max_patches or 2048
        return {
            "flattened_patches": [np.pad(one.values, ((0, most - len(one.values)), (0, 0))) for one in images],
            "attention_mask": [(np.arange(most) < len(one.values)).astype(np.float32) for one in images],
        }


def _grid(height: int, width: int, side: int, most: int) -> tuple[int, int]:
    """Count the rows and columns of patches: as many as are allowed, at about the image's own shape."""
    scale = sqrt(most * (side / height) * (side / width))
    rows, columns = (max(min(int(scale * each / side), most), 1) for each in (height, width))
    return rows, columns


def _patches(values: Array, side: int) -> Array:
    """Cut an image (channels, height, width) into patches, row by row: the row, the column, and its pixels."""
    channels, height, width = values.shape
    rows, columns = height // side, width // side
    grid = values.reshape(channels, rows, side, columns, side).transpose(1, 3, 2, 4, 0)
    places = np.indices((rows, columns)).reshape(2, -1).T + 1
    return np.concatenate([places.astype(np.float32), grid.reshape(rows * columns, -1)], axis=1)
