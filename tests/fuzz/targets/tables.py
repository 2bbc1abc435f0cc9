"""Tables, read as the command line reads them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

from fuzz.mutate import mutate_bytes, mutate_text
from fuzz.target import Target, named, split
from onnxpipe.cli.run.table import RowFormat
from onnxpipe.processing.tables.files import open_table
from onnxpipe.processing.tables.lines import TableError

_ROWS = [{"id": str(i), "text": text} for i, text in enumerate(("good", 'a, "b"\nc', "", "é; ü", "x\ty"))]


def _seeds() -> list[bytes]:
    plain = "id,text\n1,good\n2,bad\n3,\n"
    quoted = 'id;text\r\n1;"a; ""b""\r\nc"\r\n2;d\r\n'
    lines = "".join(json.dumps(row) + "\n" for row in _ROWS)
    return [
        named("a.csv", plain.encode()),
        named("a.csv", b"\xef\xbb\xbf" + quoted.encode()),
        named("a.tsv", plain.replace(",", "\t").encode()),
        named("a.jsonl", lines.encode()),
        named("a.txt", "one line\nanother é\n".encode()),
    ]


def _mutate(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    name, content = split(data)
    if random.random() < 0.5:
        return named(name, mutate_bytes(random, content, others))
    return named(name, mutate_text(random, content.decode("utf-8", "replace")).encode("utf-8", "surrogatepass"))


def _read(data: bytes, folder: Path) -> None:
    """Read every row; those without a problem have the table's columns and can be written as UTF-8."""
    name, content = split(data)
    path = folder / name
    path.write_bytes(content)
    with contextlib.closing(open_table(path)) as table:
        layout = RowFormat.like(table, table.format, table.columns)
        layout.header().encode()
        count = 0
        for record in table.rows():
            count += 1
            if record.problem is None:
                assert table.format == "jsonl" or set(record.cells) == set(table.columns)
                layout.row(record.cells).encode()
        assert table.count() in (count, None)


TABLES = Target("tables", _seeds, _mutate, _read, (TableError,), count=1000)
