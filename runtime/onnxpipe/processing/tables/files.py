"""Read tables row by row: CSV, TSV, JSONL and plain text, from a file or from a stream that is read once."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from onnxpipe.processing.json_text import parse_json
from onnxpipe.processing.tables.characters import text_problem, without_surrogates
from onnxpipe.processing.tables.csv_records import csv_records
from onnxpipe.processing.tables.lines import IN_PYTHON, Lines, Remedies, TableError

Format = Literal["csv", "tsv", "jsonl", "text"]

FORMATS: dict[str, Format] = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
    ".txt": "text", ".text": "text",
}  # fmt: skip

#: The byte order mark, which spreadsheets write and expect.
BOM = "\ufeff"
#: That of UTF-16, either way round, where it was read as bytes that are not UTF-8.
_UTF_16 = ("\udcff\udcfe", "\udcfe\udcff")
_DELIMITERS = ",;\t|"
_SAMPLE_CHARS = 1 << 16
_SAMPLE_RECORDS = 50
#: Files up to this size are read once beforehand, to count their rows.
_COUNT_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class Record:
    """One row.

    Attributes:
        number: counted from 1, the header not included.
        line: the line of the file on which it ends, from 1.
        cells: values by column; text, save in JSONL.
        problem: why the row cannot be answered: its cells may then be incomplete.
    """

    number: int
    line: int
    cells: dict[str, Any]
    problem: str | None = None

    @property
    def name(self) -> str:
        """Name the row in errors."""
        return f"row {self.number} (line {self.line})"


@dataclass(frozen=True)
class Table:
    """An open table. Its rows are read one by one while they are iterated over, once: it may be a stream.

    Attributes:
        path: the file; "stdin" for stdin.
        format: the file's format.
        columns: the header; for JSONL the keys of the first row.
        lines: the lines after the header.
        delimiter: separates the cells of CSV and TSV.
        encoding: Python's name of the encoding.
        newline: the line end.
        bom: whether the file begins with a byte order mark (spreadsheets expect one in the output too).
    """

    path: Path
    format: Format
    columns: tuple[str, ...]
    lines: Lines
    delimiter: str = ","
    encoding: str = "utf-8"
    newline: str = "\n"
    bom: bool = False

    def rows(self) -> Iterator[Record]:
        """Iterate over the rows in order. A row that cannot be read is a `Record` with a `problem`.

        Raises:
            TableError: the rest of the file cannot be read.
        """
        read = {"text": self._text, "jsonl": self._jsonl}.get(self.format, self._delimited)
        return read()

    def count(self) -> int | None:
        """Count the rows of a file; None for a stream, or where counting would take long."""
        if not self.path.is_file() or self.path.stat().st_size > _COUNT_BYTES:
            return None
        with contextlib.suppress(TableError):
            again = open_table(self.path, format=self.format, delimiter=self.delimiter, encoding=self.encoding)
            with contextlib.closing(again):
                return sum(1 for _ in again.rows())
        return None

    def close(self) -> None:
        """Close the file."""
        self.lines.close()

    def _text(self) -> Iterator[Record]:
        for number, line in enumerate(self.lines, 1):
            cell = line.rstrip("\r\n")
            yield Record(number, number, {"text": without_surrogates(cell)}, self._not_text(cell))

    def _jsonl(self) -> Iterator[Record]:
        number = 0
        for line in self.lines:
            if line.strip():
                number += 1
                cells, problem = _object(without_surrogates(line))
                yield Record(number, self.lines.number, cells, self._not_text(line) or problem)

    def _delimited(self) -> Iterator[Record]:
        number, width = 0, len(self.columns)
        for cells, problem in csv_records(self.lines, self.delimiter):
            if not cells:
                continue  # an empty line; an empty cell in a table of one column is written ""
            number += 1
            if problem is None:
                problem = next(filter(None, map(self._not_text, cells)), None)
            if problem is None and len(cells) > width:
                problem = (
                    f"it has {len(cells)} cells, the header {width}, split at {self.delimiter!r}; "
                    f"{self.lines.remedies.delimiter}, and quote texts that contain it"
                )
            # a row that is too short is filled up, as spreadsheets omit empty cells at the end
            filled = [without_surrogates(cell) for cell in cells] + [""] * (width - len(cells))
            yield Record(number, self.lines.number, dict(zip(self.columns, filled)), problem)

    def _not_text(self, text: str) -> str | None:
        """Tell which byte of a text could not be decoded."""
        problem = text_problem(text, self.encoding)
        return problem and f"{problem}; {self.lines.remedies.encoding.format('cp1252')}"


def open_table(
    path: str | os.PathLike[str],
    *,
    format: Format | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    remedies: Remedies = IN_PYTHON,
) -> Table:
    """Open a table: read its header and find out its delimiter and line ends. It is opened once, so a stream will do.

    Args:
        path: the file, or "-" for stdin.
        format: by default the extension's.
        delimiter: one character; by default the one that splits the first rows most evenly.
        encoding: by default UTF-8, with or without a byte order mark.
        remedies: how its user mends an error.

    Raises:
        FileNotFoundError: no such file.
        TableError: a path that cannot be read, an unknown extension, not text, no header, or two columns of one name.
    """
    path, stdin = (Path("stdin"), True) if str(path) == "-" else (Path(path), False)
    encoding = encoding or "utf-8"
    format = format or format_of(path, remedies)
    try:
        lines = Lines(path, sys.stdin.buffer if stdin else path.open("rb"), encoding, remedies)
    except LookupError:
        raise TableError(f"unknown encoding {encoding!r}") from None
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        raise TableError(f"{path!s:.200} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        return _read_header(path, lines, format, delimiter, encoding)
    except BaseException:
        lines.close()
        raise


def _read_header(path: Path, lines: Lines, format: Format, delimiter: str | None, encoding: str) -> Table:
    first = next(lines, "")
    bom = first.startswith(BOM)
    first = first.removeprefix(BOM)
    newline = "\r\n" if first.endswith("\r\n") else "\n"
    if first:
        lines.give_back([first])
    if format == "text":
        return Table(path, format, ("text",), lines, encoding=encoding, newline=newline)
    if format == "jsonl":
        return Table(path, format, _keys(path, lines), lines, encoding=encoding, newline=newline)
    delimiter = delimiter or ("\t" if format == "tsv" else _sniff(lines.sample(_SAMPLE_CHARS)))
    try:
        header, problem = next(((cells, why) for cells, why in csv_records(lines, delimiter) if cells), ([], None))
    except (csv.Error, TypeError) as error:
        raise TableError(f"{path}: {error}") from None
    if not header:
        raise TableError(f"{path} is empty: a table begins with a header")
    if problem is None and (wrong := next(filter(None, (text_problem(name, encoding) for name in header)), None)):
        likely = "utf-16" if first.startswith(_UTF_16) else "cp1252"
        problem = f"{wrong}; {lines.remedies.encoding.format(likely)}"
    if problem:
        raise TableError(f"{path}: the header cannot be read: {problem}")
    duplicates = sorted({name for name in header if header.count(name) > 1})
    if duplicates:
        raise TableError(f"{path} has several columns {', '.join(map(repr, duplicates))}: give each its own name")
    return Table(path, format, tuple(header), lines, delimiter, encoding, newline, bom)


def format_of(path: Path, remedies: Remedies = IN_PYTHON) -> Format:
    """Return a table's format by its extension."""
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        if path.suffix:
            raise TableError(f"{path}: unknown table format {path.suffix!r}; known: {', '.join(FORMATS)}") from None
        raise TableError(f"{path} has no extension that tells its format: {remedies.format}") from None


def _object(line: str) -> tuple[dict[str, Any], str | None]:
    """Parse a line of JSONL to an object; what is not one has no cells, but a problem."""
    hint = "JSONL has one JSON object per line"
    try:
        value = parse_json(line)
    except ValueError as error:
        return {}, f"it is not JSON: {error}; {hint}"
    if not isinstance(value, dict):
        return {}, f"it holds a JSON {type(value).__name__}; {hint}"
    return value, None


def _keys(path: Path, lines: Lines) -> tuple[str, ...]:
    """Return the keys of the first line that is a JSON object, among the first ones."""
    taken: list[str] = []
    first_problem = None
    try:
        while sum(map(len, taken)) < _SAMPLE_CHARS and (line := next(lines, "")):
            taken.append(line)
            if line.strip():
                cells, problem = _object(without_surrogates(line))
                if problem is None:
                    return tuple(cells)
                first_problem = first_problem or f"{path}, line {len(taken)}: {problem}"
    finally:
        lines.give_back(taken)
    if first_problem is not None:
        array = "".join(taken).lstrip().startswith("[")
        hint = "; this looks like one JSON array: jq -c '.[]' splits it into lines" if array else ""
        raise TableError(first_problem + hint)
    return ()


def _sniff(sample: str) -> str:
    """Find the delimiter that splits the first records evenly into the most cells; the comma where none splits them.

    Python's own sniffer also tries letters, and so splits a table with one column of texts.
    """
    best, most = ",", 1
    for delimiter in _DELIMITERS:
        widths = _widths(sample, delimiter)
        if widths and widths[0] > most and _evenly(widths):
            best, most = delimiter, widths[0]
    return best


def _widths(sample: str, delimiter: str) -> Sequence[int]:
    widths = []
    with contextlib.suppress(csv.Error):
        for cells in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter):
            if cells:
                widths.append(len(cells))
            if len(widths) == _SAMPLE_RECORDS:
                break
    # the sample may end in the middle of the last record
    return widths[:-1] if len(sample) == _SAMPLE_CHARS and len(widths) < _SAMPLE_RECORDS else widths


def _evenly(widths: Sequence[int]) -> bool:
    return sum(width == widths[0] for width in widths) >= 0.9 * len(widths)
