"""Writing tables, and the files that are whole or not there."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from onnxpipe.cli.run.partial import PartialFile, sweep
from onnxpipe.cli.run.table import RowFormat
from onnxpipe.processing.tables.files import Table, open_table
from onnxpipe.processing.tables.lines import TableError


def table(tmp_path: Path, name: str, content: str | bytes, **options: str) -> Table:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return open_table(path, **options)  # type: ignore[arg-type]


def cells(given: Table) -> list[dict]:
    """The cells of all rows; a row's problem is raised."""
    found = []
    for record in given.rows():
        if record.problem is not None:
            raise TableError(f"{record.name}: {record.problem}")
        found.append(record.cells)
    return found


def written(given: Table, format: str, row: dict, **options: bool) -> str:
    layout = RowFormat.like(given, format, list(row), **options)  # type: ignore[arg-type]
    return layout.header() + layout.row(row)


def test_byte_order_mark_is_not_part_of_the_first_column(tmp_path: Path) -> None:
    given = table(tmp_path, "t.csv", b"\xef\xbb\xbftext,n\r\na,1\r\n")
    assert given.columns == ("text", "n")
    assert cells(given) == [{"text": "a", "n": "1"}]
    assert written(given, "csv", {"text": "a", "n": "1"}) == "\ufefftext,n\r\na,1\r\n"


def test_writing_csv_and_jsonl(tmp_path: Path) -> None:
    given = table(tmp_path, "t.csv", "text;n\na;1\n")
    row = {"text": 'x;"y"\nz', "score": 0.5, "entities": [{"word": "ü"}], "none": None}
    assert written(given, "csv", row) == 'text;score;entities;none\n"x;""y""\nz";0.5;"[{""word"": ""ü""}]";\n'
    assert written(given, "jsonl", row) == (
        '{"text": "x;\\"y\\"\\nz", "score": 0.5, "entities": [{"word": "ü"}], "none": null}\n'
    )  # fmt: skip


def test_output_is_whole_or_not_there(tmp_path: Path) -> None:
    path, part = tmp_path / "out.csv", PartialFile(tmp_path / "out.csv", "0badcafe")
    with pytest.raises(RuntimeError), part.open(overwrite=False):
        part.write("header", rows=0)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []  # no row was finished
    with pytest.raises(RuntimeError), part.open(overwrite=False):
        part.write("half")
        raise RuntimeError
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [(".out.csv.0badcafe.part", "half")]
    with part.open(overwrite=False):
        part.keep(0, 0)
        part.write("whole")
        assert not path.exists()
        with pytest.raises(TableError, match="another process"), PartialFile(path, "0badcafe").open(overwrite=False):
            pass
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileExistsError, match="--overwrite"), part.open(overwrite=False):
        pass
    path.chmod(0o640)
    link = tmp_path / "link.csv"
    link.symlink_to(path)
    part = PartialFile(link, "0badcafe")
    with part.open(overwrite=True):
        part.write("new")
    assert (path.read_text(), link.is_symlink(), path.stat().st_mode & 0o777) == ("new", True, 0o640)


def test_output_must_be_a_file(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="not a regular file"), PartialFile(Path("/dev/null"), "x").open(True):
        pass
    no = PartialFile(tmp_path / "no" / "out.csv", "x")
    with pytest.raises(FileNotFoundError, match="no folder"), no.open(overwrite=False):
        pass


def test_old_unfinished_files_are_swept(tmp_path: Path) -> None:
    names = [".a.csv.0badcafe.part", ".b.csv.0badcafe.part", ".a_b.csv.xk2_9abc.part", "video.mp4.part", ".vimrc.part"]
    for name in names:
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / ".new.csv.0badcafe.part").write_text("x")
    with (tmp_path / ".b.csv.0badcafe.part").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # a process still writes it
        sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".b.csv.0badcafe.part", ".new.csv.0badcafe.part", ".vimrc.part", "video.mp4.part"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "escaped"),
    [
        ("=1+1", "'=1+1"), ("+A1", "'+A1"), ("-2+3", "'-2+3"), ("@SUM(A1)", "'@SUM(A1)"), ("\tx", "'\tx"),
        ("-5", "-5"), ("+1.5e3", "+1.5e3"), (-5, "-5"), ("a=b", "a=b"), ("", ""),
    ],
)  # fmt: skip
def test_formulas(tmp_path: Path, cell: Any, escaped: str) -> None:
    given = table(tmp_path, "t.csv", "a,b\n")
    assert written(given, "csv", {"a": cell, "b": ""}, escape_formulas=True) == f"a,b\n{escaped},\n"
    assert written(given, "csv", {"a": cell, "b": ""}) == f"a,b\n{cell},\n"


def test_lone_surrogates_can_be_written(tmp_path: Path) -> None:
    given = table(tmp_path, "t.jsonl", '{"a": "x\\ud800"}\n')
    (row,) = cells(given)
    assert written(given, "jsonl", row) == '{"a": "x\\ud800"}\n'
    assert written(given, "csv", row) == "a\nx\ufffd\n"
