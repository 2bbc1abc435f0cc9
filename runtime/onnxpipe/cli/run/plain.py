"""Answers without numpy, text without control characters."""

from __future__ import annotations

import base64
import io
from typing import Any


def plain(value: Any) -> Any:
    """The same value of dicts, lists, text and numbers.

    numpy's arrays and scalars become lists and numbers; pictures, and masks of bool (height, width), become PNGs as
    `data:` URLs, which `load_image` reads.
    """
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if hasattr(value, "getbands"):  # a PIL image
        return data_url(value)
    if getattr(value, "ndim", 0) == 2 and value.dtype == bool:
        return data_url(mask_picture(value))
    if hasattr(value, "tolist"):  # arrays and scalars of numpy
        return value.tolist()
    if value is None or isinstance(value, (str, int, float)):
        return value
    return str(value)


def data_url(picture: Any) -> str:
    """A PIL image as a PNG in text."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def mask_picture(mask: Any) -> Any:
    """A grey PIL image, 255 where a bool array (height, width) is true."""
    from PIL import Image

    return Image.fromarray(mask.astype("uint8") * 255)


def printable(text: str) -> str:
    """Text in one line, without control characters: what stands in an input or a model must not steer the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def megabytes(size: int) -> str:
    """A size for people."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
