"""Open an input of speech recognition, and cut it into chunks that overlap; nothing is read earlier than needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxpipe.engine.batching import Array
from onnxpipe.errors import AudioError, UnsupportedError
from onnxpipe.tasks.base.audio import Recording, at_rate, is_file, recording_of
from onnxpipe.tasks.speech_recognition.progress import Progress

#: (samples, left, right): a chunk's length, and how many of its samples are only context.
Stride = tuple[int, int, int]


@dataclass(frozen=True)
class AudioInput:
    """Read the audio of one input.

    Attributes:
        samples: (n,) at the model's rate; or a stream of them (`onnxpipe.processing.audio.io.stream.AudioStream`).
        rate: samples a second.
        stride: samples at its left and right that are only context; None for none.
        extra: further keys of the dict that held it, for the answer.
    """

    samples: Any
    rate: int
    stride: tuple[int, int] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        """Its length; for a file as the file says, None if it does not."""
        if isinstance(self.samples, np.ndarray):
            return len(self.samples) / self.rate
        duration: float | None = self.samples.duration
        return duration

    @property
    def start(self) -> float:
        """Seconds from the beginning of a video to that of its audio."""
        return 0.0 if isinstance(self.samples, np.ndarray) else float(self.samples.start)

    def blocks(self, size: int) -> Iterator[Array]:
        """Iterate over the samples from the beginning, in blocks of any length; an array is one block."""
        return iter([self.samples]) if isinstance(self.samples, np.ndarray) else self.samples.blocks(size)

    def read(self, limit: int | None = None) -> Array:
        """Read the samples from the beginning, all or the first ones."""
        if isinstance(self.samples, np.ndarray):
            return self.samples[:limit]
        kept, count = [], 0
        for block in self.blocks(self.rate * 30):
            kept.append(block)
            count += len(block)
            if limit is not None and count >= limit:
                break
        return np.concatenate(kept)[:limit]


@dataclass(frozen=True)
class ChunkInfo:
    """Hold what the answer needs of one row.

    Attributes:
        stride: where the chunk lies in its context; None for an input that was not cut.
        extra: further keys of the input.
        features: computes the features of a recording that is longer than a window of the model and was not cut.
        progress: the progress bar; None for none.
        seconds: how much of the recording is done with this row.
        number: the row's number in its input, from 0.
        start: seconds from the beginning of a video to that of its audio, which timestamps count.
    """

    stride: Stride | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    features: Callable[[], Any] | None = None
    progress: Progress | None = None
    seconds: float = 0.0
    number: int = 0
    start: float = 0.0


@dataclass(frozen=True)
class AudioChunk:
    """Hold samples that run at once.

    Attributes:
        samples: (n,).
        stride: their number, and how many at the left and right are only context.
    """

    samples: Array
    stride: Stride


def open_input(source: Any, rate: int, who: str) -> AudioInput:
    """Open the audio of a source.

    Args:
        source: see `onnxpipe.tasks.base.audio`.
        rate: samples a second that the model reads.
        who: the pipeline's class, for errors.

    Raises:
        ValueError: a dict without its array or rate, more than two channels, a stride that is too large.
        TypeError: none of the forms that a recording has.
        FileNotFoundError, AudioError: a file that is missing, or holds no audio.
    """
    if is_file(source):
        from onnxpipe.processing.audio.io.load import open_audio

        return AudioInput(open_audio(source, rate), rate)
    recording = recording_of(source, who)
    assert recording is not None
    mono = Recording(_one_channel(recording.array, who), recording.rate)
    samples = at_rate(mono, rate)
    if not len(samples):
        raise AudioError("the recording has no samples")
    stride = recording.stride
    if stride is not None:
        ratio = rate / (recording.rate or rate)
        left, right = (round(length * ratio) for length in stride)
        if left < 0 or right < 0 or left + right > len(samples):
            raise UnsupportedError(
                f"Stride is too large for input: {stride[0]} and {stride[1]} samples of {len(mono.array)} are to be "
                "only context"
            )
        stride = (left, right)
    return AudioInput(samples, rate, stride, recording.extra)


def _one_channel(array: Array, who: str) -> Array:
    """Average the channels of (channels, samples).

    Raises:
        ValueError: more than two channels, or axes.
    """
    if array.ndim == 1:
        return array
    if array.ndim != 2:
        raise ValueError(
            f"{who} expects mono audio shaped `(samples,)` or multi-channel audio shaped `(channels, samples)`, got "
            f"{array.ndim} dimensions with shape {array.shape}."
        )
    if len(array) > 2:
        raise UnsupportedError(
            f"{who} reads axis 0 as channels, and it has size {len(array)} in the input of shape {array.shape}. If "
            "this array is channels-last `(samples, channels)`, which is what `soundfile.read` and "
            "`scipy.io.wavfile.read` return, transpose it first. If it genuinely has more than 2 channels, downmix it "
            "to mono yourself so the weighting is yours to choose."
        )
    return np.asarray(array.mean(axis=0))


def cut(audio: AudioInput, length: int, left: int, right: int) -> Iterator[AudioChunk]:
    """Cut audio into chunks of `length` samples, the last one shorter, each overlapping its neighbours by `left` plus
    `right`.

    Only one chunk and a block of the recording are in memory.

    Raises:
        ValueError: no step from one chunk to the next.
    """
    step = length - left - right
    if step < 1:
        raise UnsupportedError(
            f"Chunk length must be superior to stride length: chunks of {length} samples cannot overlap by {left} and "
            f"{right}"
        )
    blocks = audio.blocks(step)
    held = next(blocks, np.zeros(0, np.float32))
    first = True
    while True:
        missing = length + 1 - len(held)  # one more tells whether this is the last
        if missing > 0:
            more = _at_least(blocks, missing)
            held = np.concatenate([held, *more]) if more else held
        samples, last = held[:length], len(held) <= length
        yield AudioChunk(samples, (len(samples), 0 if first else left, 0 if last else right))
        if last:
            return
        held, first = held[step:], False


def _at_least(blocks: Iterator[Array], count: int) -> list[Array]:
    blocks_read: list[Array] = []
    while count > 0 and (block := next(blocks, None)) is not None:
        blocks_read.append(block)
        count -= len(block)
    return blocks_read
