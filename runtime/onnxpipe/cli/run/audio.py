"""Sound that a command writes, and what it heard: recordings, transcripts, subtitles."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import click

from onnxpipe.cli.run.outputs import Files, Kind
from onnxpipe.cli.run.plain import plain, printable
from onnxpipe.cli.run.streaming import visible

#: The task that writes what it hears, and the one that speaks.
HEARS = "automatic-speech-recognition"
SPEAKS = "text-to-audio"
#: What `--format` makes of what was heard; without it the text alone.
TRANSCRIPTS = ("srt", "vtt", "json")
#: Words of a text that name its recording.
_NAME = 40


@dataclass(frozen=True)
class Recordings:
    """Writes the answers of text-to-audio.

    Attributes:
        files: where to.
    """

    files: Files

    def write(self, value: Any, answer: Mapping[str, Any]) -> list[Path]:
        """Writes one, to a file that is named after its first words."""
        return [self.files.save(answer, re.sub(r"\W+", "_", str(value))[:_NAME])]

    def document(self, answer: Mapping[str, Any], files: Sequence[Path]) -> Any:
        """The answer as JSON; the sound is its path."""
        return {"audio": str(files[0]), "sampling_rate": answer["sampling_rate"]}

    def lines(self, renderer: Any, value: Any, answer: Mapping[str, Any]) -> Iterator[str]:
        """How long it is."""
        yield printable(str(value))
        yield f"  {answer['audio'].shape[-1] / answer['sampling_rate']:.2f} s at {answer['sampling_rate']} Hz"


@dataclass(frozen=True)
class Transcripts:
    """Writes the answers of automatic-speech-recognition.

    Attributes:
        form: one of `TRANSCRIPTS`, or None for plain text.
        files: where to; None for stdout.
        words: whether the model's timestamps are of words.
    """

    form: str | None
    files: Files | None
    words: bool

    def write(self, value: Any, answer: Mapping[str, Any]) -> list[Path]:
        """Writes one to its file."""
        return [] if self.files is None else [self.files.save(self._text(answer), value)]

    def document(self, answer: Mapping[str, Any], files: Sequence[Path]) -> Any:
        """The answer as JSON, with the file that was written."""
        return {**plain(dict(answer)), **({"file": str(files[0])} if files else {})}

    def lines(self, renderer: Any, value: Any, answer: Mapping[str, Any]) -> Iterator[str]:
        """The transcript, or where it went."""
        yield printable(str(value)) if self.files is not None else self._text(answer).removesuffix("\n")

    def _text(self, answer: Mapping[str, Any]) -> str:
        if self.form is None:
            return visible(str(answer["text"]).strip()) + "\n"
        if self.form == "json":
            return json.dumps(plain(dict(answer)), ensure_ascii=False, indent=2) + "\n"
        from onnxpipe.processing.audio.io.subtitles import subtitles

        return subtitles(answer, "srt" if self.form == "srt" else "vtt", words=self.words)


def open_recordings(path: Path | None, overwrite: bool) -> Recordings:
    """Where `-o PATH` writes what is spoken.

    Raises:
        click.UsageError: there is no path, or one of no known format.
    """
    if path is None:
        raise click.UsageError(f"the answers of {SPEAKS} are recordings: name -o speech.wav, or -o DIR for several")
    return Recordings(Files(path, overwrite, "--output", _RECORDINGS))


def transcript_files(form: str | None, path: Path | None, overwrite: bool) -> tuple[str | None, Files | None]:
    """The form of transcripts, by `--format` or the extension of `-o PATH`, and where they go.

    Raises:
        click.UsageError: another extension than the format's.
    """
    if path is None:
        return form, None
    told = "" if path.is_dir() else path.suffix.lower().removeprefix(".")
    form = told if form is None and told in TRANSCRIPTS else form
    kind = Kind("transcript", f".{form or 'txt'}", _check_transcript, lambda made, target, option: made.encode())
    return form, Files(path, overwrite, "--output", kind)


def timestamps_for(form: str | None, pipe: Any) -> dict[str, Any]:
    """Parameters of a call whose answer gets this form: times of segments where the model knows them, else of words.

    Raises:
        click.UsageError: subtitles are asked for, and the model knows no times.
    """
    kind = getattr(pipe, "type", None)
    if form is None:
        return {}
    if kind == "seq2seq":
        if form == "json":
            return {}
        raise click.UsageError(f"--format {form}: {pipe.model.name_or_path} is a model that gives no timestamps")
    return {"return_timestamps": True if kind == "seq2seq_whisper" else "word"}


def _check_transcript(path: Path, option: str) -> None:
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in (*TRANSCRIPTS, "txt", "text"):
        raise click.UsageError(f"{option} {path}: {path.suffix!r} is no transcript's extension; name a .srt or .txt")


def _check_recording(path: Path, option: str) -> None:
    known = _soundfile().available_formats()
    if _format(path) not in known:
        raise click.UsageError(f"{option} {path}: {path.suffix!r} is no recording's extension; name a .wav")


def _encode(answer: Mapping[str, Any], target: Path, option: str) -> bytes:
    """A file of one answer: its samples, (samples,) or (..., channels, samples)."""
    import numpy as np

    samples = np.asarray(answer["audio"], np.float32)
    while samples.ndim > 2:
        samples = samples[0]
    buffer, sound = BytesIO(), _soundfile()
    try:
        sound.write(buffer, samples.T, int(answer["sampling_rate"]), format=_format(target))
    except (sound.LibsndfileError, ValueError) as error:
        raise click.UsageError(f"{option} {target}: this cannot be written as {_format(target)}: {error}") from None
    return buffer.getvalue()


def _format(path: Path) -> str:
    """libsndfile's name of a format."""
    name = path.suffix.upper().removeprefix(".")
    return {"OPUS": "OGG", "OGA": "OGG", "AIF": "AIFF"}.get(name, name)


def _soundfile() -> Any:
    from onnxpipe.processing.audio.io.decode import import_soundfile

    return import_soundfile()


_RECORDINGS = Kind("recording", ".wav", _check_recording, _encode)
