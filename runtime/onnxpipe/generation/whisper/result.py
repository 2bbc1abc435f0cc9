"""What `generate` gives back of all windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxpipe.generation.logs import warn_once
from onnxpipe.generation.outputs import GenerateBeamEncoderDecoderOutput, GenerateEncoderDecoderOutput
from onnxpipe.generation.protocols import Array
from onnxpipe.generation.whisper.settings import Settings
from onnxpipe.generation.whisper.writing import Written

Segments = list[dict[str, Any]]


def window_result(settings: Settings, written: Written, times: Array | None) -> Any:
    """What a segment calls `result`: the window's sequence; a dict of that and more where more is looked at."""
    if not settings.named and not settings.judged:
        return written.sequence
    found = {"sequences": written.sequence, **written.details}
    return found if times is None else {**found, "token_timestamps": times}


def outcome(
    settings: Settings, segments: Sequence[Segments], last: Sequence[Written | None], times: Sequence[Any]
) -> Any:
    """The result of a call.

    Args:
        settings: the call.
        segments: of each recording.
        last: what was written of each recording's last window.
        times: and when its tokens are said, where that was asked for.
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
    """When a segment's tokens are said in their window."""
    start, end = segment["idxs"]
    found: Array = segment["result"]["token_timestamps"][start:end]
    return found


def _joined(parts: Sequence[Array], dtype: Any) -> Array:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)


def _padded(rows: Sequence[Array], fill: int | None) -> Array:
    """Rows of unlike length as one array, with `fill` after their ends, or with what each ends with."""
    length = max((len(row) for row in rows), default=0)
    parts = [
        np.pad(row, (0, length - len(row)), constant_values=row[-1] if fill is None and len(row) else fill or 0)
        for row in rows
    ]
    return np.stack(parts)


def _named(written: Sequence[Written], times: Sequence[Any], pad: int) -> Any:
    """A `GenerateOutput` of one window a recording; a plain dict where it has token timestamps."""
    fields: dict[str, Any] = {"sequences": _padded([one.sequence for one in written], pad)}
    details = [one.details for one in written]
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
