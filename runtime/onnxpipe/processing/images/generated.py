"""Images as image generation takes and gives them: to arrays in [-1, 1], to masks, and back.

Source: `VaeImageProcessor` of diffusers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.errors import ImageError, UnsupportedError
from onnxpipe.processing.arrays import to_array

if TYPE_CHECKING:
    from PIL.Image import Image

Array = NDArray[Any]
#: A box in pixels: left, top, right, bottom.
Box = tuple[int, int, int, int]

#: A mask is painted over where it is at least this.
_WHITE = 0.5


@dataclass(frozen=True)
class Target:
    """What images become.

    Attributes:
        factor: their sides are cut down to multiples of it.
        height, width: their size; None for their own.
        crop: the part of them that is taken; the rest of the target is filled with their edges.
    """

    factor: int
    height: int | None = None
    width: int | None = None
    crop: Box | None = None

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of an image of this size."""
        sides = (self.height or height, self.width or width)
        return sides[0] - sides[0] % self.factor, sides[1] - sides[1] % self.factor


def to_pixels(images: Any, target: Target) -> Array:
    """Turn images into float32 (images, 3, height, width) in [-1, 1].

    Args:
        images: one or a list: a path, a URL, bytes or a PIL image, resized with Lanczos' filter; an array
            (height, width, 3) or (images, height, width, 3), or with the channels first, in [0, 1], resized to the
            nearest.
        target: their size.

    Raises:
        ImageError: it is none of these, or they differ in size.
    """
    pixels = _batch(images, target, "RGB")
    if pixels.shape[1] == 1:
        pixels = np.repeat(pixels, 3, axis=1)
    if pixels.shape[1] != 3:
        raise ImageError(f"an image has {pixels.shape[1]} channels: pass one with 3")
    return pixels if pixels.min() < 0 else np.asarray(np.float32(2.0) * pixels - np.float32(1.0))


def to_mask(masks: Any, target: Target) -> Array:
    """Turn masks into float32 (masks, 1, height, width): 1 where an image is painted over (white), else 0.

    Args:
        masks: as the images of `to_pixels`; arrays may lack the axis of channels.
        target: their size.

    Raises:
        ImageError: it is none of these, or they differ in size.
    """
    shades = _batch(masks, target, "L")
    if shades.shape[1] != 1:
        raise ImageError(f"a mask has {shades.shape[1]} channels: pass one with 1, or an image")
    return (shades >= _WHITE).astype(np.float32)


def are_latents(value: Any, channels: int) -> bool:
    """Whether an input is latents, (images, channels, height, width), and not images."""
    shape = tuple(getattr(value, "shape", ()))
    return len(shape) == 4 and shape[1] == channels and shape[-1] not in (1, 3)


def nearest(values: Array, height: int, width: int) -> Array:
    """Resize (images, channels, height, width) to the nearest values, as PyTorch's `interpolate` does."""
    old_height, old_width = values.shape[-2:]
    if (old_height, old_width) == (height, width):
        return values
    rows = np.minimum(np.floor(np.arange(height) * np.float32(old_height / height)), old_height - 1).astype(int)
    columns = np.minimum(np.floor(np.arange(width) * np.float32(old_width / width)), old_width - 1).astype(int)
    return values[..., rows[:, None], columns]


def to_unit(pixels: Array) -> Array:
    """Turn (images, 3, height, width) in [-1, 1] into float32 (images, height, width, 3) in [0, 1]."""
    unit = np.clip(pixels.astype(np.float32) * np.float32(0.5) + np.float32(0.5), 0.0, 1.0)
    return np.ascontiguousarray(unit.transpose(0, 2, 3, 1))


def to_pil(unit: Array) -> list[Image]:
    """Turn (images, height, width, 3) in [0, 1] into PIL images."""
    from onnxpipe.processing.images.io.pillow import import_pillow

    return [import_pillow().fromarray(pixels) for pixels in (unit * 255).round().astype(np.uint8)]


def crop_around(mask: Image, height: int, width: int, margin: int) -> Box:
    """Find the box of a mask's white, with a margin, widened to the shape of an image of `height` and `width`.

    Raises:
        UnsupportedError: the mask is black.
    """
    shades = np.asarray(mask.convert("L"))
    columns, rows = np.flatnonzero(shades.any(axis=0)), np.flatnonzero(shades.any(axis=1))
    if not columns.size:
        raise UnsupportedError("padding_mask_crop: the mask is black, so there is nothing to paint over")
    left, right = max(int(columns[0]) - margin, 0), min(int(columns[-1]) + 1 + margin, mask.width)
    top, bottom = max(int(rows[0]) - margin, 0), min(int(rows[-1]) + 1 + margin, mask.height)
    ratio = width / height
    if (right - left) / (bottom - top) > ratio:
        top, bottom = _widened(top, bottom, int((right - left) / ratio), mask.height)
    else:
        left, right = _widened(left, right, int((bottom - top) * ratio), mask.width)
    return left, top, right, bottom


def paste_back(painted: Image, original: Image, mask: Image, crop: Box) -> Image:
    """Lay what a mask spares of an image over the painted crop of it."""
    from PIL import ImageOps

    from onnxpipe.processing.images.io.pillow import import_pillow

    pillow = import_pillow()
    spared = pillow.new("RGBa", original.size)
    spared.paste(original.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(mask.convert("L")))
    left, top, right, bottom = crop
    whole = pillow.new("RGBA", original.size)
    whole.paste(_cropped(painted, bottom - top, right - left), (left, top))
    result = whole.convert("RGB").convert("RGBA")
    result.alpha_composite(spared.convert("RGBA"))
    return result.convert("RGB")


def _batch(images: Any, target: Target, mode: str) -> Array:
    """Load images as float32 (images, channels, height, width) in [0, 1]."""
    several = list(images) if isinstance(images, (list, tuple)) else [images]
    if not several:
        raise ImageError("there is no image in the list")
    if all(hasattr(each, "shape") for each in several):
        arrays = np.concatenate([_channels_first(each, mode) for each in several])
        return nearest(arrays, *target.size(*arrays.shape[-2:]))
    loaded = [_loaded(each, mode) for each in several]
    if target.crop is not None:
        loaded = [each.crop(target.crop) for each in loaded]
    height, width = target.size(loaded[0].height, loaded[0].width)
    resize = _filled if target.crop is not None else _resized
    pixels = [np.asarray(resize(each, height, width).convert(mode), np.float32) for each in loaded]
    return np.stack([np.atleast_3d(each).transpose(2, 0, 1) for each in pixels]) / np.float32(255.0)


def _loaded(image: Any, mode: str) -> Image:
    """Load an image in RGB, or leave a mask in its own mode: it is resized before it becomes grey."""
    from onnxpipe.processing.images.io.load import load_image

    if mode == "L" and hasattr(image, "getbands") and image.mode in ("1", "L", "RGB"):
        return image.convert("L") if image.mode == "1" else image
    return load_image(image)


def _channels_first(value: Any, mode: str) -> Array:
    """Turn an array of one or several images into (images, channels, height, width)."""
    array = to_array(value).astype(np.float32)
    channels = (1,) if mode == "L" else (1, 3, 4)
    if array.ndim == 2 or (array.ndim == 3 and mode == "L" and array.shape[-1] != 1):
        array = array[..., None]
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4:
        raise ImageError(f"an array of the shape {array.shape}: pass (height, width, channels), or several of these")
    return array.transpose(0, 3, 1, 2) if array.shape[-1] in channels else array


def _resized(image: Image, height: int, width: int) -> Image:
    from PIL.Image import Resampling

    return image.resize((width, height), Resampling.LANCZOS)


def _fit(image: Image, height: int, width: int, inside: bool) -> tuple[Image, int, int]:
    """Resize an image to lie inside a frame, or to cover it; give it with its place in the middle of the frame."""
    wider = width / height >= image.width / image.height
    by_height = wider == inside
    fit_width = image.width * height // image.height if by_height else width
    fit_height = height if by_height else image.height * width // image.width
    return _resized(image, fit_height, fit_width), width // 2 - fit_width // 2, height // 2 - fit_height // 2


def _filled(image: Image, height: int, width: int) -> Image:
    """Resize an image to lie inside a frame, whose rest is filled with its edges."""
    from onnxpipe.processing.images.io.pillow import import_pillow

    frame = import_pillow().new("RGB", (width, height))
    resized, left, top = _fit(image, height, width, inside=True)
    frame.paste(resized, (left, top))
    w, h = resized.size
    if top > 0:
        frame.paste(resized.resize((width, top), box=(0, 0, width, 0)), (0, 0))
        frame.paste(resized.resize((width, top), box=(0, h, width, h)), (0, top + h))
    elif left > 0:
        frame.paste(resized.resize((left, height), box=(0, 0, 0, height)), (0, 0))
        frame.paste(resized.resize((left, height), box=(w, 0, w, height)), (left + w, 0))
    return frame


def _cropped(image: Image, height: int, width: int) -> Image:
    """Resize an image to cover a frame, and cut off what does not fit."""
    from onnxpipe.processing.images.io.pillow import import_pillow

    frame = import_pillow().new("RGB", (width, height))
    resized, left, top = _fit(image, height, width, inside=False)
    frame.paste(resized, (left, top))
    return frame


def _widened(start: int, end: int, length: int, limit: int) -> tuple[int, int]:
    """Widen an interval on both sides to a length, within [0, limit]."""
    more = length - (end - start)
    start, end = start - more // 2, end + more - more // 2
    if end >= limit:
        start, end = start - (end - limit), limit
    if start < 0:
        start, end = 0, end - start
    return start, min(end, limit)


def repeat_to(values: Array, count: int, what: str, option: str) -> Array:
    """Repeat a batch to `count` entries, the whole of it again and again.

    Raises:
        UnsupportedError: it does not divide `count`.
    """
    if len(values) == count:
        return values
    if len(values) > count:
        raise UnsupportedError(f"{option}: {len(values)} {what} for {count} images to make: pass a prompt for each")
    if count % len(values):
        raise UnsupportedError(f"{option}: {len(values)} {what} cannot be shared out among {count} images to make")
    return np.tile(values, (count // len(values), *[1] * (values.ndim - 1)))
