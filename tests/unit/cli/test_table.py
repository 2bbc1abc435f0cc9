"""Tables: what is read is what stands there, whatever wrote it; what is written is whole or not there."""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path
from typing import Any

import pytest

from onnxpipe.cli.run.lines import TableError
from onnxpipe.cli.run.partial import PartialFile, sweep
from onnxpipe.cli.run.table import RowFormat, Table, open_table


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


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("text,n\na,1\nb,2\n", [{"text": "a", "n": "1"}, {"text": "b", "n": "2"}]),
        ("text,n\r\na,1\r\nb,2", [{"text": "a", "n": "1"}, {"text": "b", "n": "2"}]),
        ('text,n\n"a, ""b""\nc",1\n', [{"text": 'a, "b"\nc', "n": "1"}]),
        ("text;n\na, b;1\nc, d;2\n", [{"text": "a, b", "n": "1"}, {"text": "c, d", "n": "2"}]),
        ("text|n\na|1\n", [{"text": "a", "n": "1"}]),
        ("text\tn\na\t1\n", [{"text": "a", "n": "1"}]),
        ("text\nplain; text\n\"quoted, text\"\n", [{"text": "plain; text"}, {"text": "quoted, text"}]),
        ('text,n\na,1\n\n"",\n', [{"text": "a", "n": "1"}, {"text": "", "n": ""}]),
        ("text,n\nshort\n", [{"text": "short", "n": ""}]),
        ("text,n\n", []),
    ],
    ids=["plain", "crlf", "quotes", "semicolon", "pipe", "tab", "one-column", "empty", "short", "header-only"],
)  # fmt: skip
def test_csv(tmp_path: Path, content: str, expected: list[dict]) -> None:
    given = table(tmp_path, "t.csv", content)
    assert cells(given) == expected
    assert given.count() == len(expected)


def test_byte_order_mark_is_not_part_of_the_first_column(tmp_path: Path) -> None:
    given = table(tmp_path, "t.csv", b"\xef\xbb\xbftext,n\r\na,1\r\n")
    assert given.columns == ("text", "n")
    assert cells(given) == [{"text": "a", "n": "1"}]
    assert written(given, "csv", {"text": "a", "n": "1"}) == "\ufefftext,n\r\na,1\r\n"


def test_long_cells(tmp_path: Path) -> None:
    given = table(tmp_path, "t.csv", f'text,n\n"{"word, " * 100_000}",1\n')
    assert len(cells(given)[0]["text"]) == 600_000


def test_rows_know_their_line(tmp_path: Path) -> None:
    given = table(tmp_path, "t.csv", 'text,n\n"a\nb",1\nc,2\n')
    assert [record.name for record in given.rows()] == ["row 1 (line 3)", "row 2 (line 4)"]


def test_jsonl(tmp_path: Path) -> None:
    given = table(tmp_path, "t.jsonl", '{"text": "a\\nb", "n": 1}\n\n{"text": "ü", "x": [1, 2]}\n')
    assert given.columns == ("text", "n")
    assert cells(given) == [{"text": "a\nb", "n": 1}, {"text": "ü", "x": [1, 2]}]
    assert given.count() == 2


def test_text_keeps_empty_lines(tmp_path: Path) -> None:
    given = table(tmp_path, "t.txt", "one\n\n three, \r\n")
    assert cells(given) == [{"text": "one"}, {"text": ""}, {"text": " three, "}]
    assert given.count() == 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", "is empty"),
        ("t.csv", "a,b,a\n1,2,3\n", "several columns 'a'"),
        ("t.xlsx", "PK", "unknown table format '.xlsx'"),
        ("t.csv", b"text\ncaf\xe9\n", "byte 0xe9 is not utf-8"),
        ("t.json", '[{"text": "a"}]', "JSON array"),
        ("t.jsonl", '{"text": "a"', "line 1"),
    ],
)
def test_what_is_not_a_table(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(TableError, match=message.replace("[", r"\[")):
        cells(table(tmp_path, name, content))


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "text,n\na,1\nb,2,3\n", "row 2 .line 3.: it has 3 cells, the header 2"),
        ("t.jsonl", '{"text": "a"}\n"b"\n', "row 2 .line 2.: it holds a JSON str"),
        ("t.jsonl", '{"text": "a"}\nb\n', "line 2"),
    ],
)
def test_bad_rows_name_their_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(TableError, match=message):
        cells(table(tmp_path, name, content))


def test_an_open_quote_does_not_fill_the_memory(tmp_path: Path) -> None:
    given = table(tmp_path, "t.csv", 'text,n\n"a,1\n' + "b,2\n" * 5_000_000)
    with pytest.raises(TableError, match="quote"):
        cells(given)


def test_encoding_and_delimiter_may_be_named(tmp_path: Path) -> None:
    given = table(tmp_path, "t.csv", "text~n\ncafé~1\n".encode("cp1252"), encoding="cp1252", delimiter="~")
    assert cells(given) == [{"text": "café", "n": "1"}]
    with pytest.raises(TableError, match="unknown encoding"):
        table(tmp_path, "t.csv", "text\n", encoding="klingon")
    with pytest.raises(TableError):
        table(tmp_path, "t.csv", "text\n", delimiter="::")


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
    names = [".a.csv.0badcafe.part", ".b.csv.0badcafe.part", ".a_b.csv.xk2_9abc.part", "film.mp4.part", ".vimrc.part"]
    for name in names:
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / ".new.csv.0badcafe.part").write_text("x")
    with (tmp_path / ".b.csv.0badcafe.part").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # a process still writes it
        sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".b.csv.0badcafe.part", ".new.csv.0badcafe.part", ".vimrc.part", "film.mp4.part"
    ]  # fmt: skip


OPEN_QUOTES = [
    ('id,text\n1,good\n2,"unclosed film\n3,bad\n', ["1", "2", "3"], 3, "on line 3 is never closed"),
    ('id,text\n1,"unclosed\n2,b\n3,"quoted, cell","x"\n', ["1", "2", "3"], 2, "line 2 is not closed: .* on line 4"),
    ('id,text\n1,"two\nlines","open\n2,b', ["1", "2"], 3, "on line 3 is never closed"),
    ('id,text\n"1","a"\n"2","b\n"3","c"\n', ["1", "2", "3"], 3, "on line 3 is not closed"),
    ('id,text\n1,"end', ["1"], 2, "on line 2 is never closed"),
]


@pytest.mark.parametrize(("content", "ids", "line", "message"), OPEN_QUOTES)
def test_an_open_quote_costs_one_row(tmp_path: Path, content: str, ids: list[str], line: int, message: str) -> None:
    found = list(table(tmp_path, "t.csv", content).rows())
    bad = [record for record in found if record.problem is not None and "the quote that opens" in record.problem]
    assert [record.line for record in bad] == [line]
    assert re.search(message, bad[0].problem or "")
    assert [record.cells["id"] for record in found] == ids


def test_text_after_a_quote_is_kept_on_one_line(tmp_path: Path) -> None:
    given = table(tmp_path, "t.csv", 'id,text\n1,"a" b\n2,5" disk\n3,"two\nlines ""x"""\n')
    assert cells(given) == [
        {"id": "1", "text": "a b"}, {"id": "2", "text": '5" disk'}, {"id": "3", "text": 'two\nlines "x"'}
    ]  # fmt: skip


def test_rows_that_cannot_be_read_are_rows(tmp_path: Path) -> None:
    given = table(tmp_path, "t.csv", b"id,text\n1,a\n2,caf\xe9\n3,x,y\n4,d\n")
    assert [(record.cells, record.problem and record.problem.split(";")[0]) for record in given.rows()] == [
        ({"id": "1", "text": "a"}, None),
        ({"id": "2", "text": "caf\ufffd"}, "byte 0xe9 is not utf-8"),
        ({"id": "3", "text": "x"}, "it has 3 cells, the header 2"),
        ({"id": "4", "text": "d"}, None),
    ]
    lines = b'{"text": "a"}\n{"text"\n[1]\n{"text": "\xff"}\n' + b"[" * 100_000 + b'\n{"text": "b"}\n'
    given = table(tmp_path, "t.jsonl", lines)
    assert [(record.cells.get("text"), record.problem is None) for record in given.rows()] == [
        ("a", True), (None, False), (None, False), ("\ufffd", False), (None, False), ("b", True)
    ]  # fmt: skip
    given = table(tmp_path, "t2.jsonl", '{"broken\n{"text": "a"}\n')
    assert given.columns == ("text",)
    given = table(tmp_path, "t.txt", b"a\n\xff\nb\n")
    assert [record.problem is None for record in given.rows()] == [True, False, True]


def test_a_byte_order_mark_and_other_encodings(tmp_path: Path) -> None:
    assert cells(table(tmp_path, "t.jsonl", b'\xef\xbb\xbf{"text": "a"}\n')) == [{"text": "a"}]
    assert cells(table(tmp_path, "t.csv", "text\nZoë\n".encode("utf-16"), encoding="utf-16")) == [{"text": "Zoë"}]


def test_a_line_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="line 2 is longer"):
        cells(table(tmp_path, "t.txt", "a\n" + "b" * ((1 << 24) + 1)))


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
