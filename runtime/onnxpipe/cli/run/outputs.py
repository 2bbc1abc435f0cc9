"""Files that a command writes beside its lines: one file, or a folder with a file for each input, named after it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import urlsplit

import click

from onnxpipe.cli.run.table import check_output

#: Longest name of a file that is made of an input.
_STEM = 80


class Sink(Protocol):
    """What becomes of an answer."""

    def write(self, value: Any, answer: Any) -> Sequence[Path]:
        """Writes what is asked for of an input and its answer; returns the files."""
        ...

    def document(self, answer: Any, files: Sequence[Path]) -> Any:
        """The answer as JSON, with the files that were written."""
        ...

    def lines(self, renderer: Any, value: Any, answer: Any) -> Iterable[str]:
        """The answer for people; `renderer` is an `onnxpipe.cli.run.render.Renderer`."""
        ...


@dataclass(frozen=True)
class Kind:
    """What is written.

    Attributes:
        title: what messages call one of them.
        suffix: of the files in a folder.
        check: refuses a file's name by its extension; given the path and the option that named it.
        encode: the file's bytes, from what is written, the path, and the option.
    """

    title: str
    suffix: str
    check: Callable[[Path, str], None]
    encode: Callable[[Any, Path, str], bytes]


@dataclass
class Files:
    """Where they go.

    Attributes:
        path: the file, or the folder (made if need be).
        overwrite: replace files that exist.
        option: the option that named it, for errors.
        kind: what is written.
    """

    path: Path
    overwrite: bool
    option: str
    kind: Kind
    _taken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.single:
            self.kind.check(self.path, self.option)
            check_output(self.path, self.overwrite)

    @property
    def single(self) -> bool:
        """Whether it is one file."""
        return bool(self.path.suffix) and not self.path.is_dir()

    def save(self, made: Any, value: Any) -> Path:
        """Writes what belongs to the input `value`; returns its file.

        Raises:
            click.UsageError: a second one for one file.
            FileExistsError: there is such a file, and `overwrite` is false.
        """
        if self.single and self._taken:
            raise click.UsageError(
                f"{self.option} {self.path} is one {self.kind.title}, and there are several: name a folder"
            )
        target = self.path if self.single else self._file(value)
        self._taken.add(target.name.lower())
        target.parent.mkdir(parents=True, exist_ok=True)
        check_output(target, self.overwrite)
        target.write_bytes(self.kind.encode(made, target, self.option))  # encoded first: no half file stays
        return target

    def _file(self, value: Any) -> Path:
        stem = name = stem_of(value, self.kind.title)
        number = 1
        while f"{name}{self.kind.suffix}".lower() in self._taken:
            number += 1
            name = f"{stem}-{number}"
        return self.path / f"{name}{self.kind.suffix}"


def stem_of(value: Any, otherwise: str = "picture") -> str:
    """A file's name, without extension, for what is made of an input: after its own file, or its first words.

    Args:
        value: a path, a URL, base64, a text, or what holds one.
        otherwise: the name where it gives none.
    """
    if isinstance(value, Mapping):
        value = value.get("image")
    if isinstance(value, (list, tuple)):
        return "-".join(stem_of(each, otherwise) for each in value)[:_STEM]
    text = str(value)
    if text.startswith(("http://", "https://")):
        text = urlsplit(text).path
    elif text.startswith("data:") or len(text) > 4096:
        return otherwise
    stem = re.sub(r"[^\w.-]+", "_", PurePosixPath(text.replace("\\", "/")).stem).strip("._")
    return stem[:_STEM] or otherwise
