"""Read the input of an image processor: one image or many, as Pillow images, arrays, paths or URLs."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxpipe.errors import ImageError
from onnxpipe.processing.arrays import as_array
from onnxpipe.processing.images.io.grey import to_eight_bits
from onnxpipe.processing.images.io.load import load_image
from onnxpipe.processing.images.io.pillow import import_pillow
from onnxpipe.processing.images.settings import ImageProcessorSettings
from onnxpipe.processing.images.transforms import Array, ImageOrArray

#: How many channels an array may have.
_CHANNELS = (1, 3, 4)


def flatten_images(images: Any) -> list[Any]:
    """Flatten one image, an array of a batch, or (nested) lists of images into one list.

    Raises:
        ImageError: an empty list.
    """
    array = as_array(images)
    if array is not None:
        return list(array) if array.ndim == 4 else [array]
    if not isinstance(images, (list, tuple)):
        return [images]
    flat = [image for entry in images for image in flatten_images(entry)]
    if not flat:
        raise ImageError("no images: the list is empty")
    return flat


def group_images(images: Any) -> list[list[Any]] | None:
    """Return the images of each sample, where they come as a list of lists; None where they do not.

    Raises:
        ImageError: lists beside images, or no images in any list.
    """
    if not isinstance(images, (list, tuple)) or not any(isinstance(entry, (list, tuple)) for entry in images):
        return None
    if not all(isinstance(entry, (list, tuple)) for entry in images):
        raise ImageError("images must be a list of images, or a list with a list of images for each text; got a mix")
    groups = [flatten_images(entry) if entry else [] for entry in images]
    if not any(groups):
        raise ImageError("no images: the lists are empty")
    return groups


def group_videos(images: Any) -> list[list[Any]]:
    """Group frames by video: a list of images is one video, a list of such lists or of 4-axis arrays several."""
    array = as_array(images)
    if array is not None:
        return [list(array) for array in array] if array.ndim == 5 else [list(array) if array.ndim == 4 else [array]]
    if not isinstance(images, (list, tuple)):
        return [[images]]
    arrays = [as_array(entry) for entry in images]
    several = [isinstance(entry, (list, tuple)) or (a is not None and a.ndim == 4) for entry, a in zip(images, arrays)]
    if not several:
        raise ImageError("no images: the list is empty")
    return [flatten_images(entry) for entry in images] if all(several) else [flatten_images(images)]


def to_image_or_array(image: Any, settings: ImageProcessorSettings) -> ImageOrArray:
    """Convert an image to three channels, or to one where `image_mean` has one.

    Args:
        image: a Pillow image; an array or a tensor (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4 channels (where both
            ends could be the channels, the first axis is, unless `input_data_format` says otherwise); or what
            `load_image` takes.

    Returns:
        A Pillow image, or an array (height, width, channels) for an array.

    Raises:
        ImageError: something else.
    """
    pillow = import_pillow()
    grey = isinstance(settings.image_mean, tuple) and len(settings.image_mean) == 1
    array = as_array(image)
    if array is not None:
        return _three_channels(_channels_last(array, settings.input_data_format), settings, grey)
    if not isinstance(image, pillow.Image):
        image = load_image(image)
    if image.width < 1 or image.height < 1:
        raise ImageError(f"an image of {image.width}x{image.height} pixels is empty")
    image = to_eight_bits(image)
    if grey:
        return _mode(image, "L")
    return on_white(image) if settings.do_convert_rgb else _mode(image, "RGB")


def _mode(image: Any, mode: str) -> Any:
    return image if image.mode == mode else image.convert(mode)


def on_white(image: Any) -> Any:
    """Convert a PIL image to RGB, with white where it is transparent."""
    if image.mode == "RGB" and image.info.get("transparency") is None:
        return image
    if "A" not in image.getbands() and image.info.get("transparency") is None:
        return image.convert("RGB")
    pillow = import_pillow()
    image = image.convert("RGBA")
    return pillow.alpha_composite(pillow.new("RGBA", image.size, (255, 255, 255, 255)), image).convert("RGB")


def _channels_last(array: Array, layout: str | None) -> Array:
    if array.ndim == 2:
        array = array[..., None]
    elif array.ndim == 3 and (layout == "channels_first" or (layout is None and array.shape[0] in _CHANNELS)):
        array = np.moveaxis(array, 0, -1)
    if array.ndim != 3 or array.shape[-1] not in _CHANNELS or array.size == 0:
        raise ImageError(
            f"an image as an array must have the shape (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4 channels; "
            f"this one has {array.shape}"
        )
    if array.dtype.kind not in "buif":
        raise ImageError(f"an image as an array must hold numbers, not {array.dtype}")
    return array


def _three_channels(array: Array, settings: ImageProcessorSettings, grey: bool) -> Array:
    channels = array.shape[-1]
    if channels == 1:
        return array if grey else np.repeat(array, 3, axis=-1)
    if channels == 4:
        array = _blend_on_white(array) if settings.do_convert_rgb else array[..., :3]
    return array


def _blend_on_white(array: Array) -> Array:
    floats = np.issubdtype(array.dtype, np.floating)
    if floats and not (array.min() >= 0 and array.max() <= 1):
        raise ImageError("an array of floats with transparency must lie in 0–1")
    white = 1.0 if floats else 255
    alpha = array[..., 3:4] / white
    blended = alpha * array[..., :3] + (1 - alpha) * white
    return (blended if floats else np.round(blended)).astype(array.dtype)
