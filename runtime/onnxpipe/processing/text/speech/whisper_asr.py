"""Decode Whisper's tokens to text, segments and words: merge overlapping chunks, convert time stamps to seconds.

A recording that was cut into chunks has one list of tokens per chunk. Time stamps inside the overlap of two chunks do
not end a segment: its tokens stay pending until a time stamp outside the overlap comes, and are merged then.

Source: transformers 5.23, `_decode_asr` of Whisper's tokenizer, whose quirks are kept, so that answers are the same.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from onnxpipe.processing.text.speech.whisper_languages import LANGUAGES
from onnxpipe.processing.text.speech.whisper_merge import Tokens, merge_chunks
from onnxpipe.processing.text.speech.whisper_words import words_of

logger = logging.getLogger("onnxpipe")

#: Steps of time stamps in a window of 30 s.
SEGMENT_SIZE = 1500


def decode_asr(
    tokenizer: Any,
    outputs: Sequence[Mapping[str, Any]],
    *,
    return_timestamps: bool | str | None,
    return_language: bool | None,
    time_precision: float,
    segment_size: int = SEGMENT_SIZE,
) -> tuple[str, dict[str, Any]]:
    """Build the transcript of one recording from its chunks.

    Args:
        tokenizer: Whisper's.
        outputs: one dict per chunk: `tokens`, int (1, n); `stride`, seconds (length, left, right), where the recording
            was cut; for words `token_timestamps`, seconds (1, n).
        return_timestamps: True for segments, "word" for words.
        return_language: add the language of each segment or word.
        time_precision: seconds of a time stamp's step.
        segment_size: steps of a window.

    Returns:
        The text, and `{"chunks": [...]}` or `{}`: segments are `[language], timestamp, text`, words `text, timestamp,
        [language]`. The last segment may end with None.
    """
    builder = _TranscriptBuilder(tokenizer, return_timestamps, bool(return_language), time_precision, segment_size)
    for output in outputs:
        builder.add(output)
    chunks = builder.finish()
    text = "".join(chunk.text for chunk in chunks)
    if not (return_timestamps or return_language):
        return text, {}
    if return_timestamps == "word":
        return text, {"chunks": [word for chunk in chunks for word in chunk.words]}
    return text, {"chunks": [chunk.as_dict(bool(return_timestamps), bool(return_language)) for chunk in chunks]}


@dataclass
class _Chunk:
    """A segment."""

    language: str | None
    start: float | None = None
    end: float | None = None
    text: str = ""
    words: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self, times: bool, language: bool) -> dict[str, Any]:
        chunk: dict[str, Any] = {"language": self.language} if language else {}
        if times:
            chunk["timestamp"] = (self.start, self.end)
        return {**chunk, "text": self.text}


@dataclass
class _Clock:
    """Tracks the time stamps of one output: in long recordings they restart with every window."""

    precision: float
    segment: float
    highest: float = 0.0
    before: float = 0.0
    done: float = 0.0

    def read(self, stamp: int, single: bool) -> float:
        """Convert a time stamp to seconds of its window; count the windows before it.

        Args:
            stamp: the time stamp in steps.
            single: whether the previous window ended with one time stamp, not with two.
        """
        time = stamp * self.precision
        if time < self.highest:
            if single:
                self.done += self.segment
            else:
                self.highest = self.before
                self.done += self.before
        self.before, self.highest = self.highest, time
        return time


class _TranscriptBuilder:
    """Builds segments from the tokens of one chunk after the other."""

    def __init__(
        self, tokenizer: Any, timestamps: bool | str | None, with_language: bool, precision: float, segment_size: int
    ) -> None:
        self._tokenizer = tokenizer
        self._timestamps = timestamps
        self._with_language = with_language
        self._precision = precision
        self._segment_size = segment_size
        self._first_stamp: int = tokenizer.convert_tokens_to_ids("<|notimestamps|>") + 1
        self._special = frozenset(tokenizer.all_special_ids)
        self._language: str | None = None
        self._chunks: list[_Chunk] = []
        self._chunk = _Chunk(None)
        self._pending: list[Tokens] = []
        self._offset = 0.0
        self._skip = False

    def add(self, output: Mapping[str, Any]) -> None:
        """Process the tokens of one output."""
        ids: list[int] = self._tokenizer.strip_prompt(_row(output["tokens"]))
        stamps = _row(output["token_timestamps"]) if self._timestamps == "word" else None
        stride = output.get("stride")
        if stride is not None:
            self._offset -= stride[1]
        first, last = self._overlaps(ids, stride)
        clock = _Clock(self._precision, self._precision * self._segment_size)
        current = Tokens()
        for i, token in enumerate(ids):
            if token in self._special:
                current = self._special_token(token, current)
            elif token >= self._first_stamp:
                time = clock.read(token - self._first_stamp, i >= 2 and not self._pair_before(ids, i))
                time = (token - self._first_stamp) * self._precision + self._offset + clock.done
                current = self._stamp(token, round(time, 2), current, first, last)
            else:
                current.ids.append(token)
                if stamps is not None:
                    begin = round((stamps[i - 1] if i else 0.0) + self._offset, 2)
                    current.times.append((begin, round(stamps[i] + self._offset, 2)))
        if stride is not None:
            self._offset += stride[0] - stride[2]
        if current.ids:
            self._pending.append(current)
        elif not any(part.ids for part in self._pending):
            self._chunk, self._pending = _Chunk(self._language), []

    def finish(self) -> list[_Chunk]:
        """Return the segments; pending tokens become the last one."""
        if self._pending:
            if self._timestamps:
                logger.warning(
                    "Whisper did not predict an ending timestamp, which can happen if audio is cut off in the middle of"
                    " a word. Also make sure WhisperTimeStampLogitsProcessor was used during generation."
                )
            self._close(self._pending)
        return self._chunks

    def _pair_before(self, ids: Sequence[int], i: int) -> bool:
        return ids[i - 1] >= self._first_stamp and ids[i - 2] >= self._first_stamp

    def _overlaps(self, ids: Sequence[int], stride: Sequence[float] | None) -> tuple[float, int | None]:
        """Find the first time stamp after the left overlap, and the first one in the right overlap."""
        first: float = self._first_stamp
        last: int | None = None
        if stride is None:
            return first, last
        length, left, right = stride
        if left:
            first = left / self._precision + self._first_stamp
        if right:
            for token in reversed(ids):
                if token >= self._first_stamp:
                    if last is not None and (token - self._first_stamp) * self._precision < length - right:
                        break
                    last = token
        return first, last

    def _special_token(self, token: int, current: Tokens) -> Tokens:
        """Process a special token: only tokens of languages have an effect."""
        language = LANGUAGES.get(self._tokenizer.decode([token])[2:-2])
        if language is None:
            return current
        if self._language and language != self._language and not self._timestamps:
            self._close([*self._pending, current])
            current = Tokens()
        self._chunk.language = self._language = language
        return current

    def _stamp(self, token: int, time: float, current: Tokens, first: float, last: int | None) -> Tokens:
        """Process a time stamp: it begins or ends a segment, unless it is in an overlap."""
        if last and token >= last:
            self._skip = True  # time stamps come in pairs: the other one is skipped too
        elif self._skip or (self._pending and token < first):
            self._skip = False
        elif self._chunk.start is None:
            self._chunk.start = time
        elif time != self._chunk.start:
            self._chunk.end = time
            self._close([*self._pending, current])
            return Tokens()
        return current

    def _close(self, parts: Sequence[Tokens]) -> None:
        """End the segment, which has these tokens, and begin the next."""
        tokens = merge_chunks(parts)
        self._chunk.text = self._tokenizer.decode(tokens.ids)
        if self._timestamps == "word":
            self._chunk.words = self._words(tokens)
        self._chunks.append(self._chunk)
        self._chunk, self._pending = _Chunk(self._language), []

    def _words(self, tokens: Tokens) -> list[dict[str, Any]]:
        language = {"language": self._language} if self._with_language else {}
        return [
            {
                "text": word.text,
                "timestamp": (tokens.times[word.positions[0]][0], tokens.times[word.positions[-1]][1]),
                **language,
            }
            for word in words_of(self._tokenizer, tokens.ids, self._language)
        ]


def _row(values: Any) -> list[Any]:
    """Convert an array (1, n) to a list."""
    row = values[0]
    return list(row.tolist() if hasattr(row, "tolist") else row)
