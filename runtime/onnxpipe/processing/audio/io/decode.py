"""Decode audio files block by block: with libsndfile where it knows the format, else with FFmpeg's libraries.

The length in a file's header is never trusted: memory is allocated only for decoded samples. How FFmpeg opens a file
safely: `processing.av`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np

from onnxpipe.errors import AudioError, MissingDependencyError
from onnxpipe.processing.audio.io.arrays import Array
from onnxpipe.processing.av import AUDIO_FORMATS, open_container
from onnxpipe.processing.file_kinds import is_container, kind_of

#: The lowest and highest sampling rate of a file, in Hz.
RATES = (1_000, 1_000_000)
#: Samples, of all channels together, that are decoded at once: few, so that the place of an error is known to a second.
_BLOCK = 2**14
_MAX_CHANNELS = 1024
#: The length that libsndfile reports if the file does not have it.
_UNKNOWN = 2**63 - 1
#: A wav file whose header claims at least so many bytes was written to a pipe.
_STREAMED = 0x7FFF_0000
#: Formats whose length libsndfile knows to the sample, from the file itself and not only from its header.
_COUNTED = ("OGG", "FLAC")
#: Longer durations in a header (more than a year) are not reported.
_MAX_SECONDS = 365 * 86_400

#: The message for a file that is not an audio file.
MALFORMED = (
    "Soundfile is either not in the correct format or is malformed. {name} is {what}. Pass a file such as wav, flac, "
    "ogg or mp3, or the URL of the file itself"
)


@dataclass(frozen=True)
class AudioFile:
    """A file to decode.

    Attributes:
        content: its path, or its bytes.
        name: its name in messages.
    """

    content: str | bytes
    name: str

    def head(self) -> bytes:
        """Read its first bytes."""
        if isinstance(self.content, bytes):
            return self.content[:64]
        with Path(self.content).open("rb") as file:
            return file.read(64)

    def size(self) -> int:
        """Get its size in bytes."""
        return len(self.content) if isinstance(self.content, bytes) else Path(self.content).stat().st_size

    def open(self) -> IO[bytes]:
        """Open it as a stream of bytes."""
        return BytesIO(self.content) if isinstance(self.content, bytes) else Path(self.content).open("rb")


class _Bytes(BytesIO):
    """Bytes that allow seeking to before their beginning, as libsndfile does in broken files: an exception in its
    callback would be printed."""

    def seek(self, place: int, whence: int = os.SEEK_SET, /) -> int:
        start = (0, self.tell(), len(self.getbuffer()))[whence]
        return super().seek(max(0, start + place))


@dataclass(frozen=True)
class DecodedAudio:
    """The audio of an open file.

    Attributes:
        rate: samples per second.
        duration: seconds, as the file says; None where it does not.
        blocks: float32 (samples, channels) each, which can be read once.
        missing: the share of the audio that the header claims and a truncated file does not have.
    """

    rate: int
    duration: float | None
    blocks: Iterator[Array]
    missing: float = 0.0


@contextmanager
def open_decoded(file: AudioFile) -> Iterator[DecodedAudio]:
    """Open the audio of a file for the duration of the `with` block.

    Raises:
        AudioError: the file has no audio, or is broken; the latter is raised while the blocks are read.
        OSError: it cannot be opened: FileNotFoundError, PermissionError, ...
        MissingDependencyError: soundfile is not installed, or PyAV where the format needs it.
    """
    soundfile = import_soundfile()
    if not file.size():
        raise AudioError(MALFORMED.format(name=file.name, what="empty"))
    if (kind := kind_of(file.head())) is not None:
        raise AudioError(MALFORMED.format(name=file.name, what=kind))
    try:
        opened = soundfile.SoundFile(_Bytes(file.content) if isinstance(file.content, bytes) else file.content)
    except (soundfile.LibsndfileError, TypeError):  # soundfile raises TypeError for names that end in .raw
        with _open_ffmpeg(file) as audio:
            yield audio
        return
    if opened.frames == _UNKNOWN:  # a FLAC that was written to a pipe: libsndfile needs the length to read it
        opened.close()
        with _open_ffmpeg(file) as audio:
            yield audio
        return
    with opened:
        if not _usable(opened.samplerate, opened.channels):
            raise _unsupported_format(file, opened.samplerate, opened.channels)
        seconds = opened.frames / opened.samplerate
        yield DecodedAudio(
            opened.samplerate, seconds if 0 < seconds < _MAX_SECONDS else None, _read(soundfile, opened, file),
            _missing(opened.extra_info),
        )  # fmt: skip


def _missing(log: str) -> float:
    """Compute the share of a wav file's audio that is missing, from libsndfile's log.

    Programs that write to a pipe do not know the length, and claim the largest that is possible: their files are whole.
    """
    match = re.search(r"^data\s*: (\d+) \(should be (\d+)\)", log, re.MULTILINE)
    claimed, present = (int(match[1]), int(match[2])) if match else (0, 0)
    return 1 - present / claimed if present < claimed < _STREAMED else 0.0


def _read(soundfile: Any, opened: Any, file: AudioFile) -> Iterator[Array]:
    size = max(1, _BLOCK // opened.channels)
    done = 0
    while True:
        try:
            block = opened.read(size, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise _broken(file, done / opened.samplerate, error) from error
        if not len(block):
            if done < opened.frames and opened.format in _COUNTED:
                raise _broken(file, done / opened.samplerate, "the rest cannot be read")
            return
        done += len(block)
        yield _finite(block, file, done / opened.samplerate)


# -- FFmpeg -----------------------------------------------------------------------------------------------------------
@contextmanager
def _open_ffmpeg(file: AudioFile) -> Iterator[DecodedAudio]:
    av = _import_av(file)
    with file.open() as stream:
        try:
            container = open_container(stream, AUDIO_FORMATS)
        except (av.error.FFmpegError, ValueError) as error:
            raise AudioError(MALFORMED.format(name=file.name, what="of no format that is known")) from error
        with container:
            if not container.streams.audio:
                raise AudioError(f"{file.name} has no audio in it")
            track = container.streams.audio[0]
            codec = track.codec_context
            if codec is None:
                raise AudioError(f"the audio of {file.name} has a codec that PyAV does not know")
            if not _usable(codec.sample_rate, codec.channels):
                raise _unsupported_format(file, codec.sample_rate, codec.channels)
            yield DecodedAudio(codec.sample_rate, _duration(container, track), _frames(av, container, track, file))


def _duration(container: Any, track: Any) -> float | None:
    if track.duration is not None and track.time_base is not None:
        seconds = float(track.duration * track.time_base)
    else:
        seconds = (container.duration or 0) / 1e6
    return seconds if 0 < seconds < _MAX_SECONDS else None


def _frames(av: Any, container: Any, track: Any, file: AudioFile) -> Iterator[Array]:
    rate, done = track.codec_context.sample_rate, 0
    try:
        for frame in container.decode(track):
            if frame.sample_rate != rate:
                raise AudioError(
                    f"the sampling rate of {file.name} changes from {rate} to {frame.sample_rate} Hz at "
                    f"{done / rate:.2f} s"
                )
            block = _floats(frame)
            done += len(block)
            yield _finite(block, file, done / rate)
    except av.error.FFmpegError as error:
        raise _broken(file, done / rate, error) from error


def _floats(frame: Any) -> Array:
    """Convert the samples of a frame to float32 (samples, channels)."""
    array = frame.to_ndarray()
    array = array.T if frame.format.is_planar else array.reshape(-1, frame.layout.nb_channels)
    if array.dtype.kind == "f":
        return np.asarray(array, np.float32)
    scale = 2.0 ** (8 * array.dtype.itemsize - 1)
    middle = scale if array.dtype.kind == "u" else 0.0
    return np.asarray((array.astype(np.float64) - middle) / scale, np.float32)


# -- errors -----------------------------------------------------------------------------------------------------------
def _usable(rate: int, channels: int) -> bool:
    return RATES[0] <= rate <= RATES[1] and 1 <= channels <= _MAX_CHANNELS


def _unsupported_format(file: AudioFile, rate: int, channels: int) -> AudioError:
    return AudioError(
        f"the header of {file.name} has a sampling rate of {rate} Hz and {channels} channels; supported are "
        f"{RATES[0]}–{RATES[1]} Hz and 1–{_MAX_CHANNELS} channels"
    )


def _broken(file: AudioFile, seconds: float, error: Exception | str) -> AudioError:
    why = str(getattr(error, "strerror", None) or getattr(error, "error_string", None) or error or type(error).__name__)
    return AudioError(f"{file.name} is broken after {seconds:.2f} s: {why.removeprefix('Error : ').rstrip('.')}")


def _finite(block: Array, file: AudioFile, seconds: float) -> Array:
    if not np.isfinite(block).all():
        raise AudioError(f"{file.name} has samples that are not finite numbers, before {seconds:.2f} s")
    return block


def import_soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError where the wheel has no libsndfile
        raise MissingDependencyError(
            'audio files need soundfile; install it with: pip install "onnxpipe[audio]"'
        ) from error
    return soundfile


def _import_av(file: AudioFile) -> Any:
    try:
        import av
    except ImportError as error:
        if is_container(file.head()):
            raise MissingDependencyError(
                f"{os.path.basename(file.name)} has a format that needs PyAV; install it with: pip install "  # noqa: PTH119
                '"onnxpipe[audio,video]", or convert it to wav, flac, ogg or mp3'
            ) from error
        raise AudioError(MALFORMED.format(name=file.name, what="of no format that is known")) from error
    return av
