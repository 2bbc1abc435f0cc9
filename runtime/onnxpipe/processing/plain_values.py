"""Convert answers to what JSON can hold."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any


def to_plain(value: Any, special: Callable[[Any], Any]) -> Any:
    """Convert a value to dicts, lists, texts and numbers; numpy's arrays and scalars become lists and numbers.

    Args:
        value: an answer, or a part of one.
        special: converts a value that is written in another way, such as an image; None for any other value.
    """
    found = special(value)
    if found is not None:
        return found
    if isinstance(value, Mapping):
        return {str(name): to_plain(each, special) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(each, special) for each in value]
    if hasattr(value, "tolist"):  # arrays and scalars of numpy
        return value.tolist()
    if value is None or isinstance(value, (str, int, float)):
        return value
    return str(value)


def is_image(value: Any) -> bool:
    """Tell whether a value is a PIL image, without importing PIL."""
    return hasattr(value, "getbands") and hasattr(value, "save")


def png(image: Any) -> bytes:
    """Encode a PIL image."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def png_of(value: Any) -> bytes | None:
    """Encode a PIL image, or a mask of bool (height, width), which becomes grey: 255 where it is true.

    Returns:
        The PNG; None for a value that is neither.
    """
    if is_image(value):
        return png(value)
    if getattr(value, "ndim", 0) != 2 or value.dtype != bool:
        return None
    from PIL import Image

    return png(Image.fromarray(value.astype("uint8") * 255))
