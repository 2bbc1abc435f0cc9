"""Pictures that a command writes: drawings of answers, and answers that are pictures themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import click

from onnxpipe.cli.run.outputs import Files, Kind
from onnxpipe.cli.run.plain import plain

#: Tasks whose answer is a picture, or has one.
MAKERS = frozenset({"background-removal", "depth-estimation", "image-to-image"})
#: What `registry` calls the tasks whose inputs are pictures.
KINDS = frozenset({"image", "video", "multimodal"})
#: Tasks of pictures of whose answers there is nothing to draw.
_UNDRAWN = frozenset({"image-feature-extraction"})


@dataclass(frozen=True)
class Sinks:
    """Where the pictures of answers go.

    Attributes:
        task: its own name.
        drawn: gets drawings; None for none.
        kept: gets answers that are pictures; None for none.
    """

    task: str
    drawn: Files | None
    kept: Files | None

    def write(self, value: Any, answer: Any) -> list[Path]:
        """Writes what is asked for of an input and its answer; returns the files."""
        files = []
        if self.kept is not None:
            files.append(self.kept.save(_picture_in(answer), value))
        if self.drawn is not None:
            files.append(self.drawn.save(_drawing(value, answer, self.task), value))
        return files

    def document(self, answer: Any, files: Sequence[Path]) -> Any:
        """The answer as JSON; a picture that was written is its path."""
        if self.kept is None:
            return plain(answer)
        return {**plain(answer), "depth": str(files[0])} if isinstance(answer, dict) else str(files[0])

    def lines(self, renderer: Any, value: Any, answer: Any) -> Iterable[str]:
        """As `Renderer` has it."""
        found: Iterable[str] = renderer.lines(value, answer)
        return found

    def write_one(self, value: Any, answer: Any) -> Path:
        """For a row of a table: the answer where that is a picture, else a drawing."""
        assert self.drawn is not None
        made = _picture_in(answer) if self.task in MAKERS else _drawing(value, answer, self.task)
        return self.drawn.save(made, value)


def open_gallery(path: Path | None, task: str, kind: Any, overwrite: bool) -> Files | None:
    """Where `--draw PATH` draws to.

    Raises:
        click.UsageError: of the task's answers there is nothing to draw.
    """
    if path is None:
        return None
    if kind not in KINDS or task in _UNDRAWN:
        raise click.UsageError(f"--draw is for tasks whose answers can be drawn into pictures, not for {task}")
    return Files(path, overwrite, "--draw", PICTURES)


def _drawing(value: Any, answer: Any, task: str) -> Any:
    """The picture of an input with the answer drawn into it."""
    from onnxpipe.processing.images.drawing.draw import draw

    return draw(_pictures_of(value, task), answer, task=task)


def _picture_in(answer: Any) -> Any:
    """The picture that an answer of one of `MAKERS` is, or has."""
    return answer["depth"] if isinstance(answer, Mapping) else answer


def is_picture(value: Any) -> bool:
    """Whether it is a PIL image; tells so without importing PIL."""
    return hasattr(value, "getbands") and hasattr(value, "save")


def _pictures_of(value: Any, task: str) -> Any:
    """The picture of an input, or both of a pair, or the first of a film."""
    from onnxpipe.processing.images.io.load import load_image

    if task == "video-classification":
        from onnxpipe.processing.video.read import read_frames

        return load_image(read_frames(value, 1)[0])
    if isinstance(value, Mapping):
        value = value["image"]
    return [load_image(each) for each in value] if isinstance(value, (list, tuple)) else load_image(value)


def _check_suffix(path: Path, option: str) -> None:
    from onnxpipe.processing.images.io.pillow import import_pillow

    known: Iterable[str] = import_pillow().registered_extensions()
    if path.suffix.lower() not in known:
        raise click.UsageError(f"{option} {path}: {path.suffix!r} is no picture's extension; name a .png")


def _encode(picture: Any, target: Path, option: str) -> bytes:
    from onnxpipe.processing.images.io.pillow import import_pillow

    format = import_pillow().registered_extensions()[target.suffix.lower()]
    buffer = BytesIO()
    try:
        picture.save(buffer, format=format)
    except (OSError, ValueError, KeyError) as error:
        raise click.UsageError(
            f"{option} {target}: a picture of mode {picture.mode} cannot be written as {format}: {error}; name a .png"
        ) from None
    return buffer.getvalue()


PICTURES = Kind("picture", ".png", _check_suffix, _encode)
"""PIL images."""
