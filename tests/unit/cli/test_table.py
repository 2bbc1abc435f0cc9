"""Tables: what is read is what stands there, whatever wrote it; what is written is whole or not there."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from onnxpipe.cli.run.table import Table, TableError, open_table, replacing, write_rows


def table(tmp_path: Path, name: str, content: str | bytes, **options: str) -> Table:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return open_table(path, **options)  # type: ignore[arg-type]


def cells(given: Table) -> list[dict]:
    return [record.cells for record in given.rows()]


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
    out = io.StringIO()
    write_rows(out, cells(given), given, "csv", list(given.columns))
    assert out.getvalue() == "\ufefftext,n\r\na,1\r\n"


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
        ("t.csv", b"text\ncaf\xe9\n", "is not utf-8"),
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
        ("t.csv", "text,n\na,1\nb,2,3\n", "row 2 .line 3. has 3 cells, the header 2"),
        ("t.jsonl", '{"text": "a"}\n"b"\n', "line 2 holds a JSON str"),
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
    out = io.StringIO()
    write_rows(out, [row], given, "csv", list(row))
    assert out.getvalue() == 'text;score;entities;none\n"x;""y""\nz";0.5;"[{""word"": ""ü""}]";\n'
    out = io.StringIO()
    write_rows(out, [row], given, "jsonl", list(row))
    assert out.getvalue() == (
        '{"text": "x;\\"y\\"\\nz", "score": 0.5, "entities": [{"word": "ü"}], "none": null}\n'
    )  # fmt: skip


def test_output_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with pytest.raises(RuntimeError), replacing(path, overwrite=False) as file:
        file.write("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with replacing(path, overwrite=False) as file:
        file.write("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    with pytest.raises(FileExistsError, match="--overwrite"), replacing(path, overwrite=False):
        pass
    path.chmod(0o640)
    link = tmp_path / "link.csv"
    link.symlink_to(path)
    with replacing(link, overwrite=True) as file:
        file.write("new")
    assert (path.read_text(), link.is_symlink(), path.stat().st_mode & 0o777) == ("new", True, 0o640)


def test_output_must_be_a_file(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="not a regular file"), replacing(Path("/dev/null"), overwrite=True):
        pass
    with pytest.raises(FileNotFoundError, match="no folder"), replacing(tmp_path / "no" / "out.csv", overwrite=False):
        pass
