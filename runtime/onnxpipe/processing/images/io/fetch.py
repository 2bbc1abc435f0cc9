"""Download an image from a URL; see `onnxpipe.processing.fetch` for what is safe about it."""

from __future__ import annotations

from onnxpipe.errors import ImageError
from onnxpipe.processing import fetch as shared

#: Largest image, in bytes, that is fetched.
MAX_IMAGE_BYTES = 128 * 2**20


def fetch(url: str, timeout: float | None = None, *, max_bytes: int = MAX_IMAGE_BYTES) -> bytes:
    """Download the body of a URL; arguments as in `onnxpipe.processing.fetch.fetch`.

    Raises:
        ImageError: where that function raises `FetchError`.
    """
    try:
        return shared.fetch(url, timeout, max_bytes=max_bytes)
    except shared.FetchError as error:
        raise ImageError(str(error)) from error
