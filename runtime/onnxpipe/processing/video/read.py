"""Read the frames of a video from whatever names or holds it; see `processing.av` for how a file is opened safely."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.errors import ImageError, ImageNotFoundError, MissingDependencyError
from onnxpipe.processing.av import VIDEO_FORMATS, open_container
from onnxpipe.processing.data_urls import decode_data_url, is_data_url
from onnxpipe.processing.images.io.fetch import fetch
from onnxpipe.processing.urls import is_url, without_secrets
from onnxpipe.processing.video.metadata import VideoMetadata

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

#: Largest video, in bytes, that is fetched from a URL.
MAX_VIDEO_BYTES = 512 * 2**20

#: Largest frame, in pixels: four times those of 8K.
MAX_FRAME_PIXELS = 2**27

#: Pixels that the frames of a call may have together: 16 frames of 8K.
MAX_PIXELS = 2**29

#: Most frames of a call, and most frames between two of them.
MAX_FRAMES = 2**16

#: How many packets of a file with several video streams are looked at to find the video itself.
_MAX_PACKETS = 2000
#: The numbers of a display matrix: nine, row by row.
_MATRIX = np.dtype(np.int32)


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
        (frames, height, width, 3) uint8, RGB, upright as the file's display matrix says. A cover or another still
        beside the video itself is not a video.

    Raises:
        ImageNotFoundError: a path at which there is no file, or a folder.
        ImageError: a file that cannot be opened, holds no video or is broken, frames too large, or too few of them.
        TypeError: a source of another type.
        ValueError: numbers below 1, or above `MAX_FRAMES`.
        MissingDependencyError: PyAV is not installed.
    """
    if num_frames < 1 or frame_sampling_rate < 1:
        raise ValueError(f"{num_frames=} and {frame_sampling_rate=} must be at least 1")
    if num_frames > MAX_FRAMES or frame_sampling_rate > MAX_FRAMES:
        raise ValueError(f"{num_frames=} and {frame_sampling_rate=} must be at most {MAX_FRAMES}")
    wanted = np.linspace(0, num_frames * frame_sampling_rate - 1, num_frames, dtype=np.int64)
    with _opened(source, timeout) as (container, stream, name, _):
        frames, count = _frames_at(container, stream, name, wanted)
    if not frames or (len(frames) < num_frames and not allow_fewer):
        raise ImageError(
            f"{name} has {count} frames; {num_frames} frames, {frame_sampling_rate} apart, need {wanted[-1] + 1}: "
            "pass a longer video, or a smaller num_frames= or frame_sampling_rate="
        )
    return np.stack(frames)


def read_video(
    source: Any, choose: Callable[[VideoMetadata], NDArray[Any]], timeout: float | None = None
) -> tuple[NDArray[np.uint8], VideoMetadata]:
    """Read those frames of a video that a function chooses by what is known of it.

    Args:
        source: as in `read_frames`.
        choose: from the facts of the video to the numbers of the frames, from 0, in rising order.
        timeout: seconds for a URL; None for `fetch.DEFAULT_SECONDS`.

    Returns:
        The frames, as in `read_frames`, and the facts, with which frames these are.

    Raises:
        ImageNotFoundError, ImageError, TypeError, MissingDependencyError: as in `read_frames`.
    """
    with _opened(source, timeout) as (container, stream, name, file):
        total = _count(file, stream.index)
        if not total:
            raise ImageError(f"{name} has no frames")
        rate = stream.average_rate or stream.guessed_rate
        fps = float(rate) if rate else None
        facts = VideoMetadata(
            total, fps, stream.codec_context.width, stream.codec_context.height, total / fps if fps else None, "pyav"
        )
        chosen = np.asarray(choose(facts), np.int64)
        wanted = np.unique(chosen)
        if len(wanted) > MAX_FRAMES:
            raise ImageError(f"{name} has {total} frames, more than {MAX_FRAMES}: pass num_frames= or fps=")
        frames, count = _frames_at(container, stream, name, wanted)
        if len(frames) < len(wanted):
            raise ImageError(f"{name} says that it has {total} frames, but only {count} can be decoded: it is broken")
    return np.stack(frames)[np.searchsorted(wanted, chosen)], replace(facts, frames_indices=chosen.tolist())


def _frames_at(
    container: InputContainer, stream: VideoStream, name: str, wanted: NDArray[np.int64]
) -> tuple[list[NDArray[np.uint8]], int]:
    """Decode the frames of these numbers, rising from 0; return as many as there are, and how many were decoded.

    Raises:
        ImageError: they are too large, or of different sizes.
    """
    frames: list[NDArray[np.uint8]] = []
    count = 0
    for number, frame in enumerate(container.decode(stream)):
        count = number + 1
        if number == wanted[len(frames)]:
            _check_size(frame.width, frame.height, name)
            if (len(frames) + 1) * frame.width * frame.height > MAX_PIXELS:
                raise ImageError(
                    f"{len(wanted)} frames of {name}, {frame.width}x{frame.height} pixels each, have more than the "
                    f"{MAX_PIXELS} pixels allowed: pass a smaller num_frames= or a smaller video"
                )
            frames.append(_upright(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8), frame))
        if len(frames) == len(wanted):
            break
    if len({frame.shape for frame in frames}) > 1:
        raise ImageError(f"the frames of {name} have different sizes")
    return frames, count


def _count(file: IO[bytes], stream_index: int) -> int:
    """Count the frames of a stream, whose packets have one each, without decoding them."""
    place = file.tell()
    file.seek(0)
    with open_container(file, VIDEO_FORMATS) as container:
        packets = container.demux(container.streams[stream_index])
        count = sum(1 for packet in packets if packet.size > 0 and not packet.is_discard)
    file.seek(place)
    return count


@contextmanager
def _opened(source: Any, timeout: float | None) -> Iterator[tuple[InputContainer, VideoStream, str, IO[bytes]]]:
    """Open a video; yield its container, the stream that is the video itself, its name for messages, and the file."""
    av = import_av()
    name = without_secrets(str(os.fspath(source))) if isinstance(source, (str, os.PathLike)) else "the video"
    name = "the data: URL" if is_data_url(name) else name
    with _file(source, timeout) as file:
        try:
            with open_container(file, VIDEO_FORMATS) as container:
                if not container.streams.video:
                    raise ImageError(f"{name} has no video stream")
                stream = container.streams.video[_main_stream(file) if len(container.streams.video) > 1 else 0]
                if stream.codec_context is None:
                    raise ImageError(f"the video stream of {name} has a codec that PyAV does not know")
                _check_size(stream.codec_context.width, stream.codec_context.height, name)
                yield container, stream, name, file
        except av.error.FFmpegError as error:
            raise ImageError(f"{name} is broken, or not a video: {error.strerror or error}") from error


def _main_stream(file: IO[bytes]) -> int:
    """Find the video itself among the streams of a file: the first, by its flags, that has more than one frame."""
    place = file.tell()
    file.seek(0)
    with open_container(file, VIDEO_FORMATS) as container:
        streams = list(container.streams.video)
        best = sorted(range(len(streams)), key=lambda number: _rank(streams[number]))
        numbers = {stream.index: number for number, stream in enumerate(streams)}
        packets = [0] * len(streams)
        for packet in islice(container.demux(streams), _MAX_PACKETS):
            packets[numbers[packet.stream_index]] += packet.size > 0
            if packets[best[0]] > 1:
                break
    file.seek(place)
    return next((number for number in best if packets[number] > 1), best[0])


def _rank(stream: VideoStream) -> tuple[bool, bool, bool]:
    """Order the streams of a file: those with a known codec first, stills last, and before others the default one."""
    from av.stream import Disposition

    flags = stream.disposition
    still = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
    return stream.codec_context is None, bool(flags & still), not flags & Disposition.default


def _upright(pixels: NDArray[np.uint8], frame: VideoFrame) -> NDArray[np.uint8]:
    """Turn and mirror the pixels of a frame as its display matrix says, to the nearest right angle."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    matrix = b"" if data is None else bytes(data)
    if len(matrix) != _MATRIX.itemsize * 9:
        return pixels
    # The pixel at (x, y) belongs at (a x + c y, b x + d y).
    a, b, _, c, d = (int(value) for value in np.frombuffer(matrix, _MATRIX)[:5])
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


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


def import_av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError('videos need PyAV; install it with: pip install "onnxpipe[video]"') from error
    return av
