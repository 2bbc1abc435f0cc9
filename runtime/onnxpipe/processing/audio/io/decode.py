"""Decode audio files block by block: with libsndfile where it knows the format, else with FFmpeg's libraries.

The length in a file's header is a hint: memory is allocated only for decoded samples, and all samples are read that
there are, also those of further recordings in the file (`parts`). A file that ends too early is read as far as it goes,
and what is missing is said; bytes that cannot be decoded in the middle are an error. How FFmpeg opens a file safely:
`processing.av`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np

from onnxpipe.errors import AudioError, MissingDependencyError
from onnxpipe.processing.audio.io.arrays import Array
from onnxpipe.processing.audio.io.parts import Part, SplicedFile, find_parts
from onnxpipe.processing.audio.io.parts.chunks import STREAMED
from onnxpipe.processing.audio.io.quiet import QuietDecoder
from onnxpipe.processing.av import AUDIO_FORMATS, default_track, open_container
from onnxpipe.processing.file_kinds import is_container, kind_of

#: The lowest and highest sampling rate of a file, in Hz.
RATES = (1_000, 1_000_000)
#: Samples, of all channels together, that are decoded at once: few, so that the place of an error is known to a second.
_BLOCK = 2**14
_MAX_CHANNELS = 1024
#: The length that libsndfile reports if the file does not have it.
_UNKNOWN = 2**63 - 1
#: Formats whose length libsndfile knows to the sample, from the file itself and not only from its header.
_COUNTED = ("OGG", "FLAC")
#: Formats whose decoder prints what is wrong.
_PRINTING = ("MP3", "MPEG")
#: Audio that begins or ends so many seconds later or earlier than a video says is not late, and not truncated: a packet
#: or two.
_LATE = 0.1
_ROUNDED = 0.25
#: The largest sample that is read: channels can be added up, resampled and squared in float32.
_LARGEST = 1e18
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

    @property
    def native(self) -> str | bytes:
        """Its path as soundfile takes it: in bytes, as a str would have to be UTF-8."""
        return self.content if sys.platform == "win32" else os.fsencode(self.content)

    @cached_property
    def parts(self) -> list[Part]:
        """The recordings in it; empty where libsndfile reads all of it as it is."""
        with self.open() as stream:
            return find_parts(stream)


@dataclass
class DecodedAudio:
    """The audio of an open file.

    Attributes:
        rate: samples per second.
        duration: seconds, as the file says; None where it does not.
        blocks: float32 (samples, channels) each, which can be read once.
        missing: the share of the audio that the header claims and a truncated file does not have. What libsndfile
            does not read is known after the last block.
        cut: whether the file ends too early, by as much or as little as it may be.
        start: seconds from the beginning of a video to that of its audio.
    """

    rate: int
    duration: float | None
    blocks: Iterator[Array] = field(default_factory=lambda: iter(()))
    missing: float = 0.0
    cut: bool = False
    start: float = 0.0


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
    with ExitStack() as stack:
        decoder = QuietDecoder()
        opened = _open_parts(soundfile, file, stack, decoder)
        if not opened:
            yield stack.enter_context(_open_ffmpeg(file))
            return
        first = opened[0]
        if not _usable(first.samplerate, first.channels):
            raise _unsupported_format(file, first.samplerate, first.channels)
        lengths = [each.frames / first.samplerate for each in opened]
        shares = [part.missing for part in file.parts] or [_missing(first.extra_info)]
        claimed = sum(length / (1 - share) for length, share in zip(lengths, shares, strict=False) if share < 1)
        audio = DecodedAudio(first.samplerate, sum(lengths) if 0 < sum(lengths) < _MAX_SECONDS else None)
        audio.missing = 1 - sum(lengths) / claimed if any(shares) and claimed else 0.0
        audio.cut = len(opened) < len(file.parts) or any(part.cut for part in file.parts)
        audio.blocks = _read_parts(soundfile, opened, file, decoder, audio)
        yield audio


def _open_parts(soundfile: Any, file: AudioFile, stack: ExitStack, decoder: QuietDecoder) -> list[Any]:
    """Open the recordings of a file with libsndfile; none where it does not read the first."""
    opened: list[Any] = []
    stream = stack.enter_context(file.open())  # the parts read it in turn
    whole: list[Part | None] = [Part(((0, file.size()),)) if isinstance(file.content, bytes) else None]
    for part in file.parts or whole:
        source = file.native if part is None else SplicedFile(stream, part.pieces)
        try:
            with decoder.quiet():
                each = stack.enter_context(soundfile.SoundFile(source))
        except (soundfile.LibsndfileError, TypeError):  # soundfile raises TypeError for names that end in .raw
            break
        if each.frames == _UNKNOWN:  # a FLAC that was written to a pipe: libsndfile needs the length to read it
            break
        opened.append(each)
    return opened


def _missing(log: str) -> float:
    """Compute the share of a file's audio that is missing, from libsndfile's log.

    Programs that write to a pipe do not know the length, and claim the largest that is possible: their files are whole.
    """
    match = re.search(r"^data\s*: (\d+) \(should be (\d+)\)", log, re.MULTILINE)
    claimed, present = (int(match[1]), int(match[2])) if match else (0, 0)
    return 1 - present / claimed if present < claimed < STREAMED else 0.0


def _read_parts(
    soundfile: Any, opened: list[Any], file: AudioFile, decoder: QuietDecoder, audio: DecodedAudio
) -> Iterator[Array]:
    """Read recordings one after another, with the channels of the first."""
    rate, channels, done = opened[0].samplerate, opened[0].channels, 0
    for each in opened:
        if each.samplerate != rate:
            raise _other_rate(file, rate, each.samplerate, done / rate)
        for block in _read(soundfile, each, file, done, decoder):
            done += len(block)
            if each.channels != channels:
                block = np.repeat(block.mean(axis=1, keepdims=True), channels, axis=1)
            yield block
    audio.cut = audio.cut or decoder.complained


def _read(soundfile: Any, opened: Any, file: AudioFile, before: int, decoder: QuietDecoder) -> Iterator[Array]:
    size = max(1, _BLOCK // opened.channels)
    done = 0
    while True:
        seconds = (before + done) / opened.samplerate
        try:
            with decoder.quiet() if opened.format in _PRINTING else nullcontext():
                block = opened.read(size, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise _broken(file, seconds, error) from error
        if not len(block):
            if done < opened.frames and opened.format in _COUNTED:
                raise _broken(file, seconds, "the rest cannot be read")
            return
        done += len(block)
        yield _finite(block, file, (before + done) / opened.samplerate)


# -- FFmpeg -----------------------------------------------------------------------------------------------------------
@contextmanager
def _open_ffmpeg(file: AudioFile) -> Iterator[DecodedAudio]:
    av = _import_av(file)
    with file.open() as stream:
        try:
            container = open_container(stream, AUDIO_FORMATS)
        except (av.error.FFmpegError, ValueError) as error:
            what = "truncated or broken" if is_container(file.head()) else "of no format that is known"
            raise AudioError(MALFORMED.format(name=file.name, what=what)) from error
        with container:
            if not container.streams.audio:
                raise AudioError(f"{file.name} has no audio in it")
            track = default_track(container.streams.audio)
            if track is None:
                raise AudioError(f"the audio of {file.name} has a codec that PyAV does not know")
            codec = track.codec_context
            if not _usable(codec.sample_rate, codec.channels):
                raise _unsupported_format(file, codec.sample_rate, codec.channels)
            audio = DecodedAudio(codec.sample_rate, _duration(container, track), start=_start(container, track))
            audio.blocks = _frames(av, container, track, file, audio)
            yield audio


def _start(container: Any, track: Any) -> float:
    """Compute how many seconds after the beginning of a video its audio begins; 0 for less than a frame or so."""
    if track.start_time is None or track.time_base is None:
        return 0.0
    seconds = float(track.start_time * track.time_base) - (container.start_time or 0) / 1e6
    return seconds if _LATE <= seconds < _MAX_SECONDS else 0.0


def _duration(container: Any, track: Any) -> float | None:
    if track.duration is not None and track.time_base is not None:
        seconds = float(track.duration * track.time_base)
    else:
        seconds = (container.duration or 0) / 1e6 - _start(container, track)
    return seconds if 0 < seconds < _MAX_SECONDS else None


def _frames(av: Any, container: Any, track: Any, file: AudioFile, audio: DecodedAudio) -> Iterator[Array]:
    rate, done = audio.rate, 0
    failed: Exception | None = None
    reached = 0.0  # by the packets of all tracks: one without a length of its own may end before the video
    packets = container.demux(track) if track.duration is not None else container.demux()
    try:
        for packet in packets:
            if packet.pts is not None:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                reached = max(reached, end - (container.start_time or 0) / 1e6 - audio.start)
            if packet.stream.index != track.index:
                continue
            if failed is not None and packet.size:
                raise failed  # it was not the end of the file that could not be read
            try:
                frames = packet.decode()
            except av.error.EOFError:
                continue
            except av.error.FFmpegError as error:
                failed = error
                continue
            for frame in frames:
                if frame.sample_rate != rate:
                    raise _other_rate(file, rate, frame.sample_rate, done / rate)
                block = _floats(frame)
                done += len(block)
                yield _finite(block, file, done / rate)
    except av.error.FFmpegError as error:
        raise _broken(file, done / rate, error) from error
    if failed is not None and not done:
        raise _broken(file, 0.0, failed) from failed
    present = max(done / rate, 0.0 if track.duration is not None else reached)
    if audio.duration is not None and audio.duration - present > max(_ROUNDED, 0.01 * audio.duration):
        audio.missing = 1 - present / audio.duration
    audio.cut = failed is not None or audio.missing > 0


def _floats(frame: Any) -> Array:
    """Convert the samples of a frame to float32 (samples, channels)."""
    try:
        array = frame.to_ndarray()
    except ValueError as error:  # 64-bit integers
        raise AudioError(f"samples of the type {frame.format.name} cannot be read") from error
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


def _other_rate(file: AudioFile, rate: int, other: int, seconds: float) -> AudioError:
    return AudioError(f"the sampling rate of {file.name} changes from {rate} to {other} Hz at {seconds:.2f} s")


def _broken(file: AudioFile, seconds: float, error: Exception | str) -> AudioError:
    why = str(getattr(error, "strerror", None) or getattr(error, "error_string", None) or error or type(error).__name__)
    return AudioError(f"{file.name} is broken after {seconds:.2f} s: {why.removeprefix('Error : ').rstrip('.')}")


def _finite(block: Array, file: AudioFile, seconds: float) -> Array:
    if block.size and not (block.max() <= _LARGEST and block.min() >= -_LARGEST):  # false for NaN too
        raise AudioError(f"{file.name} has samples that are not finite numbers, or above 1e18, before {seconds:.2f} s")
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
