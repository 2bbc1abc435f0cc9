"""A window's tokens, cut at its timestamps: what is said from when to when, and where to go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.generation.protocols import Array
from onnxpipe.generation.whisper.settings import Settings
from onnxpipe.generation.whisper.writing import Written


@dataclass(frozen=True)
class Window:
    """A piece of a recording.

    Attributes:
        start: its first frame.
        frames: how many.
        stride: frames of a state of the encoder, the step of timestamps.
    """

    start: int
    frames: int
    stride: int


def cut(
    written: Written, window: Window, settings: Settings, result: Any, times: Array | None
) -> tuple[list[dict[str, Any]], int]:
    """The segments of a window, and how many frames on the next one begins.

    Where two timestamps follow each other, a segment ends and the next begins. What is written after the last such pair
    is unfinished: the next window begins there. One timestamp at the end says that nobody speaks afterwards.

    Args:
        written: what was written of it.
        window: where it is.
        settings: the call.
        result: what segments call `result`.
        times: float32 (length of the sequence,): when each token is said in the window; or None.
    """
    tokens, begin = written.tokens, settings.timestamp_begin
    stamps = tokens >= begin
    ends = (np.flatnonzero(stamps[:-1] & stamps[1:]) + 1).tolist()
    if not ends:
        span = _whole(tokens, window, settings)
        return [_segment(written, window, settings, result, times, (0, len(tokens)), span)], window.frames
    closed = bool(stamps[-1] and not stamps[-2])
    if closed:
        ends.append(len(tokens))
    else:
        ends[-1] += 1  # with the second timestamp of the pair: so much tells that more was to follow
    segments, start = [], 0
    for end in ends:
        last = end == ends[-1] and not closed
        stop = tokens[end - 2 if last else end - 1]
        span = (float(tokens[start] - begin), float(stop - begin))
        segments.append(_segment(written, window, settings, result, times, (start, end), span))
        start = end
    if closed:
        return segments, window.frames
    return segments, int(tokens[start - 2] - begin) * window.stride


def _whole(tokens: Array, window: Window, settings: Settings) -> tuple[float, float]:
    """Begin and end, in steps of timestamps, of what has no pair of them."""
    stamps = tokens[tokens >= settings.timestamp_begin]
    if stamps.size and stamps[-1] != settings.timestamp_begin:
        return 0.0, float(stamps[-1] - settings.timestamp_begin)
    return 0.0, float(int(window.frames * settings.time_precision_features / settings.time_precision))


def _segment(
    written: Written,
    window: Window,
    settings: Settings,
    result: Any,
    times: Array | None,
    place: tuple[int, int],
    span: tuple[float, float],
) -> dict[str, Any]:
    """One segment: the tokens at `place` of a window, said from and to the steps of `span`."""
    offset = np.float64(window.start) * settings.time_precision / window.stride
    first, last = written.start + place[0], written.start + place[1]
    segment: dict[str, Any] = {
        "start": offset + span[0] * settings.time_precision,
        "end": offset + span[1] * settings.time_precision,
        "tokens": written.tokens[place[0] : place[1]],
        "idxs": (first, last),
        "result": result,
    }
    if times is not None:
        segment["token_timestamps"] = times[first:last] + np.float32(offset)
    return segment
