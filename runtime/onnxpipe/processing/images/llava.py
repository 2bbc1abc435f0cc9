"""Preprocess images for the LLaVA family: padded to a square, or cut into the tiles of the canvas that fits best."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, inf
from typing import Any, ClassVar

import numpy as np

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.images import transforms
from onnxpipe.processing.images.base import ImageProcessor, PreparedImage
from onnxpipe.processing.images.inputs import flatten_images, group_images, to_image_or_array
from onnxpipe.processing.images.settings import BICUBIC, CLIP_MEAN, CLIP_STD, ImageProcessorSettings
from onnxpipe.processing.images.tiles import TiledImageProcessor, cut, pad_tiles
from onnxpipe.processing.images.transforms import Array, ImageOrArray

Size = tuple[int, int]


class LlavaImageProcessor(ImageProcessor):
    """LLaVA: as CLIP; with `do_pad` the image is first padded to a square of the mean colour."""

    square: ClassVar[bool] = False
    unused: ClassVar[frozenset[str]] = frozenset({"pad_size"})
    defaults: ClassVar = ImageProcessorSettings(
        do_convert_rgb=True, do_resize=True, size={"shortest_edge": 224}, resample=BICUBIC, do_center_crop=True,
        crop_size={"height": 224, "width": 224}, do_rescale=True, do_normalize=True, image_mean=CLIP_MEAN,
        image_std=CLIP_STD, do_pad=False,
    )  # fmt: skip

    def shape(self, image: ImageOrArray, settings: ImageProcessorSettings) -> ImageOrArray:
        """Pad to a square if `do_pad`, then resize and crop."""
        return super().shape(padded_to_square(image, settings) if settings.do_pad else image, settings)

    def collect(self, images: list[PreparedImage], settings: ImageProcessorSettings) -> dict[str, list[Any]]:
        """Collect `pixel_values`."""
        return {"pixel_values": [image.values for image in images]}


class LlavaNextImageProcessor(TiledImageProcessor):
    """LLaVA-NeXT: the whole image, then the tiles of it on the canvas of `image_grid_pinpoints` that fits best.

    A call returns `pixel_values` (images, tiles, channels, height, width), zero where an image has fewer tiles than
    another, and `image_sizes` int64 (images, 2): height and width of the originals.
    """

    square: ClassVar[bool] = False
    unused: ClassVar[frozenset[str]] = frozenset({"pad_size"})
    defaults: ClassVar = ImageProcessorSettings(
        do_convert_rgb=True, do_resize=True, size={"shortest_edge": 224}, resample=BICUBIC, do_center_crop=True,
        crop_size={"height": 224, "width": 224}, do_rescale=True, do_normalize=True, image_mean=CLIP_MEAN,
        image_std=CLIP_STD, do_pad=True,
        image_grid_pinpoints=((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008)),
    )  # fmt: skip
    model_input_names: Sequence[str] = ("pixel_values", "image_sizes")

    def tiles(self, image: ImageOrArray, settings: ImageProcessorSettings) -> list[ImageOrArray]:
        """Return the whole image and its tiles, each resized and cropped."""
        canvas = best_canvas(transforms.size_of(image), settings.image_grid_pinpoints or ())
        side = _tile_side(settings)
        whole = transforms.resize(image, _whole_size(settings), settings.resample)
        return [self.shape(tile, settings) for tile in (whole, *cut(_on_canvas(image, canvas, settings), side, side))]

    def collect(self, images: list[PreparedImage], settings: ImageProcessorSettings) -> dict[str, list[Any]]:
        """Collect the tiles, with `do_pad` as many for each image, and the sizes of the images."""
        values = [image.values for image in images]
        if settings.do_pad:
            count = max(map(len, values))
            values = [pad_tiles(tiles, count) for tiles in values]
        return {"pixel_values": values, "image_sizes": [np.array(image.original, np.int64) for image in images]}


class LlavaOnevisionImageProcessor(LlavaNextImageProcessor):
    """LLaVA-OneVision: as LLaVA-NeXT; of several images in one sample each is one tile, padded to a square.

    A call returns `batch_num_images` int64 (samples,) too. A flat list of images is as many samples.
    """

    defaults: ClassVar = ImageProcessorSettings(
        do_convert_rgb=True, do_resize=True, size={"height": 384, "width": 384}, resample=BICUBIC, do_rescale=True,
        do_normalize=True, image_mean=CLIP_MEAN, image_std=CLIP_STD, do_pad=True,
        image_grid_pinpoints=tuple((384 * rows, 384 * columns) for rows in range(1, 7) for columns in range(1, 7)),
    )  # fmt: skip
    model_input_names = ("pixel_values", "image_sizes", "batch_num_images")

    def _converted(self, images: Any, settings: ImageProcessorSettings, stacked: bool) -> BatchFeature:
        groups = [group for group in group_images(images) or [[image] for image in flatten_images(images)] if group]
        prepared = [
            self._one(image, settings) if len(group) == 1 else self._square(image, settings)
            for group in groups
            for image in group
        ]
        data = self.collect(prepared, settings)
        features = self.batch(data) if stacked else BatchFeature(data)
        counts = [len(group) for group in groups]
        features["batch_num_images"] = np.array(counts, np.int64) if stacked else counts
        return features

    def _square(self, image: Any, settings: ImageProcessorSettings) -> PreparedImage:
        """Prepare one of several images: padded to a square, and not cut."""
        image = to_image_or_array(image, settings)
        array = transforms.as_array(self.shape(padded_to_square(image, settings), settings))
        return PreparedImage(self._numbers(array, settings)[None], transforms.size_of(image), array.shape[:2])


def padded_to_square(image: ImageOrArray, settings: ImageProcessorSettings) -> Array:
    """Centre an image on a square whose colour is `image_mean` in bytes, black where there is none."""
    array = transforms.as_array(image)
    height, width, channels = array.shape
    side = max(height, width)
    mean = settings.image_mean
    colours = (0.0,) if mean is None else mean if isinstance(mean, tuple) else (mean,)
    if len(colours) not in (1, channels):
        raise UnsupportedError(f"image_mean has {len(colours)} numbers, but the image has {channels} channels")
    transforms.checked_size((side, side), (height, width))
    square = np.empty((side, side, channels), array.dtype)
    square[:] = [int(colour * 255) for colour in colours]
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = array
    return square


def best_canvas(size: Size, canvases: tuple[Size, ...]) -> Size:
    """Choose the canvas on which an image keeps most of its pixels; of several the smallest, then the first.

    Args:
        size: height and width of the image.
        canvases: heights and widths.

    Raises:
        UnsupportedError: there are none.
    """
    height, width = size
    best: Size | None = None
    kept, wasted = 0, inf
    for canvas in canvases:
        scale = min(canvas[1] / width, canvas[0] / height)
        pixels = min(int(width * scale) * int(height * scale), width * height)
        waste = canvas[0] * canvas[1] - pixels
        if pixels > kept or (pixels == kept and waste < wasted):
            best, kept, wasted = canvas, pixels, waste
    if best is None:
        raise UnsupportedError("image_grid_pinpoints must have at least one [height, width]")
    return best


def fit(size: Size, canvas: Size) -> Size:
    """Scale a height and width until one side fills the canvas; the other is rounded up."""
    height, width = size
    scale_w, scale_h = canvas[1] / width, canvas[0] / height
    if scale_w < scale_h:
        return min(ceil(height * scale_w), canvas[0]), canvas[1]
    return canvas[0], min(ceil(width * scale_h), canvas[1])


def unpadded(size: Size, rows: int, columns: int) -> Size:
    """Return the rows and columns of patches of a canvas that show the image, and not the padding around it.

    Args:
        size: height and width of the image.
        rows, columns: of patches on the canvas.
    """
    height, width = size
    if width / height > columns / rows:
        shown = int(round(height * (columns / width), 7))
        return rows - (rows - shown) // 2 * 2, columns
    shown = int(round(width * (rows / height), 7))
    return rows, columns - (columns - shown) // 2 * 2


def _on_canvas(image: ImageOrArray, canvas: Size, settings: ImageProcessorSettings) -> Array:
    """Resize an image to fit the canvas, with zeros around it."""
    size = fit(transforms.size_of(image), canvas)
    array = transforms.as_array(transforms.resize(image, size, settings.resample))
    top, left = (canvas[0] - size[0]) // 2, (canvas[1] - size[1]) // 2
    transforms.checked_size(canvas, transforms.size_of(image))
    return np.pad(array, ((top, canvas[0] - size[0] - top), (left, canvas[1] - size[1] - left), (0, 0)))


def _whole_size(settings: ImageProcessorSettings) -> Size:
    size = settings.size or {}
    if "height" in size:
        return size["height"], size["width"]
    return (transforms.shortest_edge(size),) * 2


def _tile_side(settings: ImageProcessorSettings) -> int:
    """Return the side of a tile: that of the crop, or of the model's images."""
    crop = settings.crop_size or {}
    return crop["height"] if "height" in crop else _whole_size(settings)[0]
