"""Read and write tables row by row: CSV, TSV, JSONL and plain text."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from onnxpipe.errors import OnnxPipeError

Format = Literal["csv", "tsv", "jsonl", "text"]

FORMATS: dict[str, Format] = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
    ".txt": "text", ".text": "text",
}  # fmt: skip

_BOM = "\ufeff"
_DELIMITERS = ",;\t|"
_SAMPLE_CHARS = 1 << 16
_SAMPLE_RECORDS = 50
#: Longest cell in characters. Python's own limit of 131072 is too short for documents; without a limit, one quote that
#: is never closed would read the whole file into memory.
_CELL_LIMIT = 1 << 24
#: Files up to this size are read once beforehand, to count their rows.
_COUNT_BYTES = 1 << 26


class TableError(OnnxPipeError, ValueError):
    """A file cannot be read as a table, or written as one."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row.

    Attributes:
        number: counted from 1, the header not included.
        line: the line of the file on which it ends, from 1.
        cells: values by column; text, save in JSONL.
    """

    number: int
    line: int
    cells: dict[str, Any]

    @property
    def name(self) -> str:
        """Name the row in errors."""
        return f"row {self.number} (line {self.line})"


@dataclass(frozen=True)
class Table:
    """A table on disk. Its rows are read one by one while they are iterated over.

    Attributes:
        path: the file.
        format: the file's format.
        columns: the header; for JSONL the keys of the first row.
        delimiter: separates the cells of CSV and TSV.
        encoding: Python's name of the encoding.
        newline: the line end.
        bom: whether the file begins with a byte order mark (spreadsheets expect one in the output too).
    """

    path: Path
    format: Format
    columns: tuple[str, ...]
    delimiter: str = ","
    encoding: str = "utf-8"
    newline: str = "\n"
    bom: bool = False

    def rows(self) -> Iterator[Record]:
        """Iterate over the rows in order.

        Raises:
            TableError: a row is not JSON, or has more cells than the header.
        """
        with _open(self.path, self.encoding) as file:
            read = {"text": self._text, "jsonl": self._jsonl}.get(self.format, self._delimited)
            try:
                yield from read(file)
            except UnicodeDecodeError as error:
                raise _not_text(self.path, self.encoding, error) from None
            except csv.Error as error:
                raise TableError(f"{self.path}: {error}; is a quote left open?") from None

    def count(self) -> int | None:
        """Count the rows, unchecked; None where counting would take long."""
        if self.path.stat().st_size > _COUNT_BYTES:
            return None
        with _open(self.path, self.encoding) as file, contextlib.suppress(UnicodeDecodeError, csv.Error):
            if self.format == "text":
                return sum(1 for _ in file)
            if self.format == "jsonl":
                return sum(1 for line in file if line.strip())
            return sum(1 for cells in self._reader(file) if cells) - 1
        return None

    def _text(self, file: IO[str]) -> Iterator[Record]:
        for number, line in enumerate(file, 1):
            yield Record(number, number, {"text": line.rstrip("\r\n")})

    def _jsonl(self, file: IO[str]) -> Iterator[Record]:
        number = 0
        for at, line in enumerate(file, 1):
            if line.strip():
                number += 1
                yield Record(number, at, _object(line, self.path, at))

    def _delimited(self, file: IO[str]) -> Iterator[Record]:
        reader = self._reader(file)
        next(reader, None)  # the header
        number, width = 0, len(self.columns)
        for cells in reader:
            if not cells:
                continue  # an empty line; an empty cell in a table of one column is written ""
            number += 1
            if len(cells) > width:
                raise TableError(
                    f"{self.path}: row {number} (line {reader.line_num}) has {len(cells)} cells, the header {width}; "
                    f"is {self.delimiter!r} the delimiter (--delimiter), and are the texts quoted?"
                )
            # a row that is too short is filled up, as spreadsheets omit empty cells at the end
            yield Record(number, reader.line_num, dict(zip(self.columns, cells + [""] * (width - len(cells)))))

    def _reader(self, file: IO[str]) -> Any:
        csv.field_size_limit(_CELL_LIMIT)
        return csv.reader(file, delimiter=self.delimiter)


def open_table(
    path: str | os.PathLike[str],
    *,
    format: Format | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
) -> Table:
    """Open a table: read its header and find out its delimiter and line ends.

    Args:
        path: the file.
        format: by default the extension's.
        delimiter: one character; by default the one that splits the first rows most evenly.
        encoding: by default UTF-8, with or without a byte order mark.

    Raises:
        FileNotFoundError: no such file.
        TableError: an unknown extension, not text, no header, or two columns of one name.
    """
    path = Path(path)
    format = format or format_of(path)
    encoding = encoding or "utf-8"
    try:
        with _open(path, encoding, keep_bom=True) as file:
            sample = file.read(_SAMPLE_CHARS)
    except UnicodeDecodeError as error:
        raise _not_text(path, encoding, error) from None
    except LookupError:
        raise TableError(f"unknown encoding {encoding!r}") from None
    bom = sample.startswith(_BOM)
    sample = sample.removeprefix(_BOM)
    newline = "\r\n" if "\r\n" in sample else "\n"
    if format == "text":
        return Table(path, format, ("text",), encoding=encoding, newline=newline)
    if format == "jsonl":
        return Table(path, format, _keys(path, encoding), encoding=encoding, newline=newline)
    delimiter = delimiter or ("\t" if format == "tsv" else _sniff(sample))
    try:
        reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
        header = next((cells for cells in reader if cells), None)
    except (csv.Error, TypeError) as error:
        raise TableError(f"{path}: {error}") from None
    if header is None:
        raise TableError(f"{path} is empty: a table begins with a header")
    duplicates = sorted({name for name in header if header.count(name) > 1})
    if duplicates:
        raise TableError(f"{path} has several columns {', '.join(map(repr, duplicates))}: give each its own name")
    return Table(path, format, tuple(header), delimiter, encoding, newline, bom)


def format_of(path: Path) -> Format:
    """Return a table's format by its extension."""
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise TableError(f"{path}: unknown table format {path.suffix!r}; known: {', '.join(FORMATS)}") from None


def write_rows(file: IO[str], rows: Iterable[dict[str, Any]], like: Table, format: Format, columns: list[str]) -> None:
    """Write rows.

    Args:
        file: opened with `newline=""`.
        rows: values by column.
        like: the table whose delimiter and line ends are kept, where it has the same `format`.
        format: csv, tsv or jsonl; text becomes csv.
        columns: the header of csv and tsv.
    """
    if format == "jsonl":
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        return
    same = format == like.format
    delimiter = like.delimiter if same else "\t" if format == "tsv" else ","
    if same and like.bom:
        file.write(_BOM)
    writer = csv.writer(file, delimiter=delimiter, lineterminator=like.newline if same else "\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in columns])


@contextlib.contextmanager
def replacing(path: Path, overwrite: bool) -> Iterator[IO[str]]:
    """Open a text file that replaces `path` when it is complete; on an error `path` stays as it is.

    Raises:
        FileExistsError: the file exists, and `overwrite` is false.
    """
    check_output(path, overwrite)
    target = path.resolve()  # through a link, so that the link stays
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    part = Path(name)
    try:
        with open(handle, "w", encoding="utf-8", newline="") as file:  # noqa: PTH123 - a descriptor
            yield file
        part.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def check_output(path: Path, overwrite: bool) -> None:
    """Refuse an output that exists (unless `overwrite`), that is not a file, or whose folder does not exist."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {str(path.parent)!r} for the output {path.name}")
    if path.exists() and not path.is_file():
        raise TableError(f"the output {path} is not a regular file; leave --output out to write to stdout")
    if path.exists() and not overwrite:
        raise FileExistsError(f"the output {path} exists; --overwrite replaces it")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _cell(value: Any) -> Any:
    """Convert a value to a cell of CSV: text and numbers as they are, None as an empty cell, the rest as JSON."""
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _open(path: Path, encoding: str, keep_bom: bool = False) -> IO[str]:
    # newline="" leaves line ends inside quoted cells alone; plain text and JSONL strip theirs themselves
    name = "utf-8-sig" if encoding.lower() in ("utf-8", "utf8") and not keep_bom else encoding
    return path.open(encoding=name, newline="")


def _not_text(path: Path, encoding: str, error: UnicodeDecodeError) -> TableError:
    return TableError(
        f"{path} is not {encoding}: {error.reason} (byte 0x{error.object[error.start]:02x}); "
        "give its encoding, e.g. --encoding cp1252"
    )


def _object(line: str, path: Path, at: int) -> dict[str, Any]:
    hint = "JSONL has one JSON object per line"
    if at == 1 and line.lstrip().startswith("["):
        hint += "; this looks like one JSON array: jq -c '.[]' splits it into lines"
    try:
        value = json.loads(line)
    except ValueError as error:
        raise TableError(f"{path}, line {at}: {error}; {hint}") from None
    if not isinstance(value, dict):
        raise TableError(f"{path}, line {at} holds a JSON {type(value).__name__}; {hint}")
    return value


def _keys(path: Path, encoding: str) -> tuple[str, ...]:
    with _open(path, encoding) as file:
        for at, line in enumerate(file, 1):
            if line.strip():
                return tuple(_object(line, path, at))
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
