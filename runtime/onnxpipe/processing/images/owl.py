"""Preprocess images for OWL-ViT and OWLv2, which detect objects by a text query."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from onnxpipe.processing.images import transforms
from onnxpipe.processing.images.base import ImageProcessor, PreparedImage
from onnxpipe.processing.images.postprocess import detection
from onnxpipe.processing.images.settings import (
    BICUBIC,
    BILINEAR,
    CLIP_MEAN,
    CLIP_STD,
    CROPPING,
    ImageProcessorSettings,
)
from onnxpipe.processing.images.transforms import Array, ImageOrArray


class OwlViTImageProcessor(ImageProcessor):
    """OWL-ViT."""

    defaults: ClassVar = ImageProcessorSettings(
        do_convert_rgb=True, do_resize=True, size={"height": 768, "width": 768}, resample=BICUBIC, do_center_crop=False,
        crop_size={"height": 768, "width": 768}, do_rescale=True, do_normalize=True, image_mean=CLIP_MEAN,
        image_std=CLIP_STD,
    )  # fmt: skip
    older: ClassVar = {"do_convert_rgb": False}

    post_process_object_detection = staticmethod(detection.owlvit)


class Owlv2ImageProcessor(ImageProcessor):
    """OWLv2: pad to a square with zeros, smooth, and resize floats.

    The resizing is that of scikit-image's `resize(order=1, mode="mirror", anti_aliasing=True)`, which transformers
    builds from SciPy; `resample` makes no difference, except that 0 skips the smoothing.
    """

    unused: ClassVar[frozenset[str]] = CROPPING | frozenset({"pad_size"})
    defaults: ClassVar = ImageProcessorSettings(
        do_convert_rgb=True, do_rescale=True, do_pad=True, do_resize=True, size={"height": 960, "width": 960},
        resample=BILINEAR, do_normalize=True, image_mean=CLIP_MEAN, image_std=CLIP_STD,
    )  # fmt: skip
    older: ClassVar = {"do_convert_rgb": False}

    post_process_object_detection = staticmethod(detection.owlv2)

    def shape(self, image: ImageOrArray, settings: ImageProcessorSettings) -> ImageOrArray:
        """Return the image as it is: all further steps work on the rescaled numbers."""
        return image

    @staticmethod
    def values(values: Array, settings: ImageProcessorSettings) -> Array:
        """Rescale only."""
        return transforms.rescale(values, settings)

    def finish(self, values: Array, settings: ImageProcessorSettings) -> Array:
        """Pad, resize and normalise."""
        if settings.do_pad:
            side = max(values.shape[-2:])
            values = transforms.pad(values, (side, side))
        if settings.do_resize:
            size = transforms.target_size(values.shape[-2], values.shape[-1], settings.size)
            size = transforms.checked_size(size, (values.shape[-2], values.shape[-1]))
            values = smooth_resize(values, size, bool(settings.resample))
        return np.asarray(transforms.normalize(values, settings), np.float32)

    def collect(self, images: list[PreparedImage], settings: ImageProcessorSettings) -> dict[str, list[Any]]:
        """Collect `pixel_values`, which are padded already."""
        return {"pixel_values": [image.values for image in images]}


def smooth_resize(values: Array, size: tuple[int, int], smooth: bool = True) -> Array:
    """Smooth and resize float values (channels, height, width).

    Along a side that shrinks, a Gaussian of (factor − 1) / 2 pixels; then linear interpolation with mirrored edges,
    clipped to the lowest and the highest value. In float64 along one axis after the other, rounded to the values' type
    after each step, in SciPy's order of additions (`gaussian_filter`, `zoom` with grid_mode).
    """
    low, high = values.min(), values.max()
    smoothed = values
    for axis, to in zip((1, 2), size):
        sigma = max(0.0, (values.shape[axis] / to - 1) / 2)
        if smooth and sigma > 1e-15:
            smoothed = _gaussian(smoothed, sigma, axis)
    return np.clip(_bilinear(smoothed, size), low, high)


def _gaussian(values: Array, sigma: float, axis: int) -> Array:
    """Convolve along an axis with a Gaussian, cut off at four standard deviations on each side."""
    radius = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 / (sigma * sigma) * np.arange(-radius, radius + 1) ** 2)
    weights = weights / weights.sum()
    length = values.shape[axis]
    source = np.take(values, _mirror(np.arange(-radius, length + radius), length), axis).astype(np.float64)

    def shifted(by: int) -> Array:
        return source[:, by : by + length] if axis == 1 else source[:, :, by : by + length]

    total = shifted(radius) * weights[radius]
    for i in range(radius):
        total += (shifted(i) + shifted(2 * radius - i)) * weights[i]
    return np.asarray(total, values.dtype)


def _bilinear(values: Array, size: tuple[int, int]) -> Array:
    """Interpolate linearly between the four pixels around the centre of each new pixel."""
    rows, columns = (_neighbours(length, to) for length, to in zip(values.shape[1:], size))
    resized = np.empty((values.shape[0], *size), values.dtype)
    for channel, plane in enumerate(values):
        total = np.zeros(size)
        for row, row_weight in rows:
            lines = plane[row] * row_weight[:, None]
            for column, column_weight in columns:
                part = np.take(lines, column, axis=1)
                part *= column_weight
                total += part
        resized[channel] = total
    return resized


@lru_cache(maxsize=32)
def _neighbours(length: int, to: int) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Find the pixel before and the one after the centre of each new pixel, each with its weight."""
    at = (np.arange(to) + 0.5) * (length / to) - 0.5
    at = np.abs(at) if length > 1 else np.zeros(to)  # SciPy mirrors a position before it takes its neighbours
    before = np.floor(at).astype(np.intp)
    first = 1.0 - (at - before)
    return (before, first), (_mirror(before + 1, length), 1.0 - first)


def _mirror(index: Array, length: int) -> Array:
    """Mirror indices outside a line of that length at its first and last pixel: d c b | a b c d | c b a."""
    if length == 1:
        return np.zeros_like(index)
    period = 2 * length - 2
    folded = np.abs(index) % period
    return np.asarray(np.minimum(folded, period - folded))
