"""Questions about tables: every form of a table, streams, bad items, the model beside transformers' own, TAPEX."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxpipe
from conformance.cases.table_question_answering import ASKED, LONG, PEOPLE, QUESTION, QUESTIONS, TABLE
from onnxpipe import errors
from onnxpipe.engine.scheduler import ItemError
from tolerances import MODEL

Bundles = Callable[..., Path]
ROWS = [dict(zip(TABLE, row)) for row in zip(*TABLE.values())]


@pytest.fixture(scope="module")
def tapas(bundles: Bundles) -> Any:
    return onnxpipe.pipeline("table-question-answering", model=bundles("tapas", "tables"))


@pytest.fixture(scope="module")
def tapex(bundles: Bundles) -> Any:
    return onnxpipe.pipeline("table-question-answering", model=bundles("tapex", "tables"))


def test_every_form_of_a_table_has_the_same_answer(tapas: Any, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    expected = tapas(TABLE, QUESTIONS)
    path = tmp_path / "stars.csv"
    pandas.DataFrame(TABLE).to_csv(path, index=False)
    numbers = {**TABLE, "Stars": [36542, 4512, 3934], "Contributors": np.array([651, 77, 34])}
    frame = pandas.DataFrame(TABLE, index=[7, 8, 9])  # in transformers the index must count from 0
    for table in (ROWS, [list(TABLE), *map(list, zip(*TABLE.values()))], str(path), path, numbers, frame):
        assert tapas(table, QUESTIONS) == expected


def test_streams_and_batches(tapas: Any) -> None:
    expected = [tapas(each) for each in ASKED]
    assert list(tapas(each for each in ASKED)) == expected
    for size in (1, 2, 4):
        assert tapas(ASKED, batch_size=size) == expected
        assert tapas(TABLE, QUESTIONS, batch_size=size) == [tapas(TABLE, question) for question in QUESTIONS]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"table": TABLE, "query": " "}, "query is empty"),
        ({"table": TABLE, "query": []}, "query is empty"),
        ({"table": TABLE, "query": [QUESTION, None]}, r"query\[1\] is missing"),
        ({"table": {"a": []}, "query": QUESTION}, "no row"),
        ({"table": [["a", "b"], ["x"]], "query": QUESTION}, "row 1 has 1 cells"),
        ({"table": {"a": [["x"]]}, "query": QUESTION}, "row 1, column 'a'"),
        ({"table": {f"c{i}": ["x"] for i in range(40)}, "query": QUESTION}, "40 columns"),
        ({"table": TABLE, "query": "very " * 300}, "no room"),
        ({"table": TABLE}, "'table': ..., 'query': ..."),
        ({"table": "none.csv", "query": QUESTION}, "none.csv"),
        (None, "'table': ..., 'query': ..."),
        ("people.csv", "'table': ..., 'query': ..."),
    ],
)
def test_a_bad_item_does_not_cost_the_others(tapas: Any, tapex: Any, bad: Any, message: str) -> None:
    for pipe in (tapas, tapex):
        if pipe is tapex and "columns" in message:
            continue
        given = {**bad, "table": LONG} if bad and pipe is tapex and message == "no room" else bad
        options: dict[str, Any] = {} if pipe is tapas else {"max_new_tokens": 3, "truncation": True}
        first, wrong, last = pipe([ASKED[0], given, ASKED[1]], on_error="return", **options)
        assert isinstance(wrong, ItemError)
        assert first == pipe(ASKED[0], **options) and last == pipe(ASKED[1], **options)
        wanted = "do not fit" if pipe is tapex and message == "no room" else message
        with pytest.raises((ValueError, FileNotFoundError), match=wanted):
            pipe([ASKED[0], given], **options)


def test_rows_that_do_not_fit_are_said_once(tapas: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "onnxpipe")
    tapas([{"table": LONG, "query": question} for question in QUESTIONS])
    said = [record.getMessage() for record in caplog.records if "90 rows" in record.getMessage()]
    assert len(said) == 1 and "only the first" in said[0]


def test_unknown_arguments_are_refused(tapas: Any, tapex: Any) -> None:
    with pytest.raises(errors.UnknownArgumentError, match="did you mean 'sequential'"):
        tapas(TABLE, QUESTION, sequentiel=True)
    with pytest.raises(errors.UnknownArgumentError, match="does not generate"):
        tapas(TABLE, QUESTION, max_new_tokens=3)
    with pytest.raises(ValueError, match="max_new_tokenz"):
        tapex(TABLE, QUESTION, max_new_tokenz=3)
    with pytest.raises(errors.UnsupportedError, match="drop_rows_to_fit"):
        tapas(TABLE, QUESTION, truncation="only_first")


@pytest.mark.parametrize("family", ["tapas", "tapas-sqa"])
def test_the_model_gives_the_scores_of_transformers(family: str, models: Bundles, bundles: Bundles) -> None:
    import torch
    from transformers import TapasForQuestionAnswering

    ours = onnxpipe.AutoModelForTableQuestionAnswering.from_pretrained(bundles(family, "tables"))
    theirs = TapasForQuestionAnswering.from_pretrained(models(family, "tables")).eval()
    tokenizer = onnxpipe.AutoTokenizer.from_pretrained(bundles(family, "tables"))
    feeds = tokenizer(PEOPLE, ["Who was born after 1970?", "age?"], padding=True, return_tensors="np")
    with torch.inference_mode():
        expected = theirs(**{name: torch.from_numpy(array) for name, array in feeds.items()})
    got = ours(**feeds)
    cells = feeds["token_type_ids"][:, :, 2] > 0
    chosen = expected.logits.numpy() > -1000
    assert (chosen == (got.logits > -1000)).all() and (chosen & cells).any()
    limit = MODEL * float(np.abs(expected.logits.numpy()[chosen]).max())
    assert np.abs(got.logits[chosen] - expected.logits.numpy()[chosen]).max() <= limit
    if family == "tapas":
        scores = expected.logits_aggregation.numpy()
        assert np.abs(got.logits_aggregation - scores).max() <= MODEL * np.abs(scores).max()
        found = tokenizer.convert_logits_to_predictions(feeds, got.logits, got.logits_aggregation)
        assert found == tokenizer.convert_logits_to_predictions(feeds, expected.logits, expected.logits_aggregation)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_smaller_precisions_are_certified(precision: str, bundles: Bundles) -> None:
    folder = bundles("tapas", "tables", ("fp32", "int8", "fp16"))
    pipe = onnxpipe.pipeline("table-question-answering", model=folder, dtype=precision)
    assert set(pipe(TABLE, QUESTION)) == {"answer", "coordinates", "cells", "aggregator"}
    entry = json.loads((folder / "certificate.json").read_text(encoding="utf-8"))["graphs"]["model"][precision]
    assert entry["passed"]


def test_tapex_reads_the_table_as_a_text(tapex: Any, models: Bundles) -> None:
    import torch
    from transformers import BartForConditionalGeneration, BartTokenizer

    folder = models("tapex", "tables")
    model, tokenizer = BartForConditionalGeneration.from_pretrained(folder), BartTokenizer.from_pretrained(folder)
    texts = [
        f"{question.lower()} col : city | size row 1 : lyon | 7 row 2 : oslo |"
        for question in ("How large is Lyon?", "Oslo")
    ]
    got = tapex({"City": ["Lyon", "Oslo"], "Size": [7, None]}, ["How large is Lyon?", "Oslo"], max_new_tokens=9)
    for text, answer in zip(texts, got):
        with torch.inference_mode():
            ids = model.generate(**tokenizer(text, return_tensors="pt"), max_new_tokens=9)
        assert answer == {"answer": tokenizer.batch_decode(ids, skip_special_tokens=True)[0]}


def test_tapex_drops_rows_and_cuts_cells(tapex: Any, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(errors.UnsupportedError, match="drop_rows_to_fit"):
        tapex(LONG, QUESTION)
    caplog.set_level(logging.WARNING, "onnxpipe")
    assert tapex(LONG, "Which?", truncation="drop_rows_to_fit", max_new_tokens=3)["answer"]
    assert any("only the first" in record.getMessage() for record in caplog.records)
    long, short = "one two three " * 20, "one two three " * 5
    kept = tapex({"a": [long]}, "Which?", max_new_tokens=5)
    assert kept == tapex({"a": [long + "four"]}, "Which?", max_new_tokens=5)
    assert short.strip() and tapex({"a": ["x"]}, "Which?", max_new_tokens=5) != kept


def test_no_pandas_and_no_torch(bundles: Bundles) -> None:
    folder = bundles("tapas", "tables")
    code = (
        "import sys\n"
        "for name in ('pandas', 'torch', 'transformers'): sys.modules[name] = None\n"
        "import onnxpipe\n"
        f"pipe = onnxpipe.pipeline('table-question-answering', model={str(folder)!r})\n"
        f"print(pipe({TABLE!r}, {QUESTION!r})['answer'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_command_line(bundles: Bundles, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from onnxpipe.cli import main

    folder = str(bundles("tapas", "tables"))
    path = tmp_path / "stars.csv"
    path.write_text("\n".join(",".join(f'"{cell}"' for cell in row) for row in [TABLE, *zip(*TABLE.values())]))
    expected = onnxpipe.pipeline("table-question-answering", model=folder)(TABLE, QUESTION)

    def run(*words: str) -> str:
        done = CliRunner().invoke(main, ["run", "table-question-answering", "--model", folder, *words])
        assert done.exit_code == 0, done.output
        return done.stdout

    places = "; ".join(f"row {row + 1}, column {column + 1}" for row, column in expected["coordinates"])
    lines = run(str(path), "--question", QUESTION).splitlines()
    assert lines == [f"{path}  |  {QUESTION}", f"  {expected['answer']}", *([f"  ({places})"] if places else [])]
    document = json.loads(run(str(path), "--question", QUESTION, "--json"))
    assert document == {**expected, "coordinates": [list(cell) for cell in expected["coordinates"]]}
    questions = tmp_path / "questions.csv"
    questions.write_text(f"file,asked\nstars.csv,{QUESTION}\nstars.csv,{QUESTIONS[2]}\n")
    out = tmp_path / "out.jsonl"
    run("--input", str(questions), "--column", "table=file,query=asked", "--output", str(out))
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 2 and rows[0]["answer"] == expected["answer"] and rows[0]["cells"] == expected["cells"]
