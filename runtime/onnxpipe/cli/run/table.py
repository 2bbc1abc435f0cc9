"""Write tables row by row: CSV, TSV and JSONL."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxpipe.cli.terminal import json_text
from onnxpipe.processing.tables.characters import without_surrogates
from onnxpipe.processing.tables.files import BOM, Format, Table
from onnxpipe.processing.tables.lines import TableError

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


@dataclass(frozen=True)
class RowFormat:
    """Formats rows as the lines of a table.

    Attributes:
        format: csv, tsv or jsonl.
        columns: the header of csv and tsv.
        delimiter: separates their cells.
        newline: their line end.
        bom: begin with a byte order mark.
        escape_formulas: put a `'` before text in csv and tsv that a spreadsheet would run as a formula.
    """

    format: Format
    columns: tuple[str, ...]
    delimiter: str = ","
    newline: str = "\n"
    bom: bool = False
    escape_formulas: bool = False

    @classmethod
    def like(cls, table: Table, format: Format, columns: Sequence[str], escape_formulas: bool = False) -> RowFormat:
        """Return the format of an output, with the table's delimiter and line ends where it has the same `format`."""
        if format == table.format:
            return cls(format, tuple(columns), table.delimiter, table.newline, table.bom, escape_formulas)
        return cls(format, tuple(columns), "\t" if format == "tsv" else ",", escape_formulas=escape_formulas)

    def header(self) -> str:
        """Return what comes before the first row."""
        if self.format == "jsonl":
            return ""
        return (BOM if self.bom else "") + self._line(self.columns)

    def header_cells(self) -> tuple[str, ...]:
        """Return the names of the columns as they are written."""
        return tuple(str(self._cell(name)) for name in self.columns)

    def row(self, row: Mapping[str, Any]) -> str:
        """Return the line of a row of values by column."""
        if self.format == "jsonl":
            return json_text(row) + "\n"
        return self._line([row.get(name) for name in self.columns])

    def same(self, row: Mapping[str, Any], written: Mapping[str, Any], columns: Iterable[str]) -> bool:
        """Tell whether a row that was written has the values of `row` in these columns."""
        if self.format == "jsonl":
            names = [name for name in columns if name in row]
            return json_text([row[name] for name in names]) == json_text([written.get(name) for name in names])
        return all(str(self._cell(row.get(name))) == written.get(str(self._cell(name))) for name in columns)

    def _line(self, values: Iterable[Any]) -> str:
        line = io.StringIO()
        writer = csv.writer(line, delimiter=self.delimiter, lineterminator=self.newline)
        writer.writerow([self._cell(value) for value in values])
        return line.getvalue()

    def _cell(self, value: Any) -> Any:
        """Convert a value to a cell: text and numbers as they are, None as an empty cell, the rest as JSON."""
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return value
        text = value if isinstance(value, str) else "" if value is None else json_text(value)
        text = without_surrogates(text)
        return f"'{text}" if self.escape_formulas and _is_formula(text) else text


def _is_formula(text: str) -> bool:
    """Tell whether a spreadsheet takes a text for a formula; a number is none."""
    return text.startswith(("=", "+", "-", "@", "\t", "\r")) and not _NUMBER.fullmatch(text)


def check_output(path: Path, overwrite: bool) -> None:
    """Refuse an output that exists (unless `overwrite`), that is not a file, or whose folder does not exist."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {str(path.parent)!r} for the output {path.name}")
    if path.exists() and not path.is_file():
        raise TableError(f"the output {path} is not a regular file; leave --output out to write to stdout")
    if path.exists() and not overwrite:
        raise FileExistsError(f"the output {path} exists; --overwrite replaces it")
