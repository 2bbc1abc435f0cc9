"""The sizes of images and recordings, read from their headers before they are decoded."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from typing import Any

from onnxpipe.serving.faults import RequestFault
from onnxpipe.serving.settings import ServeSettings
from onnxpipe.tasks.base.spec import TaskSpec


def check_size(value: Any, spec: TaskSpec, settings: ServeSettings) -> None:
    """Check the files of an input. One that cannot be read is left to the pipeline, which says what is wrong with it.

    Raises:
        RequestFault: 413: an image has too many pixels, or a recording is too long.
    """
    for data in _files(value):
        if spec.input == "audio" or data[:4] in (b"RIFF", b"fLaC", b"OggS"):
            seconds = seconds_of(data)
            if seconds is not None and seconds > settings.max_seconds:
                raise _too_large(f"a recording has {seconds:,.0f} seconds; the most are {settings.max_seconds:,.0f}")
        if spec.takes_images or spec.chats:
            pixels = _pixels(data)
            if pixels is not None and pixels > settings.max_pixels:
                raise _too_large(f"an image has {pixels:,} pixels; the most are {settings.max_pixels:,}")


def _too_large(message: str) -> RequestFault:
    return RequestFault(413, message, "too_large", "inputs")


def _files(value: Any) -> Iterator[bytes]:
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _files(each)
    elif isinstance(value, list):
        for each in value:
            yield from _files(each)


def _pixels(data: bytes) -> int | None:
    with contextlib.suppress(Exception):  # whatever is wrong with it, the pipeline says
        from PIL import Image

        with Image.open(io.BytesIO(data)) as image:
            return int(image.width * image.height)
    return None


def seconds_of(data: bytes) -> float | None:
    """Read how long a recording is from its header; None if that does not say."""
    with contextlib.suppress(Exception):  # see _pixels
        import soundfile

        return float(soundfile.info(io.BytesIO(data)).duration)
    return None
