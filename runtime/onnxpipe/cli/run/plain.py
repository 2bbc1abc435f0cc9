"""Convert answers to plain Python values."""

from __future__ import annotations

import base64
import io
from typing import Any


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


def record_of(image: Any) -> dict[str, str]:
    """Return how a PIL image was generated, as the tasks with an image generator note it; empty for other images."""
    from onnxpipe.tasks.image_generation.task import RECORD

    record: dict[str, str] = image.info.get(RECORD, {})
    return record


def data_url(image: Any) -> str:
    """Encode a PIL image as a PNG in a `data:` URL."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def mask_image(mask: Any) -> Any:
    """Convert a bool array (height, width) to a grey PIL image, 255 where it is true."""
    from PIL import Image

    return Image.fromarray(mask.astype("uint8") * 255)


def megabytes(size: int) -> str:
    """Format a number of bytes as MB or kB."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
