"""Make a table of texts from what Python code holds a table in: columns, rows, a file, a data frame."""

from __future__ import annotations

import contextlib
import datetime
import numbers
import os
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from onnxpipe.processing.tables.characters import text_problem
from onnxpipe.processing.tables.files import open_table
from onnxpipe.processing.tables.lines import TableError

_FORMS = (
    "a dict of columns, a list of rows (dicts, or lists of which the first is the header), the path of a CSV, TSV or "
    "JSONL file, or a DataFrame"
)


@dataclass(frozen=True)
class TextTable:
    """A table whose cells are texts.

    Attributes:
        columns: the header.
        rows: the cells, row by row, as many in each as there are columns.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def column(self, index: int) -> list[str]:
        """Return the cells of a column."""
        return [row[index] for row in self.rows]


def text_table(value: Any) -> TextTable:
    """Make a table of texts.

    Numbers become texts as `str` writes them, dates and times as ISO 8601; None and NaN become empty cells.

    Args:
        value: a dict of columns, a list of rows (dicts of the same keys, or lists of which the first is the header),
            the path of a CSV, TSV or JSONL file, a DataFrame of pandas or polars, or a `TextTable`.

    Raises:
        TableError: it is none of these, has no column or no row, rows of different lengths, two columns of one name,
            or a cell that is no text, number or date. The message names the place.
        FileNotFoundError: no such file.
    """
    if isinstance(value, TextTable):
        return value
    if isinstance(value, (str, os.PathLike)):
        return _of_file(value)
    if isinstance(value, Mapping):
        return _of_columns(value)
    if hasattr(value, "columns") and (hasattr(value, "itertuples") or hasattr(value, "iter_rows")):
        return _of_frame(value)
    if isinstance(value, (list, tuple)):
        return _of_rows(value)
    if value is None:
        raise TableError(f"the table is missing (None): pass {_FORMS}")
    raise TableError(f"the table is of type {type(value).__name__}: pass {_FORMS}")


def _of_file(path: str | os.PathLike[str]) -> TextTable:
    with contextlib.closing(open_table(path)) as file:
        if file.format == "text":
            raise TableError(f"{path} is a file of lines, not a table: give a CSV, TSV or JSONL file")
        rows = []
        for record in file.rows():
            if record.problem is not None:
                raise TableError(f"{path}, {record.name}: {record.problem}")
            if file.format == "jsonl" and record.cells.keys() != set(file.columns):
                raise TableError(f"{path}, {record.name}: {_other_keys(file.columns, record.cells)}")
            rows.append([record.cells[name] for name in file.columns])
    return _checked(file.columns, rows)


def _of_columns(columns: Mapping[Any, Any]) -> TextTable:
    cells = {}
    for name, column in columns.items():
        if isinstance(column, (str, bytes, Mapping)) or not isinstance(column, Iterable):
            raise TableError(f"the column {name!r} is {reprlib.repr(column)}: a dict of columns has a list for each")
        cells[name] = list(column)
    lengths = {len(column) for column in cells.values()}
    if len(lengths) > 1:
        counts = ", ".join(f"{name!r} {len(column)}" for name, column in cells.items())
        raise TableError(f"the columns have different numbers of cells: {counts}")
    return _checked(tuple(cells), [list(row) for row in zip(*cells.values())])


def _of_rows(rows: Sequence[Any]) -> TextTable:
    if not rows:
        raise TableError("the table is empty: a list of rows begins with a header, or has dicts of columns and cells")
    if all(isinstance(row, Mapping) for row in rows):
        columns = tuple(rows[0])
        for number, row in enumerate(rows, 1):
            if row.keys() != rows[0].keys():
                raise TableError(f"row {number} {_other_keys(columns, row)}")
        return _checked(columns, [[row[name] for name in columns] for row in rows])
    for number, row in enumerate(rows):
        if isinstance(row, (str, bytes, Mapping)) or not isinstance(row, Iterable):
            name = f"row {number}" if number else "the header"
            raise TableError(
                f"{name} is {reprlib.repr(row)}: rows are dicts, or lists of which the first is the header"
            )
    header, *cells = map(list, rows)
    return _checked(header, cells)


def _other_keys(columns: Sequence[Any], row: Mapping[Any, Any]) -> str:
    lacks = [name for name in columns if name not in row]
    return (
        f"lacks the column {lacks[0]!r}"
        if lacks
        else f"has a column more: {next(n for n in row if n not in columns)!r}"
    )


def _of_frame(frame: Any) -> TextTable:
    rows = frame.itertuples(index=False, name=None) if hasattr(frame, "itertuples") else frame.iter_rows()
    return _checked(list(frame.columns), [list(row) for row in rows])


def _checked(columns: Sequence[Any], rows: Sequence[Sequence[Any]]) -> TextTable:
    """Convert and check the header and the cells; rows are counted from 1, as people count them."""
    names = tuple(_text(name, f"the name of column {number}") for number, name in enumerate(columns, 1))
    if not names:
        raise TableError("the table has no column")
    if not rows:
        raise TableError("the table is empty: it has a header, but no row")
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise TableError(f"the table has several columns {double!r}: give each its own name")
    texts = []
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise TableError(f"row {number} has {len(row)} cells, and the header {len(names)}: {reprlib.repr(row)}")
        texts.append(tuple(_text(cell, f"row {number}, column {name!r}") for cell, name in zip(row, names)))
    return TextTable(names, tuple(texts))


def _text(cell: Any, place: str) -> str:
    """Convert a cell to a text.

    Raises:
        TableError: it is something else than a text, a number, a date or nothing.
    """
    if not isinstance(cell, str) and hasattr(cell, "item") and getattr(cell, "ndim", None) == 0:
        cell = cell.item()  # a scalar of numpy
    if isinstance(cell, str):
        problem = text_problem(cell)
        if problem:
            raise TableError(f"{place}: {problem}")
        return cell
    # NaN is not equal to itself; pandas' NA and NaT say what they are by name
    if cell is None or (isinstance(cell, float) and cell != cell) or type(cell).__name__ in ("NAType", "NaTType"):
        return ""
    if isinstance(cell, datetime.datetime):
        midnight = cell.time() == datetime.time() and cell.tzinfo is None
        return cell.date().isoformat() if midnight else cell.isoformat(" ")
    if isinstance(cell, (datetime.date, datetime.time)):
        return cell.isoformat()
    if isinstance(cell, (numbers.Number, Decimal)):
        return str(cell)
    raise TableError(f"{place} is of type {type(cell).__name__} ({reprlib.repr(cell)}): pass a text or a number")
