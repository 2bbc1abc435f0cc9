"""Live recognition: text while somebody is still speaking, of which the final part never changes again.

The audio that is not final yet is recognised again whenever a little more has come. What two recognitions in a row
agree on from the beginning is final (LocalAgreement-2: Liu et al. 2020; Macháček et al. 2023, "Turning Whisper into
real-time transcription system"); what follows is partial. Audio whose words are final is dropped, so memory and work a
step do not grow.
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

#: Quieter than this (root mean square, of full scale) nothing is said: recognisers make words up for silence.
_SILENCE = 1e-3
_PIECE_S = 0.02
#: From this part of the window on audio is dropped: what went before helps to understand what follows.
_ROOM = 0.6
#: Words' times are so uncertain; the quietest moment around is where to cut.
_AROUND_S = 0.2
#: Ends of one word in two recognitions differ by less.
_SAME_S = 0.15


@dataclass(frozen=True)
class LiveText:
    """What was understood so far.

    Attributes:
        final: text that does not change any more; the next one begins with it.
        partial: what follows, as far as it is guessed.
        seconds: how much audio has come.
        done: whether the audio has ended; then everything is final.
    """

    final: str
    partial: str
    seconds: float
    done: bool = False

    @property
    def text(self) -> str:
        """Both."""
        return self.final + self.partial


@dataclass(frozen=True)
class _Word:
    """A word with the space before it; where it begins and ends in the audio that is held, in seconds, where known."""

    text: str
    start: float | None
    end: float | None

    @property
    def key(self) -> str:
        """What two recognitions are compared by: letters and digits."""
        return re.sub(r"\W+", "", self.text).casefold()

    def earlier(self, seconds: float) -> _Word:
        """The same word where the audio begins so much later."""
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
    """Text for pieces of audio as they come.

    Args:
        pipe: an automatic-speech-recognition pipeline.
        chunks: pieces of any length: float (samples,) or (samples, channels), int16 of the same shapes, bytes of 16-bit
            samples, or `{"raw", "sampling_rate"}`.
        sampling_rate: samples a second of the pieces; None where they are at the model's rate.
        step_s: recognise again after so many seconds of new audio.
        window_s: the most audio that is recognised at once; where it is full, everything is final up to its quietest
            moment near the end.
        options: parameters of the pipeline's call.

    Yields:
        A `LiveText` a step, and one with `done` at the end.

    Raises:
        ValueError: a step or window of no length, or a window shorter than two steps.
        TypeError: a piece of no known form.
    """
    if step_s <= 0 or window_s < 2 * step_s:
        raise ValueError(f"step_s={step_s} must be positive and window_s={window_s} at least twice as long")
    listener = _Listener(pipe, options, window_s)
    rate = int(pipe.feature_extractor.sampling_rate)
    fresh = 0
    for piece in _at_rate(chunks, sampling_rate, rate):
        listener.add(piece)
        fresh += len(piece)
        if fresh < step_s * rate:
            continue
        fresh = 0
        listener.recognise()
        if len(listener.held) > window_s * rate:
            listener.cut(step_s)
        yield listener.state()
    yield listener.finish()


class _Listener:
    """What was heard and understood.

    Attributes:
        held: float32 (samples,): the audio whose words are not all final.
    """

    def __init__(self, pipe: Any, options: Mapping[str, Any], window_s: float) -> None:
        self._pipe, self._rate = pipe, int(pipe.feature_extractor.sampling_rate)
        self._options = {**_timestamps(pipe), **options}
        self._roomy = int(_ROOM * window_s * self._rate)
        self.held: Array = np.zeros(0, np.float32)
        self._text = ""
        self._settled: list[_Word] = []  # final words of what is held
        self._guessed: list[_Word] = []  # the words after them, of the last recognition
        self._samples = 0

    def add(self, piece: Array) -> None:
        """More audio."""
        self.held = np.concatenate((self.held, piece))
        self._samples += len(piece)

    def recognise(self) -> None:
        """Recognises what is held, settles what agrees with the last time, and makes room."""
        words = self._new_words(self.held)
        agreed = _agreement(self._guessed, words)
        self._settle(words[:agreed])
        self._guessed = words[agreed:]
        self._drop()

    def cut(self, step_s: float) -> None:
        """Settles everything up to the quietest moment of the last steps, and drops its audio."""
        seconds = len(self.held) / self._rate
        at = _quietest(self.held, self._rate, seconds - 2 * step_s, seconds)
        self._settle(self._new_words(self.held[:at]))
        self.held, self._settled, self._guessed = self.held[at:].copy(), [], []

    def finish(self) -> LiveText:
        """Settles the rest."""
        self._settle(self._new_words(self.held))
        return LiveText(self._text, "", self._samples / self._rate, done=True)

    def state(self) -> LiveText:
        """What was understood so far."""
        partial = "".join(word.text for word in self._guessed)
        return LiveText(self._text, partial if self._text else partial.lstrip(), self._samples / self._rate)

    def _new_words(self, audio: Array) -> list[_Word]:
        """The words after those that are final."""
        if not len(audio) or float(np.sqrt(np.mean(np.square(audio)))) < _SILENCE:
            return []
        words = list(_words_of(self._pipe(audio, **self._options)))
        return words[_resume(self._settled, self._guessed, words) :]

    def _settle(self, words: Sequence[_Word]) -> None:
        for word in words:
            self._text += word.text if self._text else word.text.lstrip()
            self._settled.append(word)

    def _drop(self) -> None:
        """Where the window is filling up, drops the audio of what is final: up to the end of its last sentence, else of
        its last word; what is left out of a sentence is heard wrong."""
        if len(self.held) < self._roomy:
            return
        words = [*self._settled, *self._guessed]
        known = [i for i, word in enumerate(self._settled) if word.end is not None]
        last = next((i for i in reversed(known) if words[i].ends_sentence), known[-1] if known else None)
        if last is None:
            return
        end = words[last].end or 0.0
        following = words[last + 1].start if last + 1 < len(words) else None
        until = end if following is None else max(end, following)
        cut = _quietest(self.held, self._rate, end - _AROUND_S, until + _AROUND_S)
        self.held, at = self.held[cut:].copy(), cut / self._rate
        self._settled = [word.earlier(at) for word in self._settled[last + 1 :]]
        self._guessed = [word.earlier(at) for word in self._guessed]


def _timestamps(pipe: Any) -> dict[str, Any]:
    """What tells where words end: words' own times, segments', or nothing."""
    if pipe.type == "seq2seq":
        return {}
    if pipe.type != "seq2seq_whisper":
        return {"return_timestamps": "word"}
    return {"return_timestamps": "word" if pipe.model.gives_word_timestamps else True}


def _words_of(answer: Mapping[str, Any]) -> Iterator[_Word]:
    """The words of an answer: its chunks are words (then they have their times) or segments, or there are none.

    Whisper's words bring their spaces; those of CTC have none, and get one.
    """
    chunks = answer.get("chunks", [{"text": answer["text"], "timestamp": (None, None)}])
    spaced = any(str(chunk["text"])[:1].isspace() for chunk in chunks)
    for chunk in chunks:
        words = re.findall(r"\s*\S+", str(chunk["text"]))
        start, end = chunk["timestamp"]
        for number, word in enumerate(words):
            bare = not spaced and number == 0 and not _unspaced(word)
            is_first, is_last = number == 0, number == len(words) - 1
            yield _Word(f" {word}" if bare else word, start if is_first else None, end if is_last else None)


def _unspaced(word: str) -> bool:
    """Whether it is of a script without spaces between words: Chinese, Japanese, Thai, Lao, Khmer, Burmese."""
    return bool(re.match(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff。、，！？]", word))


def _agreement(before: Sequence[_Word], now: Sequence[_Word]) -> int:
    """How many words from the beginning are the same."""
    for count, (one, other) in enumerate(zip(before, now, strict=False)):
        if one.key != other.key:
            return count
    return min(len(before), len(now))


def _resume(settled: Sequence[_Word], guessed: Sequence[_Word], words: Sequence[_Word]) -> int:
    """How many of the words of a new recognition say what is final already.

    Args:
        settled: the words that are final.
        guessed: those that followed in the last recognition.
        words: the new ones. Where they say otherwise what is final, times decide, or else what is said alike.
    """
    count = len(settled)
    if _agreement(settled, words) == count:
        return count
    last = settled[-1].end
    if last is not None and all(word.end is not None for word in words):
        return sum(word.end <= last + _SAME_S for word in words if word.end is not None)
    before, now = ([word.key for word in each] for each in ([*settled, *guessed], words))
    blocks = [block for block in SequenceMatcher(None, before, now, autojunk=False).get_matching_blocks() if block.size]
    across = next((block for block in blocks if block.a + block.size > count), blocks[-1] if blocks else None)
    return min(count if across is None else max(0, across.b + count - across.a), len(words))


def _quietest(audio: Array, rate: int, start_s: float, end_s: float) -> int:
    """The middle, in samples, of the quietest 20 ms between two times."""
    size = max(1, int(_PIECE_S * rate))
    start, end = max(0, int(start_s * rate)), min(len(audio), int(end_s * rate))
    pieces = audio[start : start + max(0, end - start) // size * size].reshape(-1, size)
    return start + int(np.square(pieces).mean(-1).argmin()) * size + size // 2 if len(pieces) else max(start, end)


# -- pieces -----------------------------------------------------------------------------------------------------------
def _at_rate(chunks: Iterable[Any], sampling_rate: int | None, wanted: int) -> Iterator[Array]:
    """The pieces as float32 (samples,) of one channel at the model's rate; resampled as one stream."""
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
    if array is None or array.ndim not in (1, 2) or array.dtype.kind not in "fi":
        raise TypeError(
            "a piece of live audio is float or int16 of shape (samples,) or (samples, channels), bytes of 16-bit "
            f"samples, or {{'raw', 'sampling_rate'}}; got {type(chunk).__name__}"
        )
    scale = float(np.iinfo(array.dtype).max) + 1 if array.dtype.kind == "i" else 1.0
    samples = array.astype(np.float32) / np.float32(scale)
    return (samples.mean(axis=1) if samples.ndim == 2 else samples), sampling_rate
