"""Write images: drawings of answers, and answers that are images themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxpipe.cli.run.outputs import FileKind, OutputFiles
from onnxpipe.cli.run.plain import plain, record_of
from onnxpipe.processing.plain_values import is_image

if TYPE_CHECKING:
    from onnxpipe.tasks.base.spec import TaskSpec

#: Characters of the prompt from which an image's file is named.
_NAME = 60


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
            files += [self.answers.save(image, self._named(value)) for image in _images_in(answer)]
        if self.drawings is not None:
            files.append(self.drawings.save(_drawing(value, answer, self.spec), value))
        return files

    def document(self, answer: Any, files: Sequence[Path]) -> Any:
        """Convert the answer to JSON; an image that was written is its path."""
        if self.answers is None:
            return plain(answer)
        if isinstance(answer, dict):
            return {**plain(answer), "depth": str(files[0])}
        made = [{"image": str(file), **record_of(image)} for image, file in zip(_images_in(answer), files)]
        described = [each if len(each) > 1 else each["image"] for each in made]
        return described if isinstance(answer, list) else described[0]

    def lines(self, renderer: Any, value: Any, answer: Any) -> Iterable[str]:
        """Format the answer as `Renderer` does."""
        lines: Iterable[str] = renderer.lines(value, answer)
        return lines

    def write_row(self, value: Any, answer: Any) -> str | list[str]:
        """Write the image for a row of a table: the answer if it is an image (or several), else a drawing."""
        assert self.drawings is not None
        images = _images_in(answer) if self.spec.output == "image" else [_drawing(value, answer, self.spec)]
        files = [str(self.drawings.save(image, self._named(value))) for image in images]
        return files if isinstance(answer, list) and self.spec.output == "image" else files[0]

    def _named(self, value: Any) -> Any:
        """Return what names the file of an input: the first words of a prompt, or the input itself."""
        prompt = value.get("prompt") if isinstance(value, Mapping) else value if self.spec.input == "text" else None
        return value if prompt is None else re.sub(r"\W+", "_", str(prompt))[:_NAME]


def open_drawings(path: Path | None, overwrite: bool) -> OutputFiles | None:
    """Open the file or folder of `--draw PATH`."""
    return OutputFiles(path, overwrite, "--draw", IMAGES) if path is not None else None


def open_images(path: Path | None, overwrite: bool) -> OutputFiles | None:
    """Open the file or folder of `--output PATH`, for answers that are images."""
    return OutputFiles(path, overwrite, "--output", IMAGES) if path is not None else None


def _drawing(value: Any, answer: Any, spec: TaskSpec) -> Any:
    """Draw an answer into the image of its input; an image is its own drawing."""
    if is_image(answer):
        return answer
    from onnxpipe.processing.images.drawing.draw import draw

    return draw(_input_images(value, spec), answer, task=spec.name)


def _images_in(answer: Any) -> list[Any]:
    """Return the images that an answer is, or the one that it holds."""
    if isinstance(answer, Mapping):
        return [answer["depth"]]
    return answer if isinstance(answer, list) else [answer]


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
        image.save(buffer, format=format, **_texts(image, format))
    except (OSError, ValueError, KeyError) as error:
        raise click.UsageError(
            f"{option} {target}: an image of mode {image.mode} cannot be written as {format}: {error}; name a .png"
        ) from None
    return buffer.getvalue()


def _texts(image: Any, format: str) -> dict[str, Any]:
    """Return the keywords that write into a PNG how the image was generated: a text field for each fact."""
    record = record_of(image)
    if format != "PNG" or not record:
        return {}
    from PIL.PngImagePlugin import PngInfo

    fields = PngInfo()
    for name, text in record.items():
        fields.add_itxt(name, text)
    return {"pnginfo": fields}


#: PIL images. Their files are called "image" where the input has no name (base64).
IMAGES = FileKind("image", ".png", "image", _check_suffix, _encode)
