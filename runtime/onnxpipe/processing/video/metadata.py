"""What is known of a video beside its frames: how many it had, how fast, and which of them were taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from onnxpipe.errors import UnknownArgumentError, UnsupportedError

#: Frames a second where nothing says how many: the rate of cinemas, as transformers assumes.
ASSUMED_FPS = 24


@dataclass(frozen=True)
class VideoMetadata:
    """The facts of a video.

    Attributes:
        total_num_frames: frames of the whole video.
        fps: frames a second; None if unknown.
        width, height: pixels of a frame; None if unknown.
        duration: seconds; None if unknown.
        video_backend: what decoded it; None for frames that were passed.
        frames_indices: the numbers of the frames that were taken, from 0; None for all.
    """

    total_num_frames: int
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    duration: float | None = None
    video_backend: str | None = None
    frames_indices: Sequence[int] | None = None

    @property
    def indices(self) -> Sequence[int]:
        """The numbers of the frames that were taken."""
        return range(self.total_num_frames) if self.frames_indices is None else self.frames_indices

    @property
    def timestamps(self) -> list[float]:
        """The times of the frames that were taken, in seconds."""
        return [index / (self.fps or ASSUMED_FPS) for index in self.indices]

    @property
    def sampled_fps(self) -> float:
        """How many frames a second were taken."""
        if self.fps is None or self.frames_indices is None:
            return self.fps or ASSUMED_FPS
        return len(self.frames_indices) / self.total_num_frames * self.fps


def metadata_of(value: Any) -> VideoMetadata:
    """Read what a caller says of a video: a `VideoMetadata`, or a dict with its fields.

    Raises:
        UnknownArgumentError: a field that there is not.
        UnsupportedError: something else, or no number of frames.
    """
    if isinstance(value, VideoMetadata):
        return value
    names = [field.name for field in fields(VideoMetadata)]
    if not isinstance(value, Mapping) or not isinstance(value.get("total_num_frames"), int):
        raise UnsupportedError(
            f"video_metadata must be a dict with total_num_frames, a whole number; got {value!r:.80}"
        )
    for name in value:
        if name not in names:
            raise UnknownArgumentError.among("video_metadata", name, names)
    for name in ("fps", "duration"):
        number = value.get(name)
        if number is not None and (isinstance(number, bool) or not isinstance(number, (int, float)) or number <= 0):
            raise UnsupportedError(f"{name} of video_metadata must be a number above 0; got {number!r}")
    return VideoMetadata(**value)
