"""TAPAS's tokenizer against transformers': ids and all seven token types of random tables."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnxpipe import AutoTokenizer

pandas = pytest.importorskip("pandas")
transformers = pytest.importorskip("transformers")

_TEXT = (
    "the bridge Paris London café Ångström naïve 東京 Zzqx déjà über don't U.S. [SEP] [CLS]x n/a ? nan - … 12 3.5 "
    "1,000 $5 7 february 1967 june 2010 first 21st 2016-05-04 1999 1990s monday, supercalifragilistic a_b ΟΔΟΣ straße"
)
_WORDS = _TEXT.split()
_DATES = ["7 february 1967", "10 june 1996", "28 november 1967", "1999", "may 2010"]


def _column(rng: random.Random, rows: int) -> list[str]:
    kind = rng.random()
    if kind < 0.3:
        return [str(rng.randrange(40)) for _ in range(rows)]
    if kind < 0.45:
        return [rng.choice(_DATES) for _ in range(rows)]
    return [_cell(rng) for _ in range(rows)]


def _cell(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.1:
        return ""
    if kind < 0.4:
        return str(rng.randrange(3000))
    return " ".join(rng.choice(_WORDS) for _ in range(rng.randrange(1, 5)))


def _tables(count: int) -> list[tuple[dict[str, list[str]], str]]:
    rng = random.Random(0)
    made = []
    for _ in range(count):
        rows, columns = rng.choice([1, 2, 3, 5, 8, 13]), rng.randrange(1, 6)
        table = {f"{rng.choice(_WORDS)} {number}": _column(rng, rows) for number in range(columns)}
        question = " ".join(rng.choice(_WORDS) for _ in range(rng.randrange(1, 9)))
        made.append((table, question))
    rows = {"n": [str(7919 * i % 900) for i in range(80)], "t": [f"{i} words, and more" for i in range(80)]}
    return [*made, (rows, "more than 500?")]


def test_three_hundred_random_tables(models: Callable[[str, str], Path]) -> None:
    folder = models("tapas", "tables")
    theirs, ours = transformers.TapasTokenizer.from_pretrained(str(folder)), AutoTokenizer.from_pretrained(folder)
    for number, (table, question) in enumerate(_tables(300)):
        frame = pandas.DataFrame(table)
        for length in (512, 128):
            call = {"truncation": "drop_rows_to_fit", "max_length": length, "return_tensors": "np"}
            expected, got = theirs(frame, question, **call), ours(table, question, **call)
            for name in ("input_ids", "attention_mask", "token_type_ids"):
                assert np.array_equal(expected[name], got[name]), (number, length, name, question, table)


def test_several_questions(models: Callable[[str, str], Path]) -> None:
    folder = models("tapas", "tables")
    theirs, ours = transformers.TapasTokenizer.from_pretrained(str(folder)), AutoTokenizer.from_pretrained(folder)
    table, _ = _tables(3)[-1]
    questions = ["short?", "a question that is somewhat longer?", "21st of 100"]
    for padding in (True, "max_length"):
        call = {"truncation": True, "padding": padding, "return_tensors": "np"}
        expected, got = theirs(pandas.DataFrame(table), list(questions), **call), ours(table, questions, **call)
        assert {name: array.tolist() for name, array in expected.items()} == {n: a.tolist() for n, a in got.items()}
    small = {name: cells[:5] for name, cells in table.items()}
    assert dict(ours(small, questions[0])) == dict(theirs(pandas.DataFrame(small), questions[0]))
