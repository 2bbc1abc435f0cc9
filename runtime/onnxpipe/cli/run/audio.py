"""Write recordings of generated speech or music, and transcripts of recordings: text, subtitles or JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import click

from onnxpipe.cli.run.outputs import FileKind, OutputFiles
from onnxpipe.cli.run.plain import plain
from onnxpipe.cli.terminal import printable, visible

#: The formats of a transcript that `--format` names; without it a transcript is plain text.
TRANSCRIPT_FORMATS = ("srt", "vtt", "json")
#: The rate at which the length of a recording is measured.
_CLOCK_HZ = 16_000
#: Characters of the text from which a recording's file is named.
_NAME = 40


@dataclass(frozen=True)
class RecordingOutput:
    """Writes answers that are audio.

    Attributes:
        files: the files of the recordings.
    """

    files: OutputFiles

    def write(self, value: Any, answer: Mapping[str, Any]) -> list[Path]:
        """Write a recording to a file that is named after the first words of its text."""
        return [self.files.save(answer, re.sub(r"\W+", "_", str(value))[:_NAME])]

    def document(self, answer: Mapping[str, Any], files: Sequence[Path]) -> Any:
        """Convert the answer to JSON, with the file's path for the samples."""
        return {"audio": str(files[0]), "sampling_rate": answer["sampling_rate"]}

    def lines(self, renderer: Any, value: Any, answer: Mapping[str, Any]) -> Iterator[str]:
        """Format the text, the duration and the sampling rate."""
        yield printable(str(value))
        yield f"  {answer['audio'].shape[-1] / answer['sampling_rate']:.2f} s at {answer['sampling_rate']} Hz"


@dataclass(frozen=True)
class TranscriptOutput:
    """Writes answers that are transcripts.

    Attributes:
        format: one of `TRANSCRIPT_FORMATS`, or None for plain text.
        files: the files to write; None for stdout.
        words: whether the timestamps are those of words.
    """

    format: str | None
    files: OutputFiles | None
    words: bool

    def write(self, value: Any, answer: Mapping[str, Any]) -> list[Path]:
        """Write a transcript to its file, if it has one."""
        return [] if self.files is None else [self.files.save(self._text(value, answer), value)]

    def document(self, answer: Mapping[str, Any], files: Sequence[Path]) -> Any:
        """Convert the answer to JSON, with the file that was written."""
        return {**plain(dict(answer)), **({"file": str(files[0])} if files else {})}

    def lines(self, renderer: Any, value: Any, answer: Mapping[str, Any]) -> Iterator[str]:
        """Return the transcript, or the input's name where the transcript went to a file."""
        yield printable(str(value)) if self.files is not None else self._text(value, answer).removesuffix("\n")

    def _text(self, value: Any, answer: Mapping[str, Any]) -> str:
        if self.format is None:
            return visible(str(answer["text"]).strip()) + "\n"
        if self.format == "json":
            return json.dumps(plain(dict(answer)), ensure_ascii=False, indent=2) + "\n"
        from onnxpipe.processing.audio.io.subtitles import subtitles

        chunks = answer.get("chunks") or [{"timestamp": (0.0, 0.0)}]
        end = _end_of(value) if chunks[-1]["timestamp"][1] is None else None
        return subtitles(answer, "srt" if self.format == "srt" else "vtt", words=self.words, duration=end)


def _end_of(source: Any) -> float | None:
    """Find where a recording ends, in seconds; None if it cannot be read once more."""
    from onnxpipe.errors import AudioError
    from onnxpipe.processing.audio.io.load import open_audio

    try:
        stream = open_audio(source, _CLOCK_HZ)
        seconds = stream.duration
        if seconds is None:
            seconds = sum(map(len, stream.blocks())) / _CLOCK_HZ
    except (AudioError, OSError, TypeError):
        return None
    return stream.start + seconds


def open_recordings(path: Path | None, overwrite: bool, task: str) -> RecordingOutput:
    """Open the file or folder of `--output PATH` for recordings.

    Raises:
        click.UsageError: there is no path, or its format is not known.
    """
    if path is None:
        raise click.UsageError(f"{task} writes recordings: give -o speech.wav, or -o DIR for several")
    return RecordingOutput(OutputFiles(path, overwrite, "--output", _RECORDINGS))


def transcript_files(format: str | None, path: Path | None, overwrite: bool) -> tuple[str | None, OutputFiles | None]:
    """Return the format of transcripts, by `--format` or the extension of `--output PATH`, and their files.

    Raises:
        click.UsageError: the extension is not one of a transcript.
    """
    if path is None:
        return format, None
    suffix = "" if path.is_dir() else path.suffix.lower().removeprefix(".")
    format = suffix if format is None and suffix in TRANSCRIPT_FORMATS else format
    kind = FileKind(
        "transcript", f".{format or 'txt'}", "transcript", _check_transcript, lambda text, target, option: text.encode()
    )
    return format, OutputFiles(path, overwrite, "--output", kind)


def timestamps_for(format: str | None, pipe: Any) -> dict[str, Any]:
    """Return the call's parameters for a format: the times of segments where the model has them, else of words.

    Raises:
        click.UsageError: the format is one of subtitles, but the model has no timestamps.
    """
    backend = getattr(pipe, "type", None)
    if format is None:
        return {}
    if backend == "seq2seq":
        if format == "json":
            return {}
        raise click.UsageError(f"--format {format}: the model {pipe.model.name_or_path} has no timestamps")
    return {"return_timestamps": True if backend == "seq2seq_whisper" else "word"}


def _check_transcript(path: Path, option: str) -> None:
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in (*TRANSCRIPT_FORMATS, "txt", "text"):
        raise click.UsageError(f"{option} {path}: {path.suffix!r} is not a transcript format; name a .srt or .txt")


def _check_recording(path: Path, option: str) -> None:
    known = _soundfile().available_formats()
    if _format(path) not in known:
        raise click.UsageError(f"{option} {path}: {path.suffix!r} is not an audio format; name a .wav")


def _encode(answer: Mapping[str, Any], target: Path, option: str) -> bytes:
    """Encode the samples of one answer, (samples,) or (..., channels, samples)."""
    import numpy as np

    samples = np.asarray(answer["audio"], np.float32)
    while samples.ndim > 2:
        samples = samples[0]
    buffer, soundfile = BytesIO(), _soundfile()
    try:
        soundfile.write(buffer, samples.T, int(answer["sampling_rate"]), format=_format(target))
    except (soundfile.LibsndfileError, ValueError) as error:
        raise click.UsageError(
            f"{option} {target}: this recording cannot be written as {_format(target)}: {error}"
        ) from None
    return buffer.getvalue()


def _format(path: Path) -> str:
    """Return libsndfile's name of a file's format."""
    name = path.suffix.upper().removeprefix(".")
    return {"OPUS": "OGG", "OGA": "OGG", "AIF": "AIFF"}.get(name, name)


def _soundfile() -> Any:
    from onnxpipe.processing.audio.io.decode import import_soundfile

    return import_soundfile()


_RECORDINGS = FileKind("recording", ".wav", "recording", _check_recording, _encode)
