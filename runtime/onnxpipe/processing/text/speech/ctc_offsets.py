"""Connectionist temporal classification: the best token of every frame becomes characters, words and their frames.

A model gives each frame a token. Equal neighbours are one character, the blank between two keeps them apart, and a
delimiter ends a word.

Source: A. Graves et al., "Connectionist Temporal Classification" (2006); the offsets are those of transformers 5.23's
`Wav2Vec2CTCTokenizer`: a character spans its own frames, and blanks belong to nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Span(NamedTuple):
    """A character or word, and the frames from `start` to before `end` that it is heard in (numpy integers)."""

    text: str
    start: Any
    end: Any


class ChunkFrames(NamedTuple):
    """How many frames a chunk has, and how many of them at its left and right are only context."""

    frames: int
    left: int
    right: int


def characters(tokens: Sequence[str], blank: str | None, *, group: bool = True) -> list[Span]:
    """The characters of a row of tokens, one a frame.

    Args:
        tokens: the token of each frame.
        blank: the token that is no character.
        group: equal neighbours are one character; without it every token is one.
    """
    runs = [(token, len(list(same))) for token, same in groupby(tokens)] if group else [(t, 1) for t in tokens]
    ends = np.cumsum([length for _, length in runs], dtype=np.int64)
    starts = np.concatenate((np.zeros(1, np.int64), ends[:-1]))
    spans = (Span(token, start, end) for (token, _), start, end in zip(runs, starts, ends, strict=False))
    return [span for span in spans if span.text != blank]


def words(spans: Iterable[Span], delimiter: str) -> list[Span]:
    """The longest runs of characters without the delimiter, each from its first frame to its last."""
    found = []
    for ends, run in groupby(spans, key=lambda span: span.text == delimiter):
        if not ends:
            letters = list(run)
            found.append(Span("".join(span.text for span in letters), letters[0].start, letters[-1].end))
    return found


def as_offsets(spans: Iterable[Span], name: str) -> list[dict[str, Any]]:
    """Spans in transformers' form: `{name: text, "start_offset": frame, "end_offset": frame}`."""
    return [{name: span.text, "start_offset": span.start, "end_offset": span.end} for span in spans]


def chunk_frames(stride: tuple[int, int, int], align_to: int) -> ChunkFrames:
    """The cut in frames that a chunk of `stride[0]` samples with so many at the left and right as context has.

    Args:
        stride: (samples, left, right).
        align_to: samples a frame.
    """
    samples, left, right = stride
    frames = round(samples * (1 / align_to))
    return ChunkFrames(frames, round(left / samples * frames), round(right / samples * frames))


def own_frames(values: Array, cut: ChunkFrames | None) -> Array:
    """The frames of a chunk, (frames, ...), without those that are only context."""
    return values if cut is None else values[cut.left : cut.frames - cut.right]


def seconds(
    offsets: Iterable[dict[str, Any]], name: str, align_to: int, sampling_rate: int
) -> Iterator[dict[str, Any]]:
    """Offsets in frames as chunks in seconds: `{"text": ..., "timestamp": (start, end)}`."""
    for offset in offsets:
        start, end = (offset[key] * align_to / sampling_rate for key in ("start_offset", "end_offset"))
        yield {"text": offset[name], "timestamp": (start, end)}
