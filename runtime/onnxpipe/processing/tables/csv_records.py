"""Split the lines of CSV into records, so that a quote that is never closed costs one row, not all that follow."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence

from onnxpipe.processing.tables.lines import CELL_LIMIT, Lines

#: Most lines of one record: a quote that is not closed within so many is an error.
_RECORD_LINES = 1 << 17


def csv_records(lines: Lines, delimiter: str) -> Iterator[tuple[list[str], str | None]]:
    """Iterate over records as (cells, problem); an empty line has no cells.

    A quote is open by mistake if the file ends within it, or if the quote that would close it is not at the end of a
    cell on a later line (it opens another cell). The record then ends with the line on which the quote opens, its
    problem names that line, and the next line begins a new record. On one line, text after a closing quote is kept.

    Raises:
        TypeError: the delimiter is not one character.
    """
    csv.field_size_limit(CELL_LIMIT)
    taken: list[str] = []
    while True:
        reader = csv.reader(_feed(lines, taken), delimiter=delimiter, strict=True)
        try:
            while True:
                taken.clear()
                cells = next(reader, None)
                if cells is None:
                    return
                yield cells, None
        except csv.Error as error:
            whole = _parse_line(taken[0], delimiter) if len(taken) == 1 else None
            if whole is not None:
                yield whole, None
                continue
            first, last = lines.number - len(taken) + 1, lines.number
            end = opening_line(taken, delimiter) + 1
            lines.give_back(taken[end:])
            yield _parse(taken[:end], delimiter), _problem(first + end - 1, last, str(error))


def opening_line(record: Sequence[str], delimiter: str) -> int:
    """Return on which line of a record, from 0, the last quoted cell begins."""
    found, quoted, closed, begins = 0, False, False, True
    for number, line in enumerate(record):
        for char in line:
            if quoted:
                quoted, closed = char != '"', char == '"'
            elif char == '"' and (begins or closed):  # the second of two quotes opens again: "" is one quote
                found, quoted = number if begins else found, True
            elif closed and char not in (delimiter, "\r", "\n"):
                return found
            else:
                closed = False
            begins = not quoted and char in (delimiter, "\r", "\n")
    return found


def _feed(lines: Lines, taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        if len(taken) > _RECORD_LINES:
            raise csv.Error("too many lines")
        yield line


def _problem(opens: int, last: int, error: str) -> str:
    if "end of data" in error:
        return f"the quote that opens on line {opens} is never closed"
    if "expected after" in error:
        return f"the quote that opens on line {opens} is not closed: the next one, on line {last}, opens another cell"
    return f"the quote that opens on line {opens} is not closed by line {last}: the cell is too long"


def _parse_line(line: str, delimiter: str) -> list[str] | None:
    """Parse one line that has text after a closing quote; None where a quote stays open."""
    ended = False

    def feed() -> Iterator[str]:
        nonlocal ended
        yield line
        ended = True  # asked for a second line

    cells = next(csv.reader(feed(), delimiter=delimiter))
    return None if ended else cells


def _parse(record: Sequence[str], delimiter: str) -> list[str]:
    cells = next(csv.reader(record, delimiter=delimiter))
    return [*cells[:-1], cells[-1].rstrip("\r\n")]
