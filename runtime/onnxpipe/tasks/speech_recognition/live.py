"""Transcribe speech live: text while somebody is still speaking, of which the final part never changes again.

The audio that is not final yet is recognised again whenever a little more has come. What two recognitions in a row
agree on from the beginning is final (LocalAgreement-2: Liu et al. 2020; Macháček et al. 2023, "Turning Whisper into
real-time transcription system"), if enough audio follows it; what follows is partial. Audio whose words are final is
dropped, so memory and work a step do not grow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import chain
from typing import Any

import numpy as np

from onnxpipe.engine.batching import Array
from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.arrays import as_array
from onnxpipe.processing.audio.io.arrays import scale_samples
from onnxpipe.processing.audio.io.subtitles import is_unspaced

#: Audio quieter than this (root mean square, of full scale) is silence, for which models make words up.
_SILENCE = 1e-3
_PIECE_S = 0.02
#: From this part of the window on audio is dropped: what went before is context for what follows.
_ROOM = 0.6
#: Nothing is final in less audio than this part of the window (of a usual one at most), nor before so much follows it.
_LEAST = 0.4
_AHEAD = 0.15
_USUAL_S = 20.0
#: The uncertainty of words' times; the quietest moment around is where to cut.
_AROUND_S = 0.2
#: The ends of one word in two recognitions differ by less.
_SAME_S = 0.15


@dataclass(frozen=True)
class LiveText:
    """The text so far.

    Attributes:
        final: text that does not change any more; that of the next `LiveText` begins with it.
        partial: the text after it, which may change.
        seconds: how much audio has come.
        done: whether the audio has ended; then everything is final.
    """

    final: str
    partial: str
    seconds: float
    done: bool = False

    @property
    def text(self) -> str:
        """The final and the partial text."""
        return self.final + self.partial


@dataclass(frozen=True)
class _Word:
    """A word with the space before it; its start and end in the buffered audio, in seconds, if they are known."""

    text: str
    start: float | None
    end: float | None

    @property
    def key(self) -> str:
        """Its letters and digits, by which two recognitions are compared."""
        return re.sub(r"\W+", "", self.text).casefold()

    def earlier(self, seconds: float) -> _Word:
        """Move the word to audio that begins so much later."""
        start, end = (None if each is None else max(0.0, each - seconds) for each in (self.start, self.end))
        return _Word(self.text, start, end)

    @property
    def ends_sentence(self) -> bool:
        """Whether a sentence ends with it."""
        return self.text.rstrip().endswith((".", "!", "?", "。", "！", "？"))


def live_text(
    pipe: Any,
    chunks: Iterable[Any],
    *,
    sampling_rate: int | None = None,
    step_s: float = 1.0,
    window_s: float = 20.0,
    options: Mapping[str, Any],
) -> Iterator[LiveText]:
    """Transcribe pieces of audio as they come.

    Args:
        pipe: an automatic-speech-recognition pipeline.
        chunks: pieces of any length: float (samples,) or (samples, channels), int16 of the same shapes, bytes of 16-bit
            samples, or `{"raw", "sampling_rate"}`.
        sampling_rate: samples a second of the pieces; None if they are at the model's rate.
        step_s: recognise again after so many seconds of new audio.
        window_s: the most audio that is recognised at once; when it is full, everything is final up to its quietest
            moment near the end.
        options: the options of the pipeline's call.

    Yields:
        A `LiveText` a step, and one with `done` at the end.

    Raises:
        ValueError: a step or window of no length, or a window shorter than two steps.
        TypeError: a piece of an unknown form.
    """
    if step_s <= 0 or window_s < 2 * step_s:
        raise ValueError(f"step_s={step_s} must be positive and window_s={window_s} at least twice as long")
    transcriber = _Transcriber(pipe, options, window_s)
    rate = int(pipe.feature_extractor.sampling_rate)
    fresh = 0
    for piece in _at_rate(chunks, sampling_rate, rate):
        transcriber.add(piece)
        fresh += len(piece)
        if fresh < step_s * rate:
            continue
        fresh = 0
        transcriber.recognise()
        if len(transcriber.audio) > window_s * rate:
            transcriber.cut(step_s)
        yield transcriber.state()
    yield transcriber.finish()


class _Transcriber:
    """Keep the audio and the words of a live recognition.

    Attributes:
        audio: float32 (samples,), whose words are not all final.
    """

    def __init__(self, pipe: Any, options: Mapping[str, Any], window_s: float) -> None:
        self._pipe, self._rate = pipe, int(pipe.feature_extractor.sampling_rate)
        self._user_options = dict(options)
        self._options = {**best_timestamps(pipe), **options}
        self._least_s = _LEAST * min(window_s, _USUAL_S)
        self._ahead_s = _AHEAD * min(window_s, _USUAL_S)
        self._full = int(_ROOM * window_s * self._rate)
        self.audio: Array = np.zeros(0, np.float32)
        self._text = ""
        self._final: list[_Word] = []  # final words of the audio
        self._partial: list[_Word] = []  # the words after them, of the last recognition
        self._samples = 0

    def add(self, piece: Array) -> None:
        """Append audio."""
        self.audio = np.concatenate((self.audio, piece))
        self._samples += len(piece)

    def recognise(self) -> None:
        """Recognise the audio, make final what agrees with the last time, and make room."""
        words = self._new_words(self.audio)
        agreed = self._settled(words)
        self._finalize(words[:agreed])
        self._partial = words[agreed:]
        self._drop()

    def _settled(self, words: Sequence[_Word]) -> int:
        """Count the new words from the beginning that are as in the last recognition, and have enough audio after them.

        A short beginning is misrecognised alike more than once, so that nothing is settled in it. Words that differ in
        their punctuation or case alone need twice as much audio after them.
        """
        seconds = len(self.audio) / self._rate
        if seconds < self._least_s:
            return 0
        for count, (before, word) in enumerate(zip(self._partial, words, strict=False)):
            end = next((each.end for each in words[count:] if each.end is not None), None)
            if end is None:  # times are not known: words are taken to be equally long
                known = len(self._final)
                end = seconds * (known + count + 1) / (known + len(words))
            ahead = self._ahead_s if before.text.strip() == word.text.strip() else 2 * self._ahead_s
            if before.key != word.key or end > seconds - ahead:
                return count
        return min(len(self._partial), len(words))

    def cut(self, step_s: float) -> None:
        """Make everything up to the quietest moment of the last steps final, and drop its audio."""
        seconds = len(self.audio) / self._rate
        at = _quietest(self.audio, self._rate, seconds - 2 * step_s, seconds)
        self._finalize(self._new_words(self.audio[:at]))
        self.audio, self._final, self._partial = self.audio[at:].copy(), [], []

    def finish(self) -> LiveText:
        """Make the rest final, in the words of a call without timestamps if it repeats what is final."""
        words = self._words(self.audio, self._user_options)
        final = self._final
        repeats = _agreement(final, words) == len(final)
        self._finalize(words[len(final) :] if repeats else self._new_words(self.audio))
        return LiveText(self._text, "", self._samples / self._rate, done=True)

    def state(self) -> LiveText:
        """The text so far."""
        partial = "".join(word.text for word in self._partial)
        return LiveText(self._text, partial if self._text else partial.lstrip(), self._samples / self._rate)

    def _new_words(self, audio: Array) -> list[_Word]:
        """Recognise audio; return the words after those that are final."""
        words = self._words(audio, self._options)
        return words[_resume(self._final, self._partial, words) :] if words else []

    def _words(self, audio: Array, options: Mapping[str, Any]) -> list[_Word]:
        if not len(audio) or float(np.sqrt(np.mean(np.square(audio)))) < _SILENCE:
            return []
        return list(_words_of(self._pipe(audio, **options)))

    def _finalize(self, words: Sequence[_Word]) -> None:
        for word in words:
            self._text += word.text if self._text else word.text.lstrip()
            self._final.append(word)

    def _drop(self) -> None:
        """Drop the audio of final words when the window is filling up: to the end of their last sentence, else of the
        last word; the rest of a sentence without its beginning is misrecognised."""
        if len(self.audio) < self._full:
            return
        words = [*self._final, *self._partial]
        known = [i for i, word in enumerate(self._final) if word.end is not None]
        last = next((i for i in reversed(known) if words[i].ends_sentence), known[-1] if known else None)
        if last is None:
            return
        end = words[last].end or 0.0
        following = words[last + 1].start if last + 1 < len(words) else None
        until = end if following is None else max(end, following)
        cut = _quietest(self.audio, self._rate, end - _AROUND_S, until + _AROUND_S)
        self.audio, at = self.audio[cut:].copy(), cut / self._rate
        self._final = [word.earlier(at) for word in self._final[last + 1 :]]
        self._partial = [word.earlier(at) for word in self._partial]


def best_timestamps(pipe: Any) -> dict[str, Any]:
    """Choose the timestamps that tell where words end: those of words, of segments, or none."""
    if pipe.type == "seq2seq":
        return {}
    if pipe.type != "seq2seq_whisper":
        return {"return_timestamps": "word"}
    return {"return_timestamps": "word" if pipe.model.gives_word_timestamps else True}


def _words_of(answer: Mapping[str, Any]) -> Iterator[_Word]:
    """Iterate over the words of an answer: its chunks are words (then they have times) or segments, or there are none.

    Whisper's words include their spaces; those of CTC have none, and get one.
    """
    chunks = answer.get("chunks", [{"text": answer["text"], "timestamp": (None, None)}])
    spaced = any(str(chunk["text"])[:1].isspace() for chunk in chunks)
    for chunk in chunks:
        words = re.findall(r"\s*\S+", str(chunk["text"]))
        start, end = chunk["timestamp"]
        for number, word in enumerate(words):
            bare = not spaced and number == 0 and not is_unspaced(word)
            is_first, is_last = number == 0, number == len(words) - 1
            yield _Word(f" {word}" if bare else word, start if is_first else None, end if is_last else None)


def _agreement(before: Sequence[_Word], now: Sequence[_Word]) -> int:
    """Count the words from the beginning that are the same."""
    for count, (one, other) in enumerate(zip(before, now, strict=False)):
        if one.key != other.key:
            return count
    return min(len(before), len(now))


def _resume(final: Sequence[_Word], partial: Sequence[_Word], words: Sequence[_Word]) -> int:
    """Count the words of a new recognition that repeat what is final already.

    Args:
        final: the words that are final.
        partial: those that followed in the last recognition.
        words: the new ones. Where they differ from what is final, times decide, or else the words in common.
    """
    count = len(final)
    if _agreement(final, words) == count:
        return count
    last = final[-1].end
    if last is not None and all(word.end is not None for word in words):
        return sum(word.end <= last + _SAME_S for word in words if word.end is not None)
    before, now = ([word.key for word in each] for each in ([*final, *partial], words))
    blocks = [block for block in SequenceMatcher(None, before, now, autojunk=False).get_matching_blocks() if block.size]
    across = next((block for block in blocks if block.a + block.size > count), blocks[-1] if blocks else None)
    return min(count if across is None else max(0, across.b + count - across.a), len(words))


def _quietest(audio: Array, rate: int, start_s: float, end_s: float) -> int:
    """Find the middle, in samples, of the quietest 20 ms between two times."""
    size = max(1, int(_PIECE_S * rate))
    start, end = max(0, int(start_s * rate)), min(len(audio), int(end_s * rate))
    pieces = audio[start : start + max(0, end - start) // size * size].reshape(-1, size)
    return start + int(np.square(pieces).mean(-1).argmin()) * size + size // 2 if len(pieces) else max(start, end)


# -- pieces -----------------------------------------------------------------------------------------------------------
def _at_rate(chunks: Iterable[Any], sampling_rate: int | None, wanted: int) -> Iterator[Array]:
    """Convert the pieces to float32 (samples,) of one channel at the model's rate; resampled as one stream."""
    pieces = (_samples(chunk, sampling_rate) for chunk in chunks)
    first = next(pieces, None)
    if first is None:
        return
    rate = first[1] or wanted

    def columns() -> Iterator[Array]:
        for samples, own in chain([first], pieces):
            if (own or wanted) != rate:
                raise UnsupportedError(f"the sampling rate changed from {rate} to {own or wanted}: start a new call")
            yield samples[:, None]

    if rate == wanted:
        yield from (column[:, 0] for column in columns())
    else:
        from onnxpipe.processing.audio.io.resample import resample_blocks

        yield from (column[:, 0] for column in resample_blocks(columns(), rate, wanted))


def _samples(chunk: Any, sampling_rate: int | None) -> tuple[Array, int | None]:
    if isinstance(chunk, Mapping):
        inner = chunk.get("raw", chunk.get("array"))
        return _samples(inner, chunk.get("sampling_rate", sampling_rate))
    if isinstance(chunk, (bytes, bytearray, memoryview)):
        chunk = np.frombuffer(chunk, "<i2")
    array = as_array(chunk)
    if array is None or array.ndim not in (1, 2) or array.dtype.kind not in "fiu":
        raise TypeError(
            "a piece of live audio is float or int16 of shape (samples,) or (samples, channels), bytes of 16-bit "
            f"samples, or {{'raw', 'sampling_rate'}}; got {type(chunk).__name__}"
        )
    samples = np.asarray(scale_samples(array), np.float32)
    return (samples.mean(axis=1) if samples.ndim == 2 else samples), sampling_rate
