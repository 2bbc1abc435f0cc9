"""Write images: drawings of answers, and answers that are images themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxpipe.cli.run.outputs import FileKind, OutputFiles
from onnxpipe.cli.run.plain import plain

if TYPE_CHECKING:
    from onnxpipe.tasks.base.spec import TaskSpec


@dataclass(frozen=True)
class ImageOutput:
    """Writes the images of answers.

    Attributes:
        spec: the task.
        drawings: the files of the drawings; None for none.
        answers: the files of answers that are images; None for none.
    """

    spec: TaskSpec
    drawings: OutputFiles | None
    answers: OutputFiles | None

    def write(self, value: Any, answer: Any) -> list[Path]:
        """Write the images of an input and its answer; return their paths."""
        files = []
        if self.answers is not None:
            files.append(self.answers.save(_image_in(answer), value))
        if self.drawings is not None:
            files.append(self.drawings.save(_drawing(value, answer, self.spec), value))
        return files

    def document(self, answer: Any, files: Sequence[Path]) -> Any:
        """Convert the answer to JSON; an image that was written is its path."""
        if self.answers is None:
            return plain(answer)
        return {**plain(answer), "depth": str(files[0])} if isinstance(answer, dict) else str(files[0])

    def lines(self, renderer: Any, value: Any, answer: Any) -> Iterable[str]:
        """Format the answer as `Renderer` does."""
        lines: Iterable[str] = renderer.lines(value, answer)
        return lines

    def write_row(self, value: Any, answer: Any) -> Path:
        """Write the image for a row of a table: the answer if it is an image, else a drawing."""
        assert self.drawings is not None
        image = _image_in(answer) if self.spec.output == "image" else _drawing(value, answer, self.spec)
        return self.drawings.save(image, value)


def open_drawings(path: Path | None, overwrite: bool) -> OutputFiles | None:
    """Open the file or folder of `--draw PATH`."""
    return OutputFiles(path, overwrite, "--draw", IMAGES) if path is not None else None


def open_images(path: Path | None, overwrite: bool) -> OutputFiles | None:
    """Open the file or folder of `--output PATH`, for answers that are images."""
    return OutputFiles(path, overwrite, "--output", IMAGES) if path is not None else None


def _drawing(value: Any, answer: Any, spec: TaskSpec) -> Any:
    """Draw an answer into the image of its input."""
    from onnxpipe.processing.images.drawing.draw import draw

    return draw(_input_images(value, spec), answer, task=spec.name)


def _image_in(answer: Any) -> Any:
    """Return the image that an answer is, or that it holds."""
    return answer["depth"] if isinstance(answer, Mapping) else answer


def _input_images(value: Any, spec: TaskSpec) -> Any:
    """Load the image of an input, or both of a pair, or the first frame of a video."""
    from onnxpipe.processing.images.io.load import load_image

    if spec.input == "video":
        from onnxpipe.processing.video.read import read_frames

        return load_image(read_frames(value, 1)[0])
    if isinstance(value, Mapping):
        value = value["image"]
    return [load_image(each) for each in value] if isinstance(value, (list, tuple)) else load_image(value)


def _check_suffix(path: Path, option: str) -> None:
    from onnxpipe.processing.images.io.pillow import import_pillow

    known: Iterable[str] = import_pillow().registered_extensions()
    if path.suffix.lower() not in known:
        raise click.UsageError(f"{option} {path}: {path.suffix!r} is not an image format; name a .png")


def _encode(image: Any, target: Path, option: str) -> bytes:
    from onnxpipe.processing.images.io.pillow import import_pillow

    format = import_pillow().registered_extensions()[target.suffix.lower()]
    buffer = BytesIO()
    try:
        image.save(buffer, format=format)
    except (OSError, ValueError, KeyError) as error:
        raise click.UsageError(
            f"{option} {target}: an image of mode {image.mode} cannot be written as {format}: {error}; name a .png"
        ) from None
    return buffer.getvalue()


#: PIL images. Their files are called "image" where the input has no name (base64).
IMAGES = FileKind("image", ".png", "image", _check_suffix, _encode)
