"""The bytes of a picture from a URL; `onnxpipe.processing.fetch` says what is safe about it."""

from __future__ import annotations

from onnxpipe.errors import ImageError
from onnxpipe.processing import fetch as shared

#: Bytes that an image may have.
MAX_IMAGE_BYTES = 128 * 2**20


def fetch(url: str, timeout: float | None = None, *, max_bytes: int = MAX_IMAGE_BYTES) -> bytes:
    """The body that a URL gives; arguments as in `onnxpipe.processing.fetch.fetch`.

    Raises:
        ImageError: what is a `FetchError` there.
    """
    try:
        return shared.fetch(url, timeout, max_bytes=max_bytes)
    except shared.FetchError as error:
        raise ImageError(str(error)) from error
