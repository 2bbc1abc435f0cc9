"""Transcription window by window (Radford et al. 2022, §3.8), as transformers' `WhisperGenerationMixin` does it.

windows ─hear─▶ states ─write (again, warmer)─▶ tokens ─cut─▶ segments, and where the next window begins
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxpipe.generation.protocols import Array
from onnxpipe.generation.seed import RowStreams, row_streams
from onnxpipe.generation.whisper.alignment import token_times
from onnxpipe.generation.whisper.fallback import is_sure, write_or_skip
from onnxpipe.generation.whisper.protocols import Heard, Listener
from onnxpipe.generation.whisper.recordings import Recordings
from onnxpipe.generation.whisper.result import outcome, window_result
from onnxpipe.generation.whisper.segments import Window, cut
from onnxpipe.generation.whisper.settings import Settings, warn_of_unknown_length
from onnxpipe.generation.whisper.start import as_first_segment, first_tokens, hears_language, window_prompt
from onnxpipe.generation.whisper.writing import Batch, Extras, Written


@dataclass(frozen=True)
class Watch:
    """Who is told how far it is.

    Attributes:
        seconds: given the seconds of sound that are done, of all recordings together.
        frames: given int64 (recordings, 2): the frame that comes next, and how many there are.
    """

    seconds: Callable[[float], Any] | None = None
    frames: Callable[[Array], Any] | None = None


@dataclass
class _Track:
    """One recording on its way.

    Attributes:
        start: int64 (n,): what its text starts with.
        frames: how many there are to hear.
        limit: most tokens of a row.
        opening: int64 (n,): what the decoder starts from, if it was given; of the first window.
        seek: the frame that comes next.
        before: tokens of its segments, and of a prompt for the first.
        segments: what is said so far.
        conditioned: whether that goes before the next window's text.
        last: what was written of the last window.
        times: when its tokens are said.
    """

    start: Array
    frames: int
    limit: int
    opening: Array | None
    seek: int = 0
    before: list[Array] = field(default_factory=list)
    segments: list[dict[str, Any]] = field(default_factory=list)
    conditioned: bool = False
    last: Written | None = None
    times: Array | None = None

    @property
    def done(self) -> bool:
        """Whether all of it is heard."""
        return self.seek >= self.frames


def transcribe(
    model: Listener,
    recordings: Recordings,
    settings: Settings,
    extras: Extras,
    watch: Watch,
    seed: int | Sequence[int] | None,
    heard: Heard | None = None,
) -> Any:
    """What is said in recordings; see `onnxpipe.models.speech_to_text.whisper.Whisper.generate` for the result.

    A recording's text does not depend on the others: rows whose decoder starts from more or fewer tokens than others'
    are decoded apart, and those that are done leave.
    """
    given = heard is not None
    if heard is None and hears_language(settings, model):
        heard = model.hear(recordings.beginnings())
    start = first_tokens(settings, model, heard, len(recordings))
    copies = settings.config.num_return_sequences or 1
    tracks = _tracks(settings, recordings, start, copies)
    streams = None
    if any(settings.temperatures):
        streams = row_streams(seed, len(recordings), copies)
    if settings.alignment_heads is not None and recordings.spoken is None and settings.num_frames is None:
        warn_of_unknown_length()
    kept = heard if given or recordings.whole else None
    session = _Session(model, recordings, settings, extras, copies, streams, kept)
    while not all(track.done for track in tracks):
        _tell(watch, tracks, settings)
        active = [number for number, track in enumerate(tracks) if not track.done]
        session.advance(tracks, active)
        if settings.once or given:  # of given states there are no others to go on with
            break
    _tell(watch, tracks, settings)
    segments = [track.segments for track in tracks]
    return outcome(settings, segments, [track.last for track in tracks], [track.times for track in tracks])


def _tracks(settings: Settings, recordings: Recordings, start: Array, copies: int) -> list[_Track]:
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


def _tell(watch: Watch, tracks: Sequence[_Track], settings: Settings) -> None:
    if watch.frames is not None:
        watch.frames(np.array([(track.seek, track.frames) for track in tracks], np.int64))
    if watch.seconds is not None:
        watch.seconds(sum(min(track.seek, track.frames) for track in tracks) * settings.time_precision_features)


@dataclass
class _Session:
    """What does not change from window to window; `heard` are the first windows, until they are used."""

    model: Listener
    recordings: Recordings
    settings: Settings
    extras: Extras
    copies: int
    streams: RowStreams | None
    heard: Heard | None

    def advance(self, tracks: Sequence[_Track], active: Sequence[int]) -> None:
        """One window further in each of the active recordings."""
        windows = np.stack([self.recordings.window(number // self.copies, tracks[number].seek) for number in active])
        heard = self._hear(windows)
        prompts = [self._prompt(tracks[number]) for number in active]
        groups: dict[tuple[int, int], list[int]] = {}
        for place, number in enumerate(active):
            length = len(prompts[place])
            tracks[number].limit = self._most(length, tracks[number].limit)
            groups.setdefault((length, tracks[number].limit), []).append(place)
        for (length, limit), places in groups.items():
            some = np.array(places)
            rows = np.array(active)[some]
            batch = Batch(
                rows // self.copies,
                windows[some],
                heard.select(some),
                np.stack([prompts[place] for place in places]),
                None if self.streams is None else self.streams.of(rows.tolist()),
            )
            start = max(length - len(tracks[rows[0]].start), 0)
            found = write_or_skip(self.model, self.settings, self.extras, batch, limit, start)
            for place, (written, skipped) in enumerate(found):
                self._follow(tracks[rows[place]], int(rows[place]), batch, place, written, skipped)

    def _hear(self, windows: Array) -> Heard:
        """What the encoder makes of windows; of the first ones perhaps it has made it already."""
        if self.heard is None:
            return self.model.hear(windows)
        first, self.heard = self.heard, None
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
            raise ValueError(
                f"The length of `decoder_input_ids`, including special start tokens, prompt tokens, and previous "
                f"tokens, is {len(prompt)}, and `max_new_tokens` is {new}. Thus, the combined length of "
                f"`decoder_input_ids` and `max_new_tokens` is: {new + len(prompt)}. This exceeds the "
                f"`max_target_positions` of the Whisper model: {positions}. You should either reduce the length of "
                "your prompt, or reduce the value of `max_new_tokens`, so that their combined length is less than "
                f"{positions}."
            )
        return prompt

    def _most(self, length: int, limit: int) -> int:
        """Most tokens of a row that starts with `length`; `limit` was that of the window before.

        As in transformers, a `max_length` does not count the prompt, and grows by its length with every window.
        """
        if self.settings.config.max_new_tokens is not None:
            return limit
        positions = int(self.model.config.max_target_positions)
        return min(limit + min(positions // 2 - 1, length), positions)

    def _follow(self, track: _Track, number: int, batch: Batch, place: int, written: Written, skipped: bool) -> None:
        """What was written of a window becomes part of its recording."""
        settings = self.settings
        window = Window(track.seek, int(min(self.model.window, track.frames - track.seek)), self.model.stride)
        track.last, track.conditioned = written, settings.conditioned and is_sure(written)
        if skipped:
            track.seek += window.frames
            return
        track.times = self._times(track, number, batch, place, written)
        segments, step = cut(written, window, settings, window_result(settings, written, track.times), track.times)
        track.segments += segments
        track.before += [segment["tokens"] for segment in segments] if settings.conditioned else []
        track.seek += step if step > 0 else window.frames  # a pair of timestamps at 0 would be found for ever

    def _times(self, track: _Track, number: int, batch: Batch, place: int, written: Written) -> Array | None:
        """When each token of a window's sequence is said: float32 (length,), or None if nobody asked.

        The tokens of the prompt are said at 0, and the last one when the one before it is: the decoder is not asked
        what follows it.
        """
        heads = self.settings.alignment_heads
        if heads is None:
            return None
        times = np.zeros(len(written.sequence), np.float32)
        stop = written.start + written.count
        if written.count > 1:
            layers = sorted({layer for layer, _ in heads})
            looks = self.model.attend(written.sequence[None, : stop - 1], batch.heard.select(np.array([place])), layers)
            weights = np.stack([looks[layer][0, head, written.start :] for layer, head in heads])
            spoken = self._spoken(number)
            if spoken is not None:
                weights = weights[..., : max(spoken - track.seek, 0) // self.model.stride]
            width = self.model.config.get("median_filter_width", 7)
            times[written.start : stop - 1] = token_times(weights, int(width))
            times[stop - 1 :] = times[stop - 2]
        return times

    def _spoken(self, number: int) -> int | None:
        """Frames of a recording that are no padding, if anybody said."""
        told = self.settings.num_frames
        if told is None:
            told = self.recordings.spoken
        if told is None:
            return None
        return int(told[0] if len(told) == 1 else told[number // self.copies])
