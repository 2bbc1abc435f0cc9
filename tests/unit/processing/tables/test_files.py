"""Reading tables from files: delimiters, quotes, encodings, rows that cannot be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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
        ("t.csv", "text\na\n".encode("utf-16"), "the header cannot be read: byte 0xff is not utf-8; .*'utf-16'"),
        ("t.tsv", b"t\xebxt\na\n", "byte 0xeb is not utf-8; save it as UTF-8, or read it with encoding='cp1252'"),
        ("t", "text\n", "no extension that tells its format: name it .csv"),
        ("t.csv", "a,b\n1,2\n1,2,3\n1,2\n", "has 3 cells, the header 2, split at ','; .* pass the rows"),
    ],
)
def test_what_is_not_a_table(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(TableError, match=message.replace("[", r"\[")):
        cells(table(tmp_path, name, content))


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_table(tmp_path / "t.csv")
    (tmp_path / "folder.csv").mkdir()
    for name in ("folder.csv", "a" * 5000 + ".csv", "a\0.csv"):
        with pytest.raises(TableError, match="cannot be read"):
            open_table(tmp_path / name)


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
        ({"id": "3", "text": "x"}, "it has 3 cells, the header 2, split at ','"),
        ({"id": "4", "text": "d"}, None),
    ]
    lines = b'{"text": "a"}\n{"text"\n[1]\n{"text": "\xff"}\n' + b"[" * 100_000 + b'\n{"text": "b"}\n'
    given = table(tmp_path, "t.jsonl", lines)
    assert [(record.cells.get("text"), record.problem is None) for record in given.rows()] == [
        ("a", True), (None, False), (None, False), ("\ufffd", False), (None, False), ("b", True)
    ]  # fmt: skip
    given = table(tmp_path, "t3.jsonl", '{"text": "a"}\n{"text": "b", "text": "c"}\n')
    assert [record.problem and record.problem.split(";")[0] for record in given.rows()] == [
        None, "it is not JSON: the key 'text' stands twice in an object"
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
