"""Make the result of `generate` from those of all windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxpipe.generation.logs import warn_once
from onnxpipe.generation.outputs import GenerateBeamEncoderDecoderOutput, GenerateEncoderDecoderOutput
from onnxpipe.generation.protocols import Array
from onnxpipe.generation.whisper.decoding import DecodedWindow
from onnxpipe.generation.whisper.settings import WhisperSettings

Segments = list[dict[str, Any]]


def window_result(settings: WhisperSettings, decoded: DecodedWindow, times: Array | None) -> Any:
    """Make a segment's `result`: the window's sequence, or a dict of it and further outputs where there are some."""
    if not settings.named and not settings.judged:
        return decoded.sequence
    outputs = {"sequences": decoded.sequence, **decoded.details}
    return outputs if times is None else {**outputs, "token_timestamps": times}


def outcome(
    settings: WhisperSettings, segments: Sequence[Segments], last: Sequence[DecodedWindow | None], times: Sequence[Any]
) -> Any:
    """Make the result of a call.

    Args:
        settings: the call.
        segments: of each recording.
        last: the result of each recording's last window.
        times: the times of its tokens, with token timestamps.
    """
    pad = settings.config.pad_token_id or 0
    whole = settings.once or not settings.timestamps
    if settings.named and whole:
        return _named([one for one in last if one is not None], times, pad)
    with_times = settings.alignment_heads is not None
    if settings.once:
        rows = [one.sequence for one in last if one is not None]
        seconds = list(times)
    else:
        rows = [_joined([one["tokens"] for one in parts], np.int64) for parts in segments]
        seconds = [_joined([_times(one) for one in parts], np.float32) for parts in segments] if with_times else []
    sequences = _padded(rows, pad)
    if settings.named:
        warn_once(
            "You have passed `return_dict_in_generate=True` and `return_timestamps=True`, this automatically sets "
            "`return_segments=True` to access the results of the underlying calls to GenerationMixin's generate in the "
            "returned `segments`."
        )
    with_segments = settings.segments or settings.named
    if not with_segments and not with_times:
        return sequences
    outputs: dict[str, Any] = {"sequences": sequences}
    if with_times:
        outputs["token_timestamps"] = _padded(seconds, None)
    if with_segments:
        outputs["segments"] = list(segments)
    return outputs


def _times(segment: dict[str, Any]) -> Array:
    """The times of a segment's tokens in their window."""
    start, end = segment["idxs"]
    times: Array = segment["result"]["token_timestamps"][start:end]
    return times


def _joined(parts: Sequence[Array], dtype: Any) -> Array:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)


def _padded(rows: Sequence[Array], fill: int | None) -> Array:
    """Pad rows of different lengths to one array with `fill`, or each with its last entry."""
    length = max((len(row) for row in rows), default=0)
    parts = [
        np.pad(row, (0, length - len(row)), constant_values=row[-1] if fill is None and len(row) else fill or 0)
        for row in rows
    ]
    return np.stack(parts)


def _named(decoded: Sequence[DecodedWindow], times: Sequence[Any], pad: int) -> Any:
    """Make a `GenerateOutput` of one window per recording; a plain dict if it has token timestamps."""
    fields: dict[str, Any] = {"sequences": _padded([one.sequence for one in decoded], pad)}
    details = [one.details for one in decoded]
    for name in ("scores", "logits"):
        if all(name in one for one in details):
            steps = min(len(one[name]) for one in details)
            fields[name] = tuple(np.stack([one[name][step] for one in details]) for step in range(steps))
    beams = all("beam_indices" in one for one in details)
    if beams:
        fields["beam_indices"] = _padded_beams([one["beam_indices"] for one in details])
        if all("sequences_scores" in one for one in details):
            fields["sequences_scores"] = np.stack([one["sequences_scores"] for one in details])
    if any(one is not None for one in times):
        return {**fields, "token_timestamps": _padded(list(times), None)}
    return GenerateBeamEncoderDecoderOutput(**fields) if beams else GenerateEncoderDecoderOutput(**fields)


def _padded_beams(rows: Sequence[Array]) -> Array:
    length = max(len(row) for row in rows)
    return np.stack([np.pad(row, (0, length - len(row)), constant_values=-1) for row in rows])
