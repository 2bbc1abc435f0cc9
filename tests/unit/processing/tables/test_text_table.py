"""Tables from Python's objects: every form gives the same table, and an error names the place that is wrong."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxpipe.processing.tables.lines import TableError
from onnxpipe.processing.tables.text_table import TextTable, text_table

TABLE = TextTable(("City", "Size"), (("Lyon", "7"), ("Oslo", "")))


@pytest.mark.parametrize(
    "value",
    [
        {"City": ["Lyon", "Oslo"], "Size": ["7", ""]},
        {"City": ("Lyon", "Oslo"), "Size": [7, None]},
        {"City": np.array(["Lyon", "Oslo"]), "Size": [np.int64(7), float("nan")]},
        [{"City": "Lyon", "Size": 7}, {"Size": None, "City": "Oslo"}],
        [["City", "Size"], ["Lyon", 7], ("Oslo", "")],
        TABLE,
    ],
)
def test_forms(value: Any) -> None:
    assert text_table(value) == TABLE


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "City,Size\nLyon,7\nOslo,\n"),
        ("t.tsv", "City\tSize\nLyon\t7\nOslo\t\n"),
        ("t.jsonl", '{"City": "Lyon", "Size": 7}\n{"City": "Oslo", "Size": null}\n'),
    ],
)
def test_files(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert text_table(tmp_path / name) == text_table(str(tmp_path / name)) == TABLE


def test_data_frames() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"City": ["Rome", "Lyon", "Oslo"], "Size": [1.5, 7, None]})
    assert text_table(frame[1:]) == TextTable(("City", "Size"), (("Lyon", "7.0"), ("Oslo", "")))
    assert text_table(pandas.DataFrame([[1, pandas.NaT]])) == TextTable(("0", "1"), (("1", ""),))


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (3, "3"),
        (0.5, "0.5"),
        (True, "True"),
        (Decimal("1.20"), "1.20"),
        (np.float32(0.25), "0.25"),
        (datetime.date(1999, 5, 1), "1999-05-01"),
        (datetime.datetime(1999, 5, 1), "1999-05-01"),
        (datetime.datetime(1999, 5, 1, 12, 30), "1999-05-01 12:30:00"),
    ],
    ids=repr,
)
def test_cells_become_texts(cell: Any, text: str) -> None:
    assert text_table({"a": [cell]}).rows == ((text,),)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "missing"),
        (7, "of type int"),
        ({}, "no column"),
        ({"a": []}, "no row"),
        ([], "empty"),
        ([["a", "b"]], "no row"),
        ({"a": ["x"], "b": ["x", "y"]}, "'a' 1, 'b' 2"),
        ({"a": "text"}, "the column 'a' is 'text'"),
        ([["a", "b"], ["x", "y"], ["z"]], "row 2 has 1 cells, and the header 2"),
        ([{"a": "x"}, {"b": "y"}], "row 2 lacks the column 'a'"),
        ([{"a": "x"}, {"a": "y", "b": "z"}], "row 2 has a column more: 'b'"),
        ([["a", "a"], ["x", "y"]], "several columns 'a'"),
        ([["a"], "x"], "row 1 is 'x'"),
        ({"a": ["x", ["y"]]}, "row 2, column 'a' is of type list"),
        ({"a": [b"x"]}, "row 1, column 'a' is of type bytes"),
        ({"a": ["\ud800"]}, "row 1, column 'a': the text has a lone surrogate"),
    ],
)
def test_what_is_no_table(value: Any, message: str) -> None:
    with pytest.raises(TableError) as raised:
        text_table(value)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"a,b\n1,2,3\n", "row 1 (line 2): it has 3 cells"),
        ("t.csv", b"a\n\xff\n", "byte 0xff is not utf-8"),
        ("t.csv", b"", "is empty"),
        ("t.txt", b"a\n", "a file of lines"),
        ("t.jsonl", b'{"a": 1}\n{"b": 1}\n', "lacks the column 'a'"),
        ("t.xlsx", b"", "unknown table format"),
    ],
)
def test_files_that_are_no_tables(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError) as raised:
        text_table(tmp_path / name)
    assert message in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        text_table(tmp_path / "none.csv")
