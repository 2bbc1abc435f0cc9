"""Transcribe window by window (Radford et al. 2022, §3.8), as transformers' `WhisperGenerationMixin` does.

windows ─encode─▶ states ─decode (again, at a higher temperature)─▶ tokens ─cut─▶ segments, and the next window's start
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxpipe.errors import UnsupportedError
from onnxpipe.generation.protocols import Array
from onnxpipe.generation.seed import RowStreams, row_streams
from onnxpipe.generation.whisper.alignment import token_times
from onnxpipe.generation.whisper.decoding import DecodedWindow, Extras, WindowBatch
from onnxpipe.generation.whisper.fallback import decode_with_fallback, is_sure
from onnxpipe.generation.whisper.prompt import as_first_segment, first_tokens, must_detect_language, window_prompt
from onnxpipe.generation.whisper.protocols import EncoderOutput, WhisperModel
from onnxpipe.generation.whisper.recordings import Recordings
from onnxpipe.generation.whisper.result import outcome, window_result
from onnxpipe.generation.whisper.segments import WindowSpan, cut
from onnxpipe.generation.whisper.settings import WhisperSettings, warn_of_unknown_length


@dataclass(frozen=True)
class ProgressCallbacks:
    """The functions that are called with the progress.

    Attributes:
        seconds: called with the seconds of audio that are done, of all recordings together.
        frames: called with int64 (recordings, 2): the next frame, and the number of frames.
    """

    seconds: Callable[[float], Any] | None = None
    frames: Callable[[Array], Any] | None = None


@dataclass
class _Track:
    """The state of one recording.

    Attributes:
        start: int64 (n,): the first tokens of its text.
        frames: number of frames to transcribe.
        limit: most tokens of a row.
        opening: int64 (n,): the decoder's first tokens in the first window, if they were passed.
        seek: the next frame.
        before: tokens of its segments, and of a prompt for the first.
        segments: those so far.
        conditioned: whether their tokens go before the next window's text.
        last: the result of the last window.
        times: the times of its tokens.
    """

    start: Array
    frames: int
    limit: int
    opening: Array | None
    seek: int = 0
    before: list[Array] = field(default_factory=list)
    segments: list[dict[str, Any]] = field(default_factory=list)
    conditioned: bool = False
    last: DecodedWindow | None = None
    times: Array | None = None

    @property
    def done(self) -> bool:
        """Whether all of it is transcribed."""
        return self.seek >= self.frames


def transcribe(
    model: WhisperModel,
    recordings: Recordings,
    settings: WhisperSettings,
    extras: Extras,
    callbacks: ProgressCallbacks,
    seed: int | Sequence[int] | None,
    encoded: EncoderOutput | None = None,
) -> Any:
    """Transcribe recordings; see `Whisper.generate` in `models/speech_to_text/whisper.py` for the result.

    A recording's text does not depend on the others: rows whose prompts have different lengths are decoded separately,
    and recordings that are done leave the batch.
    """
    passed = encoded is not None
    if encoded is None and must_detect_language(settings, model):
        encoded = model.encode_windows(recordings.beginnings())
    start = first_tokens(settings, model, encoded, len(recordings))
    copies = settings.config.num_return_sequences or 1
    tracks = _tracks(settings, recordings, start, copies)
    streams = None
    if any(settings.temperatures):
        streams = row_streams(seed, len(recordings), copies)
    if settings.alignment_heads is not None and recordings.spoken is None and settings.num_frames is None:
        warn_of_unknown_length()
    kept = encoded if passed or recordings.whole else None
    session = _Session(model, recordings, settings, extras, copies, streams, kept)
    while not all(track.done for track in tracks):
        _report_progress(callbacks, tracks, settings)
        active = [number for number, track in enumerate(tracks) if not track.done]
        session.advance(tracks, active)
        if settings.once or passed:  # there are no states of later windows
            break
    _report_progress(callbacks, tracks, settings)
    segments = [track.segments for track in tracks]
    return outcome(settings, segments, [track.last for track in tracks], [track.times for track in tracks])


def _tracks(settings: WhisperSettings, recordings: Recordings, start: Array, copies: int) -> list[_Track]:
    prompt = as_first_segment(settings)
    return [
        _Track(
            start[row],
            int(recordings.frames[row]),
            settings.config.max_length or 0,
            None if settings.opening is None else settings.opening[row],
            before=[] if prompt is None else [prompt],
            conditioned=settings.conditioned,
        )
        for row in range(len(recordings))
        for _ in range(copies)
    ]


def _report_progress(callbacks: ProgressCallbacks, tracks: Sequence[_Track], settings: WhisperSettings) -> None:
    if callbacks.frames is not None:
        callbacks.frames(np.array([(track.seek, track.frames) for track in tracks], np.int64))
    if callbacks.seconds is not None:
        callbacks.seconds(sum(min(track.seek, track.frames) for track in tracks) * settings.time_precision_features)


@dataclass
class _Session:
    """The part of a call that does not change from window to window; `encoded` are the first windows, until used."""

    model: WhisperModel
    recordings: Recordings
    settings: WhisperSettings
    extras: Extras
    copies: int
    streams: RowStreams | None
    encoded: EncoderOutput | None

    def advance(self, tracks: Sequence[_Track], active: Sequence[int]) -> None:
        """Transcribe one window of each of the active recordings."""
        windows = np.stack([self.recordings.window(number // self.copies, tracks[number].seek) for number in active])
        encoded = self._encode(windows)
        prompts = [self._prompt(tracks[number]) for number in active]
        groups: dict[tuple[int, int], list[int]] = {}
        for place, number in enumerate(active):
            length = len(prompts[place])
            tracks[number].limit = self._most(length, tracks[number].limit)
            groups.setdefault((length, tracks[number].limit), []).append(place)
        for (length, limit), places in groups.items():
            some = np.array(places)
            rows = np.array(active)[some]
            batch = WindowBatch(
                rows // self.copies,
                windows[some],
                encoded.select(some),
                np.stack([prompts[place] for place in places]),
                None if self.streams is None else self.streams.of(rows.tolist()),
            )
            start = max(length - len(tracks[rows[0]].start), 0)
            results = decode_with_fallback(self.model, self.settings, self.extras, batch, limit, start)
            for place, (decoded, skipped) in enumerate(results):
                self._follow(tracks[rows[place]], int(rows[place]), batch, place, decoded, skipped)

    def _encode(self, windows: Array) -> EncoderOutput:
        """Encode windows; the first ones may be encoded already."""
        if self.encoded is None:
            return self.model.encode_windows(windows)
        first, self.encoded = self.encoded, None
        return first.select(np.repeat(np.arange(len(self.recordings)), self.copies))

    def _prompt(self, track: _Track) -> Array:
        positions = int(self.model.config.max_target_positions)
        prompt, track.opening = track.opening, None
        if prompt is None:
            prompt = window_prompt(
                self.settings, track.start, track.before, conditioned=track.conditioned, positions=positions
            )
        new = self.settings.config.max_new_tokens or 0
        if new + len(prompt) > positions:
            raise UnsupportedError(
                f"The length of `decoder_input_ids`, including special start tokens, prompt tokens, and previous "
                f"tokens, is {len(prompt)}, and `max_new_tokens` is {new}. Thus, the combined length of "
                f"`decoder_input_ids` and `max_new_tokens` is: {new + len(prompt)}. This exceeds the "
                f"`max_target_positions` of the Whisper model: {positions}. You should either reduce the length of "
                "your prompt, or reduce the value of `max_new_tokens`, so that their combined length is less than "
                f"{positions}."
            )
        return prompt

    def _most(self, length: int, limit: int) -> int:
        """Most tokens of a row whose prompt has `length` tokens; `limit` is the previous window's.

        As in transformers, a `max_length` does not count the prompt, and grows by its length with every window.
        """
        if self.settings.config.max_new_tokens is not None:
            return limit
        positions = int(self.model.config.max_target_positions)
        return min(limit + min(positions // 2 - 1, length), positions)

    def _follow(
        self, track: _Track, number: int, batch: WindowBatch, place: int, decoded: DecodedWindow, skipped: bool
    ) -> None:
        """Add a window's result to its recording, and move on to the next window."""
        settings = self.settings
        window = WindowSpan(track.seek, int(min(self.model.window, track.frames - track.seek)), self.model.stride)
        track.last, track.conditioned = decoded, settings.conditioned and is_sure(decoded)
        if skipped:
            track.seek += window.frames
            return
        track.times = self._times(track, number, batch, place, decoded)
        segments, step = cut(decoded, window, settings, window_result(settings, decoded, track.times), track.times)
        track.segments += segments
        track.before += [segment["tokens"] for segment in segments] if settings.conditioned else []
        track.seek += step if step > 0 else window.frames  # a pair of timestamps at 0 would repeat for ever

    def _times(
        self, track: _Track, number: int, batch: WindowBatch, place: int, decoded: DecodedWindow
    ) -> Array | None:
        """Find the time of each token of a window's sequence: float32 (length,), or None without token timestamps.

        Tokens of the prompt are at 0, and the last one is where the one before it is: the decoder is not run after it.
        """
        heads = self.settings.alignment_heads
        if heads is None:
            return None
        times = np.zeros(len(decoded.sequence), np.float32)
        stop = decoded.start + decoded.count
        if decoded.count > 1:
            layers = sorted({layer for layer, _ in heads})
            attentions = self.model.cross_attentions(
                decoded.sequence[None, : stop - 1], batch.encoded.select(np.array([place])), layers
            )
            weights = np.stack([attentions[layer][0, head, decoded.start :] for layer, head in heads])
            spoken = self._spoken(number)
            if spoken is not None:
                weights = weights[..., : max(spoken - track.seek, 0) // self.model.stride]
            width = self.model.config.get("median_filter_width", 7)
            times[decoded.start : stop - 1] = token_times(weights, int(width))
            times[stop - 1 :] = times[stop - 2]
        return times

    def _spoken(self, number: int) -> int | None:
        """Frames of a recording that are not padding, if known."""
        counts = self.settings.num_frames
        if counts is None:
            counts = self.recordings.spoken
        if counts is None:
            return None
        return int(counts[0] if len(counts) == 1 else counts[number // self.copies])
