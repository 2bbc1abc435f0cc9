"""Read the lines of a stream once."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from onnxpipe.errors import OnnxPipeError

#: Longest line and longest cell in characters. Python's own limit of 131072 for cells is too short for documents;
#: without a limit, a file without line ends, or one quote that is never closed, would be read whole into memory.
CELL_LIMIT = 1 << 24


class TableError(OnnxPipeError, ValueError):
    """A file cannot be read as a table, or written as one."""


@dataclass(frozen=True)
class Remedies:
    """How the reader of an error mends it: in Python, where a table is a path, or in a command with options.

    Attributes:
        encoding: for a file in another encoding; {} is the likely one.
        delimiter: for rows with more cells than the header.
        format: for a file whose name does not tell its format.
    """

    encoding: str = "save it as UTF-8, or read it with encoding={!r} yourself and pass its rows"
    delimiter: str = "if it is not the delimiter, pass the rows instead of the path"
    format: str = "name it .csv, .tsv or .jsonl"


IN_PYTHON = Remedies()


class Lines(Iterator[str]):
    """Iterates over the lines of a stream, with their line ends; some may be looked at beforehand, or given back.

    A byte that the encoding does not have becomes a lone surrogate (U+DC80 to U+DCFF, Python's `surrogateescape`).

    Args:
        path: names the stream in errors.
        stream: the bytes.
        encoding: Python's name of the encoding.
        remedies: how its user mends an error.

    Attributes:
        number: how many lines were taken.
        offset: how many bytes they have.
        ended: whether the line that was taken last has a line end.

    Raises:
        LookupError: an unknown encoding.
    """

    def __init__(self, path: Path, stream: BinaryIO, encoding: str, remedies: Remedies = IN_PYTHON) -> None:
        self.remedies = remedies
        self.number = self.offset = 0
        self.ended = True
        self._path = path
        # newline="" leaves line ends inside quoted cells alone
        self._file = io.TextIOWrapper(stream, encoding, "surrogateescape", newline="")
        self._ahead: deque[str] = deque()

    def __next__(self) -> str:
        line = self._ahead.popleft() if self._ahead else self._read()
        if not line:
            raise StopIteration
        self.number += 1
        self.offset += self._size(line)
        self.ended = line.endswith("\n")
        return line

    def sample(self, chars: int) -> str:
        """Return the next characters (fewer at the end of the stream) without taking them."""
        size = sum(map(len, self._ahead))
        while size < chars and (line := self._read()):
            self._ahead.append(line)
            size += len(line)
        return "".join(self._ahead)[:chars]

    def give_back(self, lines: Sequence[str]) -> None:
        """Put back lines that were taken last; they come again."""
        self._ahead.extendleft(reversed(lines))
        self.number -= len(lines)
        self.offset -= sum(map(self._size, lines))

    def close(self) -> None:
        """Close the stream."""
        self._file.close()

    def _size(self, line: str) -> int:
        return len(line) if line.isascii() else len(line.encode(self._file.encoding, "surrogateescape"))

    def _read(self) -> str:
        try:
            line = self._file.readline(CELL_LIMIT + 1)
        except UnicodeError as error:
            mend = self.remedies.encoding.format("cp1252")
            raise TableError(f"{self._path} is not {self._file.encoding}: {error}; {mend}") from None
        if len(line) > CELL_LIMIT:
            at = self.number + len(self._ahead) + 1
            raise TableError(f"{self._path}: line {at} is longer than {CELL_LIMIT} characters")
        return line
