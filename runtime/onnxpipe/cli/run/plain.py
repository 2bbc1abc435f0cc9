"""Convert answers to plain Python values."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")


def plain(value: Any) -> Any:
    """Convert a value to dicts, lists, text and numbers.

    numpy's arrays and scalars become lists and numbers; PIL images, and masks of bool (height, width), become PNGs as
    `data:` URLs, which `load_image` reads.
    """
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if is_image(value):
        return data_url(value)
    if getattr(value, "ndim", 0) == 2 and value.dtype == bool:
        return data_url(mask_image(value))
    if hasattr(value, "tolist"):  # arrays and scalars of numpy
        return value.tolist()
    if value is None or isinstance(value, (str, int, float)):
        return value
    return str(value)


def is_image(value: Any) -> bool:
    """Tell whether a value is a PIL image, without importing PIL."""
    return hasattr(value, "getbands") and hasattr(value, "save")


def data_url(image: Any) -> str:
    """Encode a PIL image as a PNG in a `data:` URL."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def mask_image(mask: Any) -> Any:
    """Convert a bool array (height, width) to a grey PIL image, 255 where it is true."""
    from PIL import Image

    return Image.fromarray(mask.astype("uint8") * 255)


def text_problem(text: str, encoding: str = "UTF-8") -> str | None:
    """Tell what makes a text unreadable: a lone surrogate, or a byte that was not in the encoding; None if nothing."""
    found = _SURROGATE.search(text)
    if found is None:
        return None
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:
        return f"byte 0x{code - 0xDC00:02x} is not {encoding}"
    return f"the text has a lone surrogate, U+{code:04X}, which is no character"


def without_surrogates(text: str) -> str:
    """Replace lone surrogates by U+FFFD, the replacement character."""
    return _SURROGATE.sub("\ufffd", text)


def megabytes(size: int) -> str:
    """Format a number of bytes as MB or kB."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
