"""Preprocess images for models that see one image as several: tiles, crops, a thumbnail of the whole."""

from __future__ import annotations

from abc import abstractmethod
from math import ceil
from typing import Any, ClassVar

import numpy as np

from onnxpipe.errors import ImageError
from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.images import transforms
from onnxpipe.processing.images.base import ImageProcessor, PreparedImage
from onnxpipe.processing.images.inputs import flatten_images, group_images, to_image_or_array
from onnxpipe.processing.images.settings import (
    BICUBIC,
    BILINEAR,
    CLIP_MEAN,
    CLIP_STD,
    CROPPING,
    HALF,
    LANCZOS,
    PADDING,
    ImageProcessorSettings,
)
from onnxpipe.processing.images.transforms import Array, ImageOrArray

#: Tiles that one image may be cut into: a config must not be able to make millions.
MAX_TILES = 1024


class TiledImageProcessor(ImageProcessor):
    """Make several images of one; the values of a `PreparedImage` are (tiles, channels, height, width)."""

    def _one(self, image: Any, settings: ImageProcessorSettings) -> PreparedImage:
        image = to_image_or_array(image, settings)
        arrays = [transforms.as_array(tile) for tile in self.tiles(image, settings)]
        values = _stacked([self._numbers(array, settings) for array in arrays])
        return PreparedImage(values, transforms.size_of(image), arrays[0].shape[:2])

    @abstractmethod
    def tiles(self, image: ImageOrArray, settings: ImageProcessorSettings) -> list[ImageOrArray]:
        """Return the tiles of an image, in the order in which the model gets them."""


def _stacked(tiles: list[Array]) -> Array:
    shapes = {tile.shape for tile in tiles}
    if len(shapes) > 1:
        raise ImageError(f"the tiles of an image have different shapes, {sorted(shapes)}: the sizes in the "
                         "processor's file do not fit each other")  # fmt: skip
    return np.stack(tiles)


def cut(image: ImageOrArray, height: int, width: int) -> list[ImageOrArray]:
    """Cut an image into tiles of a height and width, row by row; the last of a row or column may be smaller.

    Raises:
        ImageError: more than `MAX_TILES`.
    """
    array = transforms.as_array(image)
    rows, columns = ceil(array.shape[0] / height), ceil(array.shape[1] / width)
    check_count(rows * columns)
    return [
        array[row * height : (row + 1) * height, column * width : (column + 1) * width]
        for row in range(rows)
        for column in range(columns)
    ]


def check_count(tiles: int) -> None:
    """Raise ImageError for more than `MAX_TILES`."""
    if tiles > MAX_TILES:
        raise ImageError(f"an image would be cut into {tiles} tiles: more than {MAX_TILES} are refused")


def pad_tiles(tiles: Array, count: int) -> Array:
    """Append tiles of zeros up to that count."""
    return np.pad(tiles, ((0, count - len(tiles)), *((0, 0),) * (tiles.ndim - 1)))


class Idefics3ImageProcessor(TiledImageProcessor):
    """Idefics 3: resize the long side, cut into square tiles, and add the whole image as a last tile.

    A call returns `pixel_values` (samples, tiles, channels, height, width) and `pixel_attention_mask` int64 (samples,
    tiles, height, width), zero where a sample has fewer tiles than another. A flat list of images is one sample, a list
    of lists several. With `return_row_col_info` it also returns `rows` and `cols`, a list for each sample: the tiles
    that each image is cut into, 0 and 0 for one that is not.
    """

    also: ClassVar[frozenset[str]] = frozenset({"return_row_col_info"})
    unused: ClassVar[frozenset[str]] = CROPPING | frozenset({"pad_size"})
    defaults: ClassVar = ImageProcessorSettings(
        do_convert_rgb=True, do_resize=True, size={"longest_edge": 4 * 364}, resample=LANCZOS, do_rescale=True,
        do_normalize=True, image_mean=HALF, image_std=HALF, do_pad=True, do_image_splitting=True,
        max_image_size={"longest_edge": 364}, return_row_col_info=False,
    )  # fmt: skip
    model_input_names = ("pixel_values", "pixel_attention_mask")

    #: The longest side that an image is resized to, whatever the settings say.
    longest_side: ClassVar[int] = 4096

    def target_size(self, height: int, width: int, settings: ImageProcessorSettings) -> tuple[int, int]:
        """Compute the size by the long side; the other side is made even."""
        size = settings.size or {}
        if "longest_edge" not in size:
            return super().target_size(height, width, settings)
        height, width = with_long_side(height, width, size["longest_edge"], even=True)
        if max(height, width) > self.longest_side:
            height, width = with_long_side(height, width, self.longest_side)
        return height, width

    def tiles(self, image: ImageOrArray, settings: ImageProcessorSettings) -> list[ImageOrArray]:
        """Cut the image into tiles and add the whole; without `do_image_splitting`, only the whole."""
        side = tile_side(settings)
        if settings.do_resize:
            image = transforms.resize(image, self.target_size(*transforms.size_of(image), settings), settings.resample)
        if not settings.do_image_splitting:
            return [transforms.resize(image, (side, side), settings.resample)]
        image = transforms.resize(image, _in_tiles(*transforms.size_of(image), side), settings.resample)
        if max(transforms.size_of(image)) <= side:
            return [image]
        return [*cut(image, side, side), transforms.resize(image, (side, side), settings.resample)]

    def grid(self, height: int, width: int, settings: ImageProcessorSettings) -> tuple[int, int]:
        """Return the rows and columns that an image of that size is cut into; 0 and 0 where it is not."""
        side = tile_side(settings)
        if not settings.do_image_splitting:
            return 0, 0
        if settings.do_resize:
            height, width = self.target_size(height, width, settings)
        height, width = _in_tiles(height, width, side)
        return (0, 0) if max(height, width) <= side else (height // side, width // side)

    def _converted(self, images: Any, settings: ImageProcessorSettings, stacked: bool) -> BatchFeature:
        groups = group_images(images) or [flatten_images(images)]
        prepared = [[self._one(image, settings) for image in group] for group in groups]
        samples = [np.concatenate([one.values for one in group]) if group else None for group in prepared]
        data = self._padded(samples) if settings.do_pad else {"pixel_values": samples}
        features = self.batch(data) if stacked else BatchFeature(data)
        if settings.return_row_col_info:
            grids = [[self.grid(*one.original, settings) for one in group] for group in prepared]
            features["rows"] = [[rows for rows, _ in group] for group in grids]
            features["cols"] = [[columns for _, columns in group] for group in grids]
        return features

    @staticmethod
    def _padded(samples: list[Array | None]) -> dict[str, list[Any]]:
        """Pad the samples with tiles of zeros to the largest of all, and say what is not padding."""
        known = [sample for sample in samples if sample is not None]
        count, size = max(map(len, known)), transforms.largest(known)
        values, masks = [], []
        for sample in samples:
            tiles = np.zeros((0, known[0].shape[1], *size), np.float32) if sample is None else sample
            mask = np.zeros((count, *size), np.int64)
            mask[: len(tiles), : tiles.shape[-2], : tiles.shape[-1]] = 1
            values.append(pad_tiles(transforms.pad(tiles, size), count))
            masks.append(mask)
        return {"pixel_values": values, "pixel_attention_mask": masks}


class SmolVLMImageProcessor(Idefics3ImageProcessor):
    """SmolVLM: as Idefics 3."""


def tile_side(settings: ImageProcessorSettings) -> int:
    size = settings.max_image_size or {}
    if "longest_edge" not in size:
        raise ImageError(f"max_image_size must have a longest_edge; got {size}")
    return size["longest_edge"]


def with_long_side(height: int, width: int, long: int, even: bool = False) -> tuple[int, int]:
    """Scale a height and width to that long side, the other rounded down, or to an even number next to that."""
    ratio = width / height
    other = int(long / ratio) if width >= height else int(long * ratio)
    other = max(other + other % 2 if even else other, 1)
    return (other, long) if width >= height else (long, other)


def _in_tiles(height: int, width: int, side: int) -> tuple[int, int]:
    """Round a height and width up to whole tiles: first the long side, then the other by the old ratio."""
    ratio = width / height
    if width >= height:
        width = transforms.up_to_multiple(width, side)
        return transforms.up_to_multiple(int(width / ratio), side), width
    height = transforms.up_to_multiple(height, side)
    return height, transforms.up_to_multiple(int(height * ratio), side)


class GotOcr2ImageProcessor(TiledImageProcessor):
    """GOT-OCR 2, InternVL: cut into the grid of tiles whose ratio is nearest, and add a thumbnail of the whole.

    A call returns `pixel_values` (tiles of all images, channels, height, width) and `num_patches` int64 (images,).
    """

    unused: ClassVar[frozenset[str]] = CROPPING | PADDING
    packed: ClassVar[frozenset[str]] = frozenset({"pixel_values"})
    defaults: ClassVar = ImageProcessorSettings(
        do_convert_rgb=True, do_resize=True, size={"height": 384, "width": 384}, resample=BICUBIC, do_rescale=True,
        do_normalize=True, image_mean=CLIP_MEAN, image_std=CLIP_STD, crop_to_patches=False, min_patches=1,
        max_patches=12,
    )  # fmt: skip

    def tiles(self, image: ImageOrArray, settings: ImageProcessorSettings) -> list[ImageOrArray]:
        """Cut the image into the best grid; without `crop_to_patches` resize it to one tile."""
        least, most = settings.min_patches or 1, settings.max_patches or 12
        if not settings.crop_to_patches or most <= 1:
            return [self.shape(image, settings)]
        height, width = transforms.target_size(1, 1, settings.size)
        columns, rows = best_grid(transforms.size_of(image), (height, width), least, most)
        tiles = cut(transforms.resize(image, (height * rows, width * columns), settings.resample), height, width)
        return tiles if len(tiles) == 1 else [*tiles, transforms.resize(image, (height, width), settings.resample)]

    def collect(self, images: list[PreparedImage], settings: ImageProcessorSettings) -> dict[str, list[Any]]:
        """Collect the tiles, and how many each image has."""
        return {
            "pixel_values": [image.values for image in images],
            "num_patches": [np.int64(len(image.values)) for image in images],
        }


def best_grid(size: tuple[int, int], tile: tuple[int, int], least: int, most: int) -> tuple[int, int]:
    """Find the columns and rows of tiles whose ratio is nearest to an image's.

    Of grids with the same ratio the larger one is taken, if the image has more than half its pixels.

    Args:
        size: height and width of the image.
        tile: height and width of a tile.
        least, most: how many tiles there may be.
    """
    check_count(most)
    ratio, area = size[1] / size[0], size[0] * size[1]
    grids = [(c, r) for c in range(1, most + 1) for r in range(1, most // c + 1) if c * r >= least]
    best, nearest = (1, 1), float("inf")
    for columns, rows in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        distance = abs(ratio - columns / rows)
        if distance < nearest or (distance == nearest and area > 0.5 * tile[0] * tile[1] * columns * rows):
            best, nearest = (columns, rows), distance
    return best


class Gemma3ImageProcessor(TiledImageProcessor):
    """Gemma 3: resize; with `do_pan_and_scan` also crops along the long side of long images.

    A call returns `pixel_values` (images and their crops, channels, height, width) and `num_crops` int64 (images,).
    """

    also: ClassVar[frozenset[str]] = frozenset(
        {"do_pan_and_scan", "pan_and_scan_min_crop_size", "pan_and_scan_max_num_crops",
         "pan_and_scan_min_ratio_to_activate"}
    )  # fmt: skip
    unused: ClassVar[frozenset[str]] = CROPPING | PADDING
    packed: ClassVar[frozenset[str]] = frozenset({"pixel_values"})
    defaults: ClassVar = ImageProcessorSettings(
        do_convert_rgb=True, do_resize=True, size={"height": 224, "width": 224}, resample=BILINEAR, do_rescale=True,
        do_normalize=True, image_mean=HALF, image_std=HALF,
    )  # fmt: skip
    model_input_names = ("pixel_values", "num_crops")

    def tiles(self, image: ImageOrArray, settings: ImageProcessorSettings) -> list[ImageOrArray]:
        """Return the image and its crops, each resized."""
        crops: list[ImageOrArray] = []
        if settings.do_pan_and_scan:
            height, width = transforms.size_of(image)
            crops = cut(image, *side) if (side := _crop_size(height, width, settings)) else []
        return [self.shape(each, settings) for each in (image, *crops)]

    def collect(self, images: list[PreparedImage], settings: ImageProcessorSettings) -> dict[str, list[Any]]:
        """Collect the images with their crops, and how many crops each has."""
        return {
            "pixel_values": [image.values for image in images],
            "num_crops": [np.int64(len(image.values) - 1) for image in images],
        }


def _crop_size(height: int, width: int, settings: ImageProcessorSettings) -> tuple[int, int] | None:
    """Return the height and width of the crops of an image; None where it gets none."""
    smallest = settings.pan_and_scan_min_crop_size or 256
    ratio = max(height, width) / min(height, width)
    if ratio < (settings.pan_and_scan_min_ratio_to_activate or 1.2):
        return None
    count = min(max(height, width) // smallest, int(ratio + 0.5))
    count = min(settings.pan_and_scan_max_num_crops or 4, max(2, count))
    size = (height, ceil(width / count)) if width >= height else (ceil(height / count), width)
    return None if min(size) < smallest else size
