"""Read the frames of a video from whatever names or holds it; see `processing.av` for how a file is opened safely."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.errors import ImageError, ImageNotFoundError, MissingDependencyError
from onnxpipe.processing.av import VIDEO_FORMATS, open_container
from onnxpipe.processing.data_urls import decode_data_url, is_data_url
from onnxpipe.processing.images.io.fetch import fetch
from onnxpipe.processing.urls import is_url, without_secrets

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

#: Largest video, in bytes, that is fetched from a URL.
MAX_VIDEO_BYTES = 512 * 2**20

#: Largest frame, in pixels: four times those of 8K.
MAX_FRAME_PIXELS = 2**27


def read_frames(
    source: Any,
    num_frames: int,
    frame_sampling_rate: int = 1,
    timeout: float | None = None,
    *,
    allow_fewer: bool = False,
) -> NDArray[np.uint8]:
    """Read evenly spaced frames from the beginning of a video.

    Args:
        source: a path (str or `Path`), an http(s) URL, or the bytes of a file.
        num_frames: how many; the last is number `num_frames * frame_sampling_rate - 1` of the video, from 0.
        frame_sampling_rate: how far apart they are.
        timeout: seconds for a URL; None for `fetch.DEFAULT_SECONDS`.
        allow_fewer: return those that there are where the video is too short.

    Returns:
        (frames, height, width, 3) uint8, RGB. The rotation that the file names is not applied, as in transformers.

    Raises:
        ImageNotFoundError: a path at which there is no file, or a folder.
        ImageError: a file that cannot be opened, holds no video or is broken, frames too large, or too few of them.
        TypeError: a source of another type.
        ValueError: numbers below 1.
        MissingDependencyError: PyAV is not installed.
    """
    if num_frames < 1 or frame_sampling_rate < 1:
        raise ValueError(f"{num_frames=} and {frame_sampling_rate=} must be at least 1")
    wanted = np.linspace(0, num_frames * frame_sampling_rate - 1, num_frames, dtype=np.int64)
    frames: list[NDArray[np.uint8]] = []
    count = 0
    with _opened(source, timeout) as (container, stream, name):
        for number, frame in enumerate(container.decode(stream)):
            count = number + 1
            if number == wanted[len(frames)]:
                _check_size(frame.width, frame.height, name)
                frames.append(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
            if len(frames) == num_frames:
                break
    if not frames or (len(frames) < num_frames and not allow_fewer):
        raise ImageError(
            f"{name} has {count} frames; {num_frames} frames, {frame_sampling_rate} apart, need {wanted[-1] + 1}: "
            "pass a longer video, or a smaller num_frames= or frame_sampling_rate="
        )
    if len({frame.shape for frame in frames}) > 1:
        raise ImageError(f"the frames of {name} have different sizes")
    return np.stack(frames)


@contextmanager
def _opened(source: Any, timeout: float | None) -> Iterator[tuple[InputContainer, VideoStream, str]]:
    """Open a video; yield its container, its first video stream, and its name for messages."""
    av = _import_av()
    name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else "the video"
    name = without_secrets(name) if isinstance(source, str) and is_url(source) else name
    name = "the data: URL" if is_data_url(name) else name
    with _file(source, timeout) as file:
        try:
            with open_container(file, VIDEO_FORMATS) as container:
                if not container.streams.video:
                    raise ImageError(f"{name} has no video stream")
                stream = container.streams.video[0]
                if stream.codec_context is None:
                    raise ImageError(f"the video stream of {name} has a codec that PyAV does not know")
                _check_size(stream.codec_context.width, stream.codec_context.height, name)
                yield container, stream, name
        except av.error.FFmpegError as error:
            raise ImageError(f"{name} is broken, or not a video: {error.strerror or error}") from error


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MAX_FRAME_PIXELS:
        raise ImageError(f"{name} has frames of {width}x{height} pixels, more than the {MAX_FRAME_PIXELS} allowed")


def _file(source: Any, timeout: float | None) -> IO[bytes]:
    if isinstance(source, str) and is_url(source):
        return BytesIO(fetch(source, timeout, max_bytes=MAX_VIDEO_BYTES))
    if isinstance(source, str) and is_data_url(source):
        try:
            return BytesIO(decode_data_url(source))
        except ValueError as error:
            raise ImageError(f"the data: URL cannot be read: {error}") from error
    if isinstance(source, (str, os.PathLike)):
        name = without_secrets(str(os.fspath(source)))
        try:
            return open(source, "rb")  # noqa: PTH123  # closed by the caller; a str or a path
        except FileNotFoundError as error:
            raise ImageNotFoundError(f"there is no such file: {name}") from error
        except IsADirectoryError as error:
            raise ImageNotFoundError(f"{name} is a folder, not a file") from error
        except (OSError, ValueError) as error:
            raise ImageError(f"{name} could not be opened: {error}") from error
    if isinstance(source, (bytes, bytearray, memoryview)):
        return BytesIO(source)
    raise TypeError(f"a video must be a path, a URL or bytes, not {type(source).__name__}")


def _import_av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError('videos need PyAV; install it with: pip install "onnxpipe[video]"') from error
    return av
