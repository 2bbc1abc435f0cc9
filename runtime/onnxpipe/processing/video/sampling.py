"""Choose which frames of a video a model sees, as each family's video processor in transformers does.

Every function takes the facts of the video and the settings, and returns the numbers of the frames, int64, from 0, in
rising order.
"""

from __future__ import annotations

from math import ceil, floor

import numpy as np

from onnxpipe.errors import ImageError, UnsupportedError
from onnxpipe.processing.images.qwen2_vl import depth
from onnxpipe.processing.images.settings import ImageProcessorSettings
from onnxpipe.processing.images.transforms import Array
from onnxpipe.processing.video.metadata import ASSUMED_FPS, VideoMetadata

#: Most frames that are chosen of a video, where some may come twice.
MOST_FRAMES = 2**16
#: Seconds that SmolVLM leaves out at the beginning and the end of a long video.
_SKIPPED_SECONDS = 1


def uniform(video: VideoMetadata, settings: ImageProcessorSettings) -> Array:
    """Choose `num_frames` of them, or `fps` a second, or all."""
    check_one_way(settings)
    count = settings.num_frames
    if count is None and settings.fps is not None:
        count = max(1, int(video.total_num_frames / known_fps(video) * settings.fps))
    if count is None:
        return np.arange(video.total_num_frames)
    check_count(count, video)
    return np.arange(count) * video.total_num_frames // count


def in_whole_patches(video: VideoMetadata, settings: ImageProcessorSettings) -> Array:
    """Choose as many as fill patches in time (Qwen2-VL), within `min_frames` and `max_frames`."""
    check_one_way(settings)
    unit = depth(settings)
    total, count = video.total_num_frames, settings.num_frames
    if count is not None:
        count = round(count / unit) * unit
    elif settings.fps is not None:
        most = floor(min(settings.max_frames or total, total) / unit) * unit
        wanted = min(max(total / known_fps(video) * settings.fps, settings.min_frames or 0), most, total)
        count = floor(wanted / unit) * unit
    if count is None:
        return np.arange(total)
    if not count:
        raise ImageError(f"a video of {total} frames is too short to fill a patch of {unit} frames: pass "
                         "do_sample_frames=False")  # fmt: skip
    check_count(count, video)
    return _steps(0, total, count)


def from_end_to_end(video: VideoMetadata, settings: ImageProcessorSettings) -> Array:
    """Choose evenly from the first to the last (Qwen3-VL); `fps` holds if no `num_frames` is passed."""
    total, count = video.total_num_frames, settings.num_frames
    least, most = settings.min_frames or 1, settings.max_frames or total
    if count is None and settings.fps is not None:
        count = min(max(int(total / (video.fps or ASSUMED_FPS) * settings.fps), least), most, total)
    if count is None:
        count = min(max(total, least), most)
    if count > MOST_FRAMES:
        raise ImageError(f"{count} frames of a video would be chosen, more than {MOST_FRAMES}: pass num_frames=")
    return np.linspace(0, total - 1, count).round().astype(np.int64)


def without_the_ends(video: VideoMetadata, settings: ImageProcessorSettings) -> Array:
    """Choose at most `num_frames`, at most `fps` a second, and of a long video none of the ends (SmolVLM)."""
    if settings.num_frames is None or settings.fps is None:
        raise UnsupportedError("frames are chosen by num_frames= and fps= together here: pass both, or "
                               "do_sample_frames=False")  # fmt: skip
    rate, total = known_fps(video), video.total_num_frames
    seconds = total / rate if video.duration is None else video.duration
    count = max(1, min(round(settings.fps * seconds), settings.num_frames))
    first, last = 0, total - 1
    if seconds - 2 * _SKIPPED_SECONDS > settings.num_frames * settings.fps:
        first, last = int(_SKIPPED_SECONDS * rate), min(int(total - _SKIPPED_SECONDS * rate), total - 1)
        if first >= last:
            first, last = 0, total - 1
    count = min(count, 2 * total)  # which are all of them already
    return np.unique(np.linspace(first, last, count, dtype=np.int64))


def from_the_middle(video: VideoMetadata, settings: ImageProcessorSettings) -> Array:
    """Choose the middle ones of equal parts (InternVL); `initial_shift` says how far into a part, True for half."""
    total, count = video.total_num_frames, settings.num_frames
    if count is None and settings.fps is not None:
        count = int(total / known_fps(video) * settings.fps)
    if not count:
        raise UnsupportedError("frames are chosen by num_frames= or fps= here: pass one, or do_sample_frames=False")
    check_count(count, video)
    shift = settings.initial_shift
    start = total / count / 2 if shift is True else float(shift or 0)
    return _steps(start, total, count)


def _steps(start: float, total: int, count: int) -> Array:
    """Step through a video in equal parts from `start` on, rounded as in torch: to float32, then down."""
    step = total / count
    return (start + step * np.arange(ceil((total - start) / step))).astype(np.float32).astype(np.int64)


def check_one_way(settings: ImageProcessorSettings) -> None:
    """Check that not both `num_frames` and `fps` say how many frames are chosen.

    Raises:
        UnsupportedError: both do.
    """
    if settings.num_frames is not None and settings.fps is not None:
        raise UnsupportedError("`num_frames` and `fps` are mutually exclusive arguments, please use only one!")


def check_count(count: int, video: VideoMetadata) -> None:
    """Check that a video has as many frames.

    Raises:
        ImageError: it has fewer.
    """
    if count > video.total_num_frames:
        raise ImageError(
            f"Video can't be sampled. The inferred `num_frames={count}` exceeds `total_num_frames="
            f"{video.total_num_frames}`. Decrease `num_frames` or `fps` for sampling."
        )


def known_fps(video: VideoMetadata) -> float:
    """Return the frames a second of a video.

    Raises:
        UnsupportedError: they are not known.
    """
    if video.fps is None:
        raise UnsupportedError(
            "Asked to sample `fps` frames per second but no video metadata was provided which is required when "
            "sampling with `fps`. Pass video_metadata={'total_num_frames': …, 'fps': …}, or do_sample_frames=False"
        )
    return video.fps
