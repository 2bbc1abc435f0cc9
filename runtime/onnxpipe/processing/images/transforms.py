"""Transform images: the steps that image processors consist of. Sizes are (height, width) in pixels.

An image is a Pillow image or an array (height, width, channels) until its values are converted to the model's numbers;
from then on it is a float32 array (channels, height, width). Bytes are resized by Pillow's own filters, as in the PIL
classes of transformers, so the results are the same to the bit.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxpipe.errors import ImageError, UnsupportedError
from onnxpipe.processing.images.io.load import MAX_PIXELS
from onnxpipe.processing.images.io.pillow import import_pillow
from onnxpipe.processing.images.settings import ImageProcessorSettings, Size

if TYPE_CHECKING:
    from PIL.Image import Image

Array: TypeAlias = NDArray[Any]
ImageOrArray: TypeAlias = "Image | Array"

#: Pixels that an image may have once it is resized and padded: 4096 x 4096, more than any model takes.
MAX_RESULT = 2**24


# -- sizes ------------------------------------------------------------------------------------------------------------
def size_of(image: ImageOrArray) -> tuple[int, int]:
    """Return height and width of a Pillow image or of an array (H, W, C)."""
    if isinstance(image, np.ndarray):
        return image.shape[0], image.shape[1]
    return image.height, image.width


def target_size(height: int, width: int, size: Size | None) -> tuple[int, int]:
    """Compute the height and width to which an image of that height and width is resized.

    Args:
        size: see `settings.parse_size`. With {shortest_edge, longest_edge} the short side gets the first, unless the
            long side would then exceed the second (DETR's rule).

    Raises:
        UnsupportedError: no size, or {longest_edge} alone, which each family that has it reads in its own way.
    """
    size = size or {}
    if "height" in size:
        return size["height"], size["width"]
    if "max_height" in size:
        scale = min(size["max_height"] / height, size["max_width"] / width)
        return int(height * scale), int(width * scale)
    if "shortest_edge" not in size:
        raise UnsupportedError(f"size must have height and width, a shortest_edge, or max_height and max_width: {size}")
    if "longest_edge" in size:
        return within_edges(height, width, size["shortest_edge"], size["longest_edge"])
    return with_short_side(height, width, size["shortest_edge"])


def with_short_side(height: int, width: int, short: int) -> tuple[int, int]:
    """Scale a height and width to that short side; the long side is rounded down to whole pixels."""
    long = int(short * max(height, width) / min(height, width))
    return (long, short) if width <= height else (short, long)


def within_edges(height: int, width: int, shortest: int, longest: int, keep: bool = True) -> tuple[int, int]:
    """Scale a height and width to that short side, or to a shorter one if the long side would be over `longest`.

    Args:
        keep: an image whose short side is right already stays as it is, even where it is a little too long.
    """
    short, long = min(height, width), max(height, width)
    exact: float = shortest
    if long / short * shortest > longest:
        exact = longest * short / long
        shortest = round(exact)
    if keep and short == shortest:
        return height, width
    other = int(exact * long / short)
    return (other, shortest) if width < height else (shortest, other)


def down_to_multiple(value: int, divisor: int) -> int:
    """Round down to a multiple of `divisor`."""
    return value // divisor * divisor


def up_to_multiple(value: int, divisor: int) -> int:
    """Round up to a multiple of `divisor`."""
    return -(-value // divisor) * divisor


def shortest_edge(size: Size | None) -> int:
    """Return the shortest edge of a size.

    Raises:
        UnsupportedError: it has none.
    """
    if not size or "shortest_edge" not in size:
        raise UnsupportedError(f"size must have a shortest_edge; got {size}")
    return size["shortest_edge"]


def checked_size(size: tuple[int, int], original: tuple[int, int]) -> tuple[int, int]:
    """Return `size`, to which an image of the size `original` is resized, cropped or padded, if it is allowed.

    Sizes come from a model's files, and must not fill the memory: each pixel of the result takes 12 bytes and more.

    Raises:
        ImageError: a side of 0, or more pixels than `MAX_RESULT` and four times the image's own.
    """
    height, width = size
    limit = min(MAX_PIXELS, max(MAX_RESULT, 4 * original[0] * original[1]))
    if height < 1 or width < 1 or height * width > limit:
        why = "has a side of 0 pixels" if min(size) < 1 else f"has more than the {limit} pixels allowed"
        raise ImageError(
            f"this image of {original[1]}x{original[0]} pixels would become one of {width}x{height}, which {why}: "
            "crop it, or pass another size (size, crop_size and pad_size are in preprocessor_config.json)"
        )
    return size


# -- geometry ---------------------------------------------------------------------------------------------------------
def as_array(image: ImageOrArray) -> Array:
    """Convert an image to an array (height, width, channels)."""
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array


def resize(image: ImageOrArray, size: tuple[int, int], resample: int | None) -> ImageOrArray:
    """Resize an image by Pillow's filter `resample`.

    Floats in 0–1 are converted to bytes and back to float32, as in transformers.

    Raises:
        ImageError: a size that is not allowed (`checked_size`), or floats that are not an image.
    """
    height, width = checked_size(size, size_of(image))
    if not isinstance(image, np.ndarray):
        return image.resize((width, height), resample)
    unit = not _is_bytes_like(image)
    data = _times(image, 255) if unit else image
    data = np.ascontiguousarray(data[..., 0] if data.shape[-1] == 1 else data, dtype=np.uint8)
    resized = as_array(import_pillow().fromarray(data).resize((width, height), resample))
    return _times(resized, 1 / 255) if unit else resized


def resize_floats(array: Array, size: tuple[int, int], resample: int | None) -> Array:
    """Resize an array by Pillow's filter without rounding; return float32 (height, width, channels)."""
    height, width = checked_size(size, size_of(array))
    planes = np.moveaxis(array.astype(np.float32), -1, 0)
    resized = [import_pillow().fromarray(plane).resize((width, height), resample) for plane in planes]
    return np.stack([np.asarray(plane) for plane in resized], -1)


def center_crop(image: ImageOrArray, size: Size | None) -> Array:
    """Crop the centre of that height and width, with zeros around it where the image is smaller."""
    if not size or "height" not in size:
        raise UnsupportedError(f"crop_size must have a height and a width; got {size}")
    array = as_array(image)
    height, width = array.shape[:2]
    crop_height, crop_width = size["height"], size["width"]
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    if top >= 0 and left >= 0:
        return array[top : top + crop_height, left : left + crop_width]
    canvas_height, canvas_width = checked_size((max(height, crop_height), max(width, crop_width)), (height, width))
    canvas = np.zeros((canvas_height, canvas_width, array.shape[2]), array.dtype)
    above, before = ceil((canvas_height - height) / 2), ceil((canvas_width - width) / 2)
    canvas[above : above + height, before : before + width] = array
    top, left = max(0, top + above), max(0, left + before)
    return canvas[top : top + crop_height, left : left + crop_width]


def _is_bytes_like(array: Array) -> bool:
    """Return whether the values are 0–255 (of any type), and not 0–1.

    Raises:
        ImageError: neither.
    """
    if array.dtype == np.uint8:
        return True
    low, high = array.min(), array.max()
    whole = bool(np.allclose(array, array.astype(int)))
    if not (low >= 0 and high <= (255 if whole else 1)):
        raise ImageError(
            f"an array to be resized must hold 0–255 in whole numbers, or 0–1; this one goes from {low} to {high}"
        )
    return whole


# -- values: the same for every pixel, channels first -----------------------------------------------------------------
def rescale(values: Array, settings: ImageProcessorSettings) -> Array:
    """Multiply by the factor in float64; return float32."""
    if not settings.do_rescale:
        return values
    if settings.rescale_factor is None:
        raise UnsupportedError("do_rescale=True needs a rescale_factor")
    return _times(values, settings.rescale_factor)


def normalize(values: Array, settings: ImageProcessorSettings) -> Array:
    """Subtract the mean and divide by the deviation."""
    if not settings.do_normalize:
        return values
    if settings.image_mean is None or settings.image_std is None:
        raise UnsupportedError("do_normalize=True needs image_mean and image_std")
    return standardize(values, settings.image_mean, settings.image_std)


def standardize(values: Array, mean: float | tuple[float, ...], std: float | tuple[float, ...]) -> Array:
    """Compute (values − mean) / std per channel (the first axis), in the values' own float type."""
    if not np.issubdtype(values.dtype, np.floating):
        values = values.astype(np.float32)
    return (values - _channels("image_mean", mean, values)) / _channels("image_std", std, values)


def _channels(name: str, value: float | tuple[float, ...], values: Array) -> Array:
    count = values.shape[0]
    if isinstance(value, tuple) and len(value) != count:
        raise UnsupportedError(f"{name} has {len(value)} numbers, but the image has {count} channels")
    numbers = np.array(value if isinstance(value, tuple) else [value] * count, dtype=values.dtype)
    return numbers.reshape(count, 1, 1)


def _times(values: Array, factor: float) -> Array:
    return (values.astype(np.float64) * factor).astype(np.float32)


# -- padding: channels first ------------------------------------------------------------------------------------------
def pad(values: Array, size: tuple[int, int], value: float | Array = 0.0) -> Array:
    """Pad at the bottom and at the right with `value`, a number or (channels, 1, 1).

    Raises:
        UnsupportedError: the image is larger than `size`.
    """
    height, width = values.shape[-2:]
    if (height, width) == tuple(size):
        return values
    if height > size[0] or width > size[1]:
        raise UnsupportedError(f"an image of {height}x{width} (height, width) cannot be padded to {size[0]}x{size[1]}")
    padded = np.full((*values.shape[:-2], *checked_size(size, (height, width))), value, values.dtype)
    padded[..., :height, :width] = values
    return padded


def largest(images: list[Array]) -> tuple[int, int]:
    """Return the largest height and the largest width among arrays (channels, height, width)."""
    return max(image.shape[-2] for image in images), max(image.shape[-1] for image in images)


def mask_of(image: Array, size: tuple[int, int]) -> NDArray[np.int64]:
    """Return the mask of an image that is padded to `size`: 1 for the image, 0 for padding."""
    mask = np.zeros(size, np.int64)
    mask[: image.shape[-2], : image.shape[-1]] = 1
    return mask
