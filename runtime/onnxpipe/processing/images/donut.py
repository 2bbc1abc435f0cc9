"""Preprocess pages for Donut: whole, at their own shape, in the middle of the model's size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.images import transforms
from onnxpipe.processing.images.base import ImageProcessor, PreparedImage
from onnxpipe.processing.images.settings import BILINEAR, HALF, ImageProcessorSettings
from onnxpipe.processing.images.transforms import Array, ImageOrArray


class DonutImageProcessor(ImageProcessor):
    """Donut: the page is turned if `do_align_long_axis`, scaled to fit, and centred on black.

    A `size` of two numbers, as old files have it, is (width, height).
    """

    defaults: ClassVar = ImageProcessorSettings(
        do_resize=True, size={"height": 2560, "width": 1920}, resample=BILINEAR, do_thumbnail=True,
        do_align_long_axis=False, do_pad=True, do_rescale=True, do_normalize=True, image_mean=HALF, image_std=HALF,
    )  # fmt: skip
    unused: ClassVar[frozenset[str]] = frozenset({"pad_size"})

    def _parsed(self, settings: Mapping[str, Any], where: str) -> dict[str, Any]:
        size = settings.get("size")
        turned = {"size": (size[1], size[0])} if isinstance(size, list | tuple) and len(size) == 2 else {}
        return super()._parsed({**settings, **turned}, where)

    def shape(self, image: ImageOrArray, settings: ImageProcessorSettings) -> ImageOrArray:
        """Turn, scale and centre a page; crop it if the settings say so."""
        if not settings.size or "height" not in settings.size:
            raise UnsupportedError(f"size must have a height and a width; got {settings.size}")
        height, width = settings.size["height"], settings.size["width"]
        if settings.do_align_long_axis:
            image = _turned(image, height, width)
        if settings.do_resize:
            short = transforms.with_short_side(*transforms.size_of(image), min(height, width))
            image = transforms.resize(image, short, settings.resample)
        if settings.do_thumbnail:
            small = _within(transforms.size_of(image), height, width)
            if small != transforms.size_of(image):
                image = transforms.resize(image, small, settings.resample)
        if settings.do_pad:
            image = _centred(transforms.as_array(image), height, width)
        return transforms.center_crop(image, settings.crop_size) if settings.do_center_crop else image

    def collect(self, images: list[PreparedImage], settings: ImageProcessorSettings) -> dict[str, list[Array]]:
        """Collect the pixels: `shape` has padded them."""
        return {"pixel_values": [image.values for image in images]}


def _turned(image: ImageOrArray, height: int, width: int) -> ImageOrArray:
    """Turn an image by a right angle, clockwise, if it lies the other way than (height, width)."""
    own_height, own_width = transforms.size_of(image)
    lies_across = (width < height and own_width > own_height) or (width > height and own_width < own_height)
    return np.rot90(transforms.as_array(image), 3) if lies_across else image


def _within(size: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """Scale a height and width down until they fit; the longer side decides."""
    fitting = min(size[0], height), min(size[1], width)
    if fitting == size:
        return size
    if size[0] > size[1]:
        return fitting[0], int(size[1] * fitting[0] / size[0])
    if size[1] > size[0]:
        return int(size[0] * fitting[1] / size[1]), fitting[1]
    return fitting


def _centred(array: Array, height: int, width: int) -> Array:
    """Put an image (height, width, channels) in the middle of black; an odd pixel goes to the bottom and the right."""
    missing = height - array.shape[0], width - array.shape[1]
    if min(missing) < 0:
        raise UnsupportedError(
            f"a page of {array.shape[1]}x{array.shape[0]} pixels cannot be padded to {width}x{height}: set do_thumbnail"
        )
    transforms.checked_size((height, width), array.shape[:2])
    edges = [(each // 2, each - each // 2) for each in missing]
    return np.pad(array, (*edges, (0, 0)))
