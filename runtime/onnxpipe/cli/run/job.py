"""The table job: copy a table and add the answers as columns, row by row in bounded memory."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from onnxpipe.cli.run.answers import Answers, InputError
from onnxpipe.cli.run.plain import plain
from onnxpipe.cli.run.table import Format, Record, Table, TableError, check_output, format_of, replacing, write_rows

if TYPE_CHECKING:
    from onnxpipe.tasks.base.columns import ResultColumns

_ERROR = "error"
#: The column of the image files' paths. Its name is part of the output's format.
_IMAGE = "picture"


@dataclass(frozen=True)
class Job:
    """A table whose rows are to be answered.

    Attributes:
        table: the rows.
        build: builds a row's input from its cells.
        output: the file to write; None writes to stdout.
        overwrite: replace `output` if it exists.
        overwrite_columns: replace columns of the table that have the name of a result column.
        prefix: prefix of the names of the result columns.
        keep: write rows that fail, with the reason in a column `error`, instead of stopping.
        save_image: writes the image for an input and its answer and returns its path, for a column `picture`.
    """

    table: Table
    build: Callable[[Mapping[str, Any]], Any]
    output: Path | None
    overwrite: bool = False
    overwrite_columns: bool = False
    prefix: str = ""
    keep: bool = False
    save_image: Callable[[Any, Any], Path] | None = None

    @property
    def format(self) -> Format:
        """The output's format: by its extension, or on stdout the input's; plain text becomes CSV."""
        format = format_of(self.output) if self.output is not None else self.table.format
        return "csv" if format == "text" else format

    def check(self, results: ResultColumns) -> None:
        """Find what would fail in the end, before a model is loaded.

        Raises:
            TableError, OSError: the output cannot be written, or the table has a column named as a result column.
        """
        if self.output is not None:
            check_output(self.output, self.overwrite)
            format_of(self.output)
        self.names(results)

    def names(self, results: ResultColumns) -> tuple[str, ...]:
        """Return the names of the columns that are added.

        Raises:
            TableError: the table has one of them.
        """
        more = [name for name, there in ((_IMAGE, self.save_image is not None), (_ERROR, self.keep)) if there]
        names = tuple(self.prefix + name for name in (*results.names, *more))
        self._check(self.table.columns, names)
        return names

    def run(self, pipe: Callable[..., Any], call: Mapping[str, Any], results: ResultColumns) -> None:
        """Answer every row. The last line on stderr says how many, and how fast."""
        names = self.names(results)
        header = [*self.table.columns, *(name for name in names if name not in self.table.columns)]
        begin, done = time.monotonic(), _Count()
        with self._open_output() as file, _bar(self.table, self.output is None) as bar:
            rows = self._rows(pipe, call, results, names, done, bar)
            write_rows(file, rows, self.table, self.format, header)
        seconds = time.monotonic() - begin
        failed = f", {done.failed} of them failed" if done.failed else ""
        rate = done.rows / seconds if seconds else 0.0
        click.echo(f"{done.rows} rows in {seconds:.1f} s ({rate:.0f} rows/s){failed}", err=True)

    def _rows(
        self,
        pipe: Callable[..., Any],
        call: Mapping[str, Any],
        results: ResultColumns,
        names: tuple[str, ...],
        done: _Count,
        bar: Any,
    ) -> Iterator[dict[str, Any]]:
        inputs = ((record, self.build(record.cells)) for record in self.table.rows())
        pairs = (((record, value), value) for record, value in inputs)
        known = set(self.table.columns)
        for (record, value), answer in Answers[tuple[Record, Any]](pipe, pairs, call, _name, self.keep):
            self._check(record.cells.keys() - known, names, record)
            row = {**record.cells, **dict.fromkeys(names)}
            if isinstance(answer, InputError):
                row[self.prefix + _ERROR] = str(answer)
                done.failed += 1
            else:
                row.update({self.prefix + name: cell for name, cell in plain(results.cells(answer)).items()})
                if self.save_image is not None:
                    row[self.prefix + _IMAGE] = str(self.save_image(value, answer))
            done.rows += 1
            bar.update()
            yield row

    def _check(self, columns: Any, names: tuple[str, ...], record: Record | None = None) -> None:
        clash = [name for name in names if name in columns]
        if clash and not self.overwrite_columns:
            where = f", {record.name}" if record else ""
            raise TableError(
                f"{self.table.path}{where} has a column {clash[0]!r} already, and so has the result: --prefix pred_ "
                f"names the result column {'pred_' + clash[0]!r}, --overwrite-columns replaces the table's"
            )

    @contextlib.contextmanager
    def _open_output(self) -> Iterator[IO[str]]:
        if self.output is None:
            yield sys.stdout
            sys.stdout.flush()
        else:
            with replacing(self.output, self.overwrite) as file:
                yield file


def _name(key: tuple[Record, Any]) -> str:
    return key[0].name


@dataclass
class _Count:
    rows: int = 0
    failed: int = 0


def _bar(table: Table, to_stdout: bool) -> Any:
    """Return a progress bar, which is shown on a terminal only, and not if the rows go there too."""
    from tqdm import tqdm

    show = sys.stderr.isatty() and not (to_stdout and sys.stdout.isatty())
    return tqdm(total=table.count() if show else None, unit="row", file=sys.stderr, disable=not show, leave=False)
