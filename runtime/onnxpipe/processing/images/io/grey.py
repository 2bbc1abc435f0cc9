"""Scale grey images of more than 8 bits to 8 bits: Pillow's own conversion makes every value above 255 white."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.errors import ImageError
from onnxpipe.processing.images.io.pillow import import_pillow

if TYPE_CHECKING:
    from PIL.Image import Image

#: The largest value of 16 bits, which is white.
_WHITE = 65_535
#: What can be white in an image of floats, which have no largest value.
_FLOAT_WHITES = (1, 255, _WHITE)
_BITS, _PHOTOMETRIC = 258, 262  # tags of TIFF


def to_eight_bits(image: Image) -> Image:
    """Scale a grey image of 16 bits, 32 bits or floats to 8 bits; return any other image as it is.

    65,535 is white, and the high byte is what stays, as Pillow does with RGB of 16 bits. For floats the smallest of 1,
    255 and 65,535 that is not exceeded is white. In TIFF, the number of bits and which end is white are as the tags
    say. Where the image names a value as transparent, the result has an alpha channel.

    Raises:
        ImageError: negative values, NaN, or values above 65,535.
    """
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image)
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if not (low >= 0 and high <= _WHITE):
        raise ImageError(
            f"a grey image of mode {image.mode} must have values of 0–{_WHITE}; this one goes from {low} to {high}: "
            "scale it to them, 65,535 is white"
        )
    tags = getattr(image, "tag_v2", {})
    grey = _scaled(values, _first(tags.get(_BITS)))
    if _first(tags.get(_PHOTOMETRIC)) == 0:
        grey = 255 - grey
    pillow = import_pillow()
    result: Image = pillow.fromarray(grey)
    if isinstance(transparent := image.info.get("transparency"), int):
        result.putalpha(pillow.fromarray(np.where(values == transparent, np.uint8(0), np.uint8(255))))
    return result


def _scaled(values: NDArray[Any], bits: Any) -> NDArray[np.uint8]:
    if values.dtype.kind == "f":
        white = next(white for white in _FLOAT_WHITES if values.max(initial=0) <= white)
        return np.asarray(np.rint(values * (255 / white)), np.uint8)
    used = bits if isinstance(bits, int) and 8 < bits < 16 else 16
    return np.asarray(np.minimum(values >> (used - 8), 255), np.uint8)


def _first(value: Any) -> Any:
    """Return a TIFF tag's value, or the first of its values."""
    return value[0] if isinstance(value, tuple) and value else value
