"""Pictures that a command writes: drawings of answers, and answers that are pictures themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import click

from onnxpipe.cli.table import check_output

#: Tasks whose answer is a picture, or has one.
MAKERS = frozenset({"background-removal", "depth-estimation", "image-to-image"})
#: What `registry` calls the tasks whose inputs are pictures.
KINDS = frozenset({"image", "video", "multimodal"})
#: Tasks of pictures of whose answers there is nothing to draw.
_UNDRAWN = frozenset({"image-feature-extraction"})
_SUFFIX = ".png"
#: Longest name of a file that is made of an input.
_STEM = 80


@dataclass
class Gallery:
    """Where pictures go: one file, or a folder that gets a file for each input, named after it.

    Attributes:
        path: the file, or the folder (made if need be).
        overwrite: replace files that exist.
        option: the option that named it, for errors.
    """

    path: Path
    overwrite: bool
    option: str
    _taken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.single:
            _check_suffix(self.path, self.option)
            check_output(self.path, self.overwrite)

    @property
    def single(self) -> bool:
        """Whether it is one file."""
        return bool(self.path.suffix) and not self.path.is_dir()

    def save(self, picture: Any, value: Any) -> Path:
        """Writes the picture that belongs to the input `value`; returns its file.

        Raises:
            click.UsageError: a second picture for one file.
            FileExistsError: there is such a file, and `overwrite` is false.
        """
        if self.single and self._taken:
            raise click.UsageError(f"{self.option} {self.path} is one picture, and there are several: name a folder")
        target = self.path if self.single else self._file(value)
        self._taken.add(target.name.lower())
        target.parent.mkdir(parents=True, exist_ok=True)
        check_output(target, self.overwrite)
        buffer = BytesIO()  # so that a picture that cannot be written leaves no half file
        _save(picture, buffer, target, self.option)
        target.write_bytes(buffer.getvalue())
        return target

    def _file(self, value: Any) -> Path:
        stem = name = stem_of(value)
        number = 1
        while f"{name}{_SUFFIX}".lower() in self._taken:
            number += 1
            name = f"{stem}-{number}"
        return self.path / f"{name}{_SUFFIX}"


@dataclass(frozen=True)
class Sinks:
    """Where the pictures of answers go.

    Attributes:
        task: its own name.
        drawn: gets drawings; None for none.
        kept: gets answers that are pictures; None for none.
    """

    task: str
    drawn: Gallery | None
    kept: Gallery | None

    def write(self, value: Any, answer: Any) -> list[Path]:
        """Writes what is asked for of an input and its answer; returns the files."""
        files = []
        if self.kept is not None:
            files.append(self.kept.save(_picture_in(answer), value))
        if self.drawn is not None:
            files.append(self.drawn.save(_drawing(value, answer, self.task), value))
        return files

    def write_one(self, value: Any, answer: Any) -> Path:
        """For a row of a table: the answer where that is a picture, else a drawing."""
        assert self.drawn is not None
        made = _picture_in(answer) if self.task in MAKERS else _drawing(value, answer, self.task)
        return self.drawn.save(made, value)


def open_gallery(path: Path | None, task: str, kind: Any, overwrite: bool) -> Gallery | None:
    """Where `--draw PATH` draws to.

    Raises:
        click.UsageError: of the task's answers there is nothing to draw.
    """
    if path is None:
        return None
    if kind not in KINDS or task in _UNDRAWN:
        raise click.UsageError(f"--draw is for tasks whose answers can be drawn into pictures, not for {task}")
    return Gallery(path, overwrite, "--draw")


def _drawing(value: Any, answer: Any, task: str) -> Any:
    """The picture of an input with the answer drawn into it."""
    from onnxpipe.processing.images.draw import draw

    return draw(_pictures_of(value, task), answer, task=task)


def _picture_in(answer: Any) -> Any:
    """The picture that an answer of one of `MAKERS` is, or has."""
    return answer["depth"] if isinstance(answer, Mapping) else answer


def is_picture(value: Any) -> bool:
    """Whether it is a PIL image; tells so without importing PIL."""
    return hasattr(value, "getbands") and hasattr(value, "save")


def stem_of(value: Any) -> str:
    """A file's name, without extension, for what is made of an input: after its own file, or "picture"."""
    if isinstance(value, Mapping):
        value = value.get("image")
    if isinstance(value, (list, tuple)):
        return "-".join(stem_of(each) for each in value)[:_STEM]
    text = str(value)
    if text.startswith(("http://", "https://")):
        text = urlsplit(text).path
    elif text.startswith("data:") or len(text) > 4096:
        return "picture"
    stem = re.sub(r"[^\w.-]+", "_", PurePosixPath(text.replace("\\", "/")).stem).strip("._")
    return stem[:_STEM] or "picture"


def _pictures_of(value: Any, task: str) -> Any:
    """The picture of an input, or both of a pair, or the first of a film."""
    from onnxpipe.processing.images.load import load_image

    if task == "video-classification":
        from onnxpipe.processing.video import read_frames

        return load_image(read_frames(value, 1)[0])
    if isinstance(value, Mapping):
        value = value["image"]
    return [load_image(each) for each in value] if isinstance(value, (list, tuple)) else load_image(value)


def _check_suffix(path: Path, option: str) -> None:
    from onnxpipe.processing.images.pillow import import_pillow

    known: Iterable[str] = import_pillow().registered_extensions()
    if path.suffix.lower() not in known:
        raise click.UsageError(f"{option} {path}: {path.suffix!r} is no picture's extension; name a .png")


def _save(picture: Any, buffer: BytesIO, target: Path, option: str) -> None:
    from onnxpipe.processing.images.pillow import import_pillow

    format = import_pillow().registered_extensions()[target.suffix.lower()]
    try:
        picture.save(buffer, format=format)
    except (OSError, ValueError, KeyError) as error:
        raise click.UsageError(
            f"{option} {target}: a picture of mode {picture.mode} cannot be written as {format}: {error}; name a .png"
        ) from None
