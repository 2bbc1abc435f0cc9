"""Write answers to files: one file, or a folder with a file for each input, named after the input."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import urlsplit

import click

from onnxpipe.cli.run.table import check_output
from onnxpipe.processing.data_urls import is_data_url
from onnxpipe.processing.urls import is_url

#: Longest name of a file, without its extension.
_STEM = 80


class AnswerOutput(Protocol):
    """Writes answers to files, and formats them for stdout."""

    def write(self, value: Any, answer: Any) -> Sequence[Path]:
        """Write the files of an input and its answer; return their paths."""
        ...

    def document(self, answer: Any, files: Sequence[Path]) -> Any:
        """Convert the answer to JSON, with the files that were written."""
        ...

    def lines(self, renderer: Any, value: Any, answer: Any) -> Iterable[str]:
        """Format the answer for people; `renderer` is an `onnxpipe.cli.run.render.Renderer`."""
        ...


@dataclass(frozen=True)
class FileKind:
    """A kind of files that the command line writes.

    Attributes:
        title: what messages call one of them.
        suffix: the extension of the files in a folder.
        stem: the name of a file whose input has no name.
        check: refuses a path by its extension; takes the path and the option that named it.
        encode: encodes the content of a file; takes the content, the path and the option.
    """

    title: str
    suffix: str
    stem: str
    check: Callable[[Path, str], None]
    encode: Callable[[Any, Path, str], bytes]


@dataclass
class OutputFiles:
    """The file or folder that an option names.

    Attributes:
        path: the file, or the folder (created where it does not exist).
        overwrite: replace files that exist.
        option: the option that named it, for errors.
        kind: the kind of files.
    """

    path: Path
    overwrite: bool
    option: str
    kind: FileKind
    _used_names: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.single:
            self.kind.check(self.path, self.option)
            check_output(self.path, self.overwrite)

    @property
    def single(self) -> bool:
        """Whether the path is one file, not a folder."""
        return bool(self.path.suffix) and not self.path.is_dir()

    def save(self, content: Any, value: Any) -> Path:
        """Write the content that belongs to the input `value`; return its file.

        Raises:
            click.UsageError: a second content for one file.
            FileExistsError: the file exists, and `overwrite` is false.
        """
        if self.single and self._used_names:
            raise click.UsageError(
                f"{self.option} {self.path} is one {self.kind.title}, but there are several: name a folder"
            )
        target = self.path if self.single else self._file(value)
        self._used_names.add(target.name.lower())
        target.parent.mkdir(parents=True, exist_ok=True)
        check_output(target, self.overwrite)
        target.write_bytes(self.kind.encode(content, target, self.option))  # encoded first: no half file stays
        return target

    def _file(self, value: Any) -> Path:
        stem = name = stem_of(value, self.kind.stem)
        number = 1
        while f"{name}{self.kind.suffix}".lower() in self._used_names:
            number += 1
            name = f"{stem}-{number}"
        return self.path / f"{name}{self.kind.suffix}"


def stem_of(value: Any, default: str) -> str:
    """Return the name, without extension, of the file for an input: that of its own file, or its first words.

    Args:
        value: a path, a URL, base64, a text, or a dict or list that holds one.
        default: the name where the input has none.
    """
    if isinstance(value, Mapping):
        value = value.get("image")
    if isinstance(value, (list, tuple)):
        return "-".join(stem_of(each, default) for each in value)[:_STEM]
    text = str(value)
    if is_url(text):
        text = urlsplit(text).path
    elif is_data_url(text) or len(text) > 4096:
        return default
    stem = re.sub(r"[^\w.-]+", "_", PurePosixPath(text.replace("\\", "/")).stem).strip("._")
    return stem[:_STEM] or default
