"""Preprocess images for Qwen-VL: the image's own size in whole patches, cut into the patches that the model reads."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, floor, sqrt
from typing import Any, ClassVar

import numpy as np

from onnxpipe.errors import ImageError, UnsupportedError
from onnxpipe.processing.images.base import ImageProcessor, PreparedImage
from onnxpipe.processing.images.io.load import MAX_PIXELS
from onnxpipe.processing.images.settings import (
    BICUBIC,
    CLIP_MEAN,
    CLIP_STD,
    CROPPING,
    PADDING,
    ImageProcessorSettings,
)
from onnxpipe.processing.images.transforms import Array

#: How much longer than its other side an image may be.
_LONGEST_RATIO = 200
#: Frames that a patch may have: a config must not make millions of one image.
_DEEPEST = 16


class PatchedProcessor(ImageProcessor):
    """The settings of Qwen-VL: `size` has the fewest and the most *pixels* (`shortest_edge`, `longest_edge`).

    Older files call them `min_pixels` and `max_pixels`. The patches of a block of `merge_size` by `merge_size` follow
    each other.
    """

    square: ClassVar[bool] = False
    size_limit: ClassVar[int] = MAX_PIXELS
    shorthands: ClassVar[frozenset[str]] = frozenset({"min_pixels", "max_pixels"})
    unused: ClassVar[frozenset[str]] = CROPPING | PADDING

    @classmethod
    def _settings_in(cls, config: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        settings, extra = super()._settings_in(config)
        bounds: dict[str, Any] = {name: extra.pop(name) for name in cls.shorthands if name in extra}
        return {**settings, **bounds}, extra

    def _parsed(self, settings: Mapping[str, Any], where: str) -> dict[str, Any]:
        settings = dict(settings)
        least, most = settings.pop("min_pixels", None), settings.pop("max_pixels", None)
        size = settings.get("size")
        if isinstance(size, Mapping):
            size = {_EDGES.get(name, name): number for name, number in size.items()}
        if least is not None or most is not None:
            bounds = {"shortest_edge": least, "longest_edge": most}
            size = {**(size or self.settings.size or {}), **{k: v for k, v in bounds.items() if v is not None}}
        return super()._parsed({**settings, **({} if size is None else {"size": size})}, where)

    @classmethod
    def _takes_max_size(cls) -> bool:
        return False


class Qwen2VLImageProcessor(PatchedProcessor):
    """Qwen2-VL, Qwen2.5-VL, Qwen3-VL.

    A call returns `pixel_values` (patches of all images, values of a patch) and `image_grid_thw` int64 (images, 3):
    how many patches each image has in time, height and width.
    """

    packed: ClassVar[frozenset[str]] = frozenset({"pixel_values"})
    defaults: ClassVar = ImageProcessorSettings(
        do_convert_rgb=True, do_resize=True, size={"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280},
        resample=BICUBIC, do_rescale=True, do_normalize=True, image_mean=CLIP_MEAN, image_std=CLIP_STD, patch_size=14,
        temporal_patch_size=2, merge_size=2,
    )  # fmt: skip
    model_input_names = ("pixel_values", "image_grid_thw")

    def target_size(self, height: int, width: int, settings: ImageProcessorSettings) -> tuple[int, int]:
        """Compute the size in whole blocks of patches, within the bounds of pixels."""
        least, most = pixel_bounds(settings)
        return size_in_blocks(height, width, block_side(settings), least, most)

    def finish(self, values: Array, settings: ImageProcessorSettings) -> Array:
        """Cut the image into patches: (patches, channels · frames · patch pixels), block by block."""
        frames = np.broadcast_to(values, (depth(settings), *values.shape))
        return cut_into_patches(frames, settings)

    def collect(self, images: list[PreparedImage], settings: ImageProcessorSettings) -> dict[str, list[Any]]:
        """Collect the patches, and the grid of each image."""
        side = settings.patch_size or 14
        grids = [np.array([1, image.shaped[0] // side, image.shaped[1] // side], np.int64) for image in images]
        return {"pixel_values": [image.values for image in images], "image_grid_thw": grids}


def block_side(settings: ImageProcessorSettings) -> int:
    """Return the pixels a side of a block of patches, which becomes one token."""
    return (settings.patch_size or 14) * (settings.merge_size or 2)


def depth(settings: ImageProcessorSettings) -> int:
    """Return how many frames a patch has.

    Raises:
        UnsupportedError: more than any model has.
    """
    deep = settings.temporal_patch_size or 2
    if deep > _DEEPEST:
        raise UnsupportedError(f"temporal_patch_size must be at most {_DEEPEST}; got {deep}")
    return deep


def pixel_bounds(settings: ImageProcessorSettings) -> tuple[int, int]:
    """Return the fewest and the most pixels.

    Raises:
        UnsupportedError: `size` does not have both.
    """
    size = settings.size or {}
    if not {"shortest_edge", "longest_edge"} <= size.keys():
        raise UnsupportedError(f"size must have a shortest_edge and a longest_edge, in pixels of an image: {size}")
    return size["shortest_edge"], size["longest_edge"]


def cut_into_patches(frames: Array, settings: ImageProcessorSettings) -> Array:
    """Cut frames (frames, channels, height, width) into patches: (patches, channels · frames · patch pixels).

    They are as many as fill whole patches in time; the patches of an image or a moment follow each other block by
    block.

    Raises:
        ImageError: a side is not made of whole blocks.
    """
    side, merge, deep = settings.patch_size or 14, settings.merge_size or 2, depth(settings)
    count, channels, height, width = frames.shape
    if height % (side * merge) or width % (side * merge):
        raise ImageError(
            f"an image of {width}x{height} pixels is not made of blocks of {side * merge}: leave do_resize on"
        )
    grid = frames.reshape(
        count // deep, deep, channels, height // (side * merge), merge, side, width // (side * merge), merge, side
    )
    patches = grid.transpose(0, 3, 6, 4, 7, 2, 1, 5, 8)
    return patches.reshape(count // deep * (height // side) * (width // side), -1)


#: The names in older files of the bounds in `size`.
_EDGES = {"min_pixels": "shortest_edge", "max_pixels": "longest_edge"}


def size_in_blocks(height: int, width: int, factor: int, least: int, most: int) -> tuple[int, int]:
    """Round a height and width to multiples of `factor`, scaled so that the area lies in `least`–`most`.

    Raises:
        ImageError: one side is more than 200 times the other.
    """
    if max(height, width) / min(height, width) > _LONGEST_RATIO:
        raise ImageError(
            f"an image of {width}x{height} pixels is too long: absolute aspect ratio must be smaller than "
            f"{_LONGEST_RATIO}, got {max(height, width) / min(height, width)}"
        )
    size = round(height / factor) * factor, round(width / factor) * factor
    if size[0] * size[1] > most:
        scale = sqrt(height * width / most)
        return (
            max(factor, floor(height / scale / factor) * factor),
            max(factor, floor(width / scale / factor) * factor),
        )
    if size[0] * size[1] < least:
        scale = sqrt(least / (height * width))
        return ceil(height * scale / factor) * factor, ceil(width * scale / factor) * factor
    return size
