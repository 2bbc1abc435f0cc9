"""Convert answers to plain Python values."""

from __future__ import annotations

import base64
from typing import Any

from onnxpipe.processing.plain_values import png_of, to_plain


def plain(value: Any) -> Any:
    """Convert a value to dicts, lists, text and numbers.

    numpy's arrays and scalars become lists and numbers; PIL images, and masks of bool (height, width), become PNGs as
    `data:` URLs, which `load_image` reads.
    """
    return to_plain(value, _data_url)


def _data_url(value: Any) -> str | None:
    """Encode an image or a mask as a `data:` URL; None for any other value."""
    png = png_of(value)
    return None if png is None else "data:image/png;base64," + base64.b64encode(png).decode()


def record_of(image: Any) -> dict[str, str]:
    """Return how a PIL image was generated, as the tasks with an image generator note it; empty for other images."""
    from onnxpipe.tasks.image_generation.task import RECORD

    record: dict[str, str] = image.info.get(RECORD, {})
    return record


def megabytes(size: int) -> str:
    """Format a number of bytes as MB or kB."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
