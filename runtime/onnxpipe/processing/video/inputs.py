"""Read the input of a video processor: one video or many, as files or as frames."""

from __future__ import annotations

import os
from typing import Any

from onnxpipe.errors import ImageError
from onnxpipe.processing.arrays import as_array

_SOURCES = (str, os.PathLike, bytes, bytearray, memoryview)


def is_frames(video: Any) -> bool:
    """Return whether a video comes as its frames, and not as a file."""
    return not isinstance(video, _SOURCES)


def flatten_videos(videos: Any) -> list[Any]:
    """Flatten one video, an array of a batch, or (nested) lists of videos into one list.

    Args:
        videos: a path, URL or bytes; an array of frames (4 axes) or of videos (5 axes); a list of frames; or lists of
            those. Frames that are named by path or URL need one more list: a list of texts names videos, a list in a
            list in a list names frames.

    Returns:
        Files as they are, and lists or arrays of frames.

    Raises:
        ImageError: an empty list.
    """
    if isinstance(videos, _SOURCES):
        return [videos]
    array = as_array(videos)
    if array is not None:
        return list(array) if array.ndim == 5 else [array] if array.ndim == 4 else [[array]]
    if not isinstance(videos, (list, tuple)):
        return [[videos]]
    if not videos:
        raise ImageError("no videos: the list is empty")
    if all(map(_is_frame, videos)):
        return [list(videos)]
    if _names_frames(videos):
        return [frames for group in videos for frames in group]
    return [video for entry in videos for video in flatten_videos(entry)]


def _is_frame(value: Any) -> bool:
    """Return whether an entry of a list is a frame: an image that is loaded."""
    if isinstance(value, (*_SOURCES, list, tuple)):
        return False
    array = as_array(value)
    return array is None or array.ndim in (2, 3)


def _names_frames(videos: Any) -> bool:
    """Return whether lists in lists hold lists of texts."""
    first = videos[0]
    inner = first[0] if isinstance(first, (list, tuple)) and first else None
    return isinstance(inner, (list, tuple)) and bool(inner) and isinstance(inner[0], str)
