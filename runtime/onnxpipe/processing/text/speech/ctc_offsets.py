"""Connectionist temporal classification: turn the best token of every frame into characters, words and their frames.

A model predicts a token for each frame. Equal neighbours are one character, a blank between them separates them, and
a delimiter ends a word.

Source: A. Graves et al., "Connectionist Temporal Classification" (2006); the offsets are those of transformers 5.23's
`Wav2Vec2CTCTokenizer`: a character spans its own frames, and blanks belong to no character.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Span(NamedTuple):
    """A character or word, and its frames from `start` to before `end` (NumPy integers)."""

    text: str
    start: Any
    end: Any


class ChunkFrames(NamedTuple):
    """The number of frames of a chunk, and how many of them at its left and right are only context."""

    frames: int
    left: int
    right: int


def characters(tokens: Sequence[str], blank: str | None, *, group: bool = True) -> list[Span]:
    """Convert a row of tokens, one per frame, to characters.

    Args:
        tokens: the token of each frame.
        blank: the token that stands for no character.
        group: whether equal neighbours are one character; else every token is one.
    """
    runs = [(token, len(list(same))) for token, same in groupby(tokens)] if group else [(t, 1) for t in tokens]
    ends = np.cumsum([length for _, length in runs], dtype=np.int64)
    starts = np.concatenate((np.zeros(1, np.int64), ends[:-1]))
    spans = (Span(token, start, end) for (token, _), start, end in zip(runs, starts, ends, strict=False))
    return [span for span in spans if span.text != blank]


def words(spans: Iterable[Span], delimiter: str) -> list[Span]:
    """Join the characters between delimiters to words, each from its first frame to its last."""
    found = []
    for ends, run in groupby(spans, key=lambda span: span.text == delimiter):
        if not ends:
            letters = list(run)
            found.append(Span("".join(span.text for span in letters), letters[0].start, letters[-1].end))
    return found


def as_offsets(spans: Iterable[Span], name: str) -> list[dict[str, Any]]:
    """Convert spans to transformers' form: `{name: text, "start_offset": frame, "end_offset": frame}`."""
    return [{name: span.text, "start_offset": span.start, "end_offset": span.end} for span in spans]


def chunk_frames(stride: tuple[int, int, int], align_to: int) -> ChunkFrames:
    """Convert the length and context of a chunk from samples to frames.

    Args:
        stride: samples (length, left context, right context).
        align_to: samples per frame.
    """
    samples, left, right = stride
    frames = round(samples * (1 / align_to))
    return ChunkFrames(frames, round(left / samples * frames), round(right / samples * frames))


def own_frames(values: Array, chunk: ChunkFrames | None) -> Array:
    """Return the frames of a chunk, (frames, ...), without its context."""
    return values if chunk is None else values[chunk.left : chunk.frames - chunk.right]


def seconds(
    offsets: Iterable[dict[str, Any]], name: str, align_to: int, sampling_rate: int
) -> Iterator[dict[str, Any]]:
    """Convert offsets in frames to chunks in seconds: `{"text": ..., "timestamp": (start, end)}`."""
    for offset in offsets:
        start, end = (offset[key] * align_to / sampling_rate for key in ("start_offset", "end_offset"))
        yield {"text": offset[name], "timestamp": (start, end)}
