"""Cut a window's tokens at its timestamps into segments, and find where the next window begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.generation.protocols import Array
from onnxpipe.generation.whisper.decoding import DecodedWindow
from onnxpipe.generation.whisper.settings import WhisperSettings


@dataclass(frozen=True)
class WindowSpan:
    """A piece of a recording.

    Attributes:
        start: its first frame.
        frames: number of frames.
        stride: frames per state of the encoder, the step of timestamps.
    """

    start: int
    frames: int
    stride: int


def cut(
    decoded: DecodedWindow, window: WindowSpan, settings: WhisperSettings, result: Any, times: Array | None
) -> tuple[list[dict[str, Any]], int]:
    """Cut a window into segments; gives these, and the number of frames to the next window.

    Where two timestamps follow each other, a segment ends and the next begins. The text after the last such pair is
    unfinished: the next window begins there. A single timestamp at the end means that no speech follows.

    Args:
        decoded: the window's tokens.
        window: its place.
        settings: the call.
        result: the segments' `result`.
        times: float32 (length of the sequence,): the time of each token in the window; or None.
    """
    tokens, begin = decoded.tokens, settings.timestamp_begin
    stamps = tokens >= begin
    ends = (np.flatnonzero(stamps[:-1] & stamps[1:]) + 1).tolist()
    if not ends:
        span = _whole(tokens, window, settings)
        return [_segment(decoded, window, settings, result, times, (0, len(tokens)), span)], window.frames
    closed = bool(stamps[-1] and not stamps[-2])
    if closed:
        ends.append(len(tokens))
    else:
        ends[-1] += 1  # with the second timestamp of the pair, which shows that the speech goes on
    segments, start = [], 0
    for end in ends:
        last = end == ends[-1] and not closed
        stop = tokens[end - 2 if last else end - 1]
        span = (float(tokens[start] - begin), float(stop - begin))
        segments.append(_segment(decoded, window, settings, result, times, (start, end), span))
        start = end
    if closed:
        return segments, window.frames
    return segments, int(tokens[start - 2] - begin) * window.stride


def _whole(tokens: Array, window: WindowSpan, settings: WhisperSettings) -> tuple[float, float]:
    """Begin and end, in steps of timestamps, of a window without a pair of them."""
    stamps = tokens[tokens >= settings.timestamp_begin]
    if stamps.size and stamps[-1] != settings.timestamp_begin:
        return 0.0, float(stamps[-1] - settings.timestamp_begin)
    return 0.0, float(int(window.frames * settings.time_precision_features / settings.time_precision))


def _segment(
    decoded: DecodedWindow,
    window: WindowSpan,
    settings: WhisperSettings,
    result: Any,
    times: Array | None,
    place: tuple[int, int],
    span: tuple[float, float],
) -> dict[str, Any]:
    """Make one segment: the tokens at `place` of a window, between the steps of `span`."""
    offset = np.float64(window.start) * settings.time_precision / window.stride
    first, last = decoded.start + place[0], decoded.start + place[1]
    segment: dict[str, Any] = {
        "start": offset + span[0] * settings.time_precision,
        "end": offset + span[1] * settings.time_precision,
        "tokens": decoded.tokens[place[0] : place[1]],
        "idxs": (first, last),
        "result": result,
    }
    if times is not None:
        segment["token_timestamps"] = times[first:last] + np.float32(offset)
    return segment
