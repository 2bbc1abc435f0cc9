"""The table job: copy a table and add the answers as columns, row by row in bounded memory."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxpipe.cli.run.answers import Answers, InputError
from onnxpipe.cli.run.partial import PartialFile
from onnxpipe.cli.run.plain import plain
from onnxpipe.cli.run.table import RowFormat, check_output
from onnxpipe.cli.terminal import echo, visible
from onnxpipe.processing.tables.files import Format, Record, Table, format_of, open_table
from onnxpipe.processing.tables.lines import TableError

if TYPE_CHECKING:
    from onnxpipe.tasks.base.columns import ResultColumns

_ERROR = "error"
#: The column of the image files' paths. Its name is part of the output's format.
_IMAGE = "image_file"


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
        resume: go on after the rows that an interrupted job has written.
        identity: what tells the job from others: rows of jobs that differ are not mixed.
        escape_formulas: keep spreadsheets from taking texts for formulas.
        save_image: writes the image for an input and its answer and returns its path, or the paths of several, for a
            column `image_file`.
    """

    table: Table
    build: Callable[[Mapping[str, Any]], Any]
    output: Path | None
    overwrite: bool = False
    overwrite_columns: bool = False
    prefix: str = ""
    keep: bool = False
    resume: bool = False
    identity: str = ""
    escape_formulas: bool = False
    save_image: Callable[[Any, Any], str | list[str]] | None = None

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
        names = self.names(results)
        if self.resume:
            self._partial(self._row_format(names)).check_resume()

    def names(self, results: ResultColumns) -> tuple[str, ...]:
        """Return the names of the columns that are added.

        Raises:
            TableError: the table has one of them.
        """
        more = [name for name, there in ((_IMAGE, self.save_image is not None), (_ERROR, self.keep)) if there]
        names = tuple(self.prefix + name for name in (*results.names, *more))
        self._check(self.table.columns, names)
        return names

    def run(self, pipe: Callable[..., Any], call: Mapping[str, Any], results: ResultColumns) -> int:
        """Answer every row; return how many failed. The last line on stderr says how many there are, and how fast.

        Raises:
            BaseException: the job could not go on; the rows that are finished stay in a file that stderr names.
        """
        names = self.names(results)
        layout = self._row_format(names)
        begin, done = time.monotonic(), _Count()
        records = self.table.rows()
        with _bar(self.table, self.output is None) as bar:
            if self.output is None:
                write: Callable[[str], Any] = _write_stdout
                write(layout.header())
                self._write_rows(self._rows(records, pipe, call, results, names, done, bar), layout, write)
            else:
                with self._kept_rows(layout) as part:
                    skipped = self._skip(part, records, layout, names)
                    bar.update(skipped)
                    self._write_rows(self._rows(records, pipe, call, results, names, done, bar), layout, part.write)
        seconds = time.monotonic() - begin
        failed = f", {done.failed} of them failed" if done.failed else ""
        rate = done.rows / seconds if seconds else 0.0
        echo(f"{done.rows} rows in {seconds:.1f} s ({rate:.0f} rows/s){failed}", err=True)
        return done.failed

    def _write_rows(self, rows: Iterator[dict[str, Any]], layout: RowFormat, write: Callable[[str], Any]) -> None:
        for row in rows:
            write(layout.row(row))

    def _row_format(self, names: tuple[str, ...]) -> RowFormat:
        header = [*self.table.columns, *(name for name in names if name not in self.table.columns)]
        return RowFormat.like(self.table, self.format, header, self.escape_formulas)

    def _partial(self, layout: RowFormat) -> PartialFile:
        assert self.output is not None
        job = hashlib.sha256(f"{self.identity}\n{layout}".encode(errors="surrogatepass")).hexdigest()[:8]
        return PartialFile(self.output, job)

    @contextlib.contextmanager
    def _kept_rows(self, layout: RowFormat) -> Iterator[PartialFile]:
        """Open the output's unfinished file; if the job ends early, say where the finished rows are."""
        partial = self._partial(layout)
        try:
            with partial.open(self.overwrite) as part:
                yield part
        except BaseException:
            if partial.rows:
                echo(f"{partial.rows} rows are finished and kept in {partial.path}; --resume goes on", err=True)
            raise

    def _skip(self, part: PartialFile, records: Iterator[Record], layout: RowFormat, names: tuple[str, ...]) -> int:
        """Skip the rows that are finished, and cut off a last one that is not whole; return how many are finished.

        Raises:
            TableError: the rows are not those of the table.
        """
        rows, size = 0, 0
        own = [name for name in self.table.columns if name not in names]
        with contextlib.suppress(_Unreadable), contextlib.closing(_written(part.path, layout, self.resume)) as written:
            size = written.lines.offset
            for finished in written.rows():
                if finished.problem is not None or not written.lines.ended:
                    break
                record = next(records, None)
                if record is None or not layout.same(record.cells, finished.cells, own):
                    raise TableError(
                        f"row {finished.number} of {part.path} is not that of {self.table.path}, which has changed: "
                        "leave --resume out to begin anew"
                    )
                rows, size = finished.number, written.lines.offset
        part.keep(rows, size)
        if not size:
            part.write(layout.header(), rows=0)
        return rows

    def _rows(
        self,
        records: Iterator[Record],
        pipe: Callable[..., Any],
        call: Mapping[str, Any],
        results: ResultColumns,
        names: tuple[str, ...],
        done: _Count,
        bar: Any,
    ) -> Iterator[dict[str, Any]]:
        pairs = (((record, value), value) for record, value in ((each, self._input(each)) for each in records))
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
                    row[self.prefix + _IMAGE] = self.save_image(value, answer)
            done.rows += 1
            bar.update()
            yield row

    def _input(self, record: Record) -> Any:
        return self.build(record.cells) if record.problem is None else InputError(record.problem)

    def _check(self, columns: Any, names: tuple[str, ...], record: Record | None = None) -> None:
        clash = [name for name in names if name in columns]
        if clash and not self.overwrite_columns:
            where = f", {record.name}" if record else ""
            raise TableError(
                f"{self.table.path}{where} has a column {clash[0]!r} already, and so has the result: --prefix pred_ "
                f"names the result column {'pred_' + clash[0]!r}, --overwrite-columns replaces the table's"
            )


class _Unreadable(Exception):
    """There is no unfinished file to go on with."""


def _written(path: Path, layout: RowFormat, resume: bool) -> Table:
    """Open the unfinished file to read its rows.

    Raises:
        _Unreadable: it is not to be read, or has no header yet.
    """
    if not resume:
        raise _Unreadable
    try:
        table = open_table(path, format=layout.format, delimiter=layout.delimiter)
    except TableError:
        raise _Unreadable from None
    if layout.format != "jsonl" and (table.columns != layout.header_cells() or not table.lines.ended):
        table.close()
        raise _Unreadable
    return table


def _write_stdout(text: str) -> None:
    """Write a line of a table: to a terminal without control characters, elsewhere as it is."""
    sys.stdout.write(visible(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


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
