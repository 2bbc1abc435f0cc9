"""`onnxpipe run`, with a fake pipeline: its inputs, and what becomes of its answers."""

from __future__ import annotations

import csv
import errno
import json
import logging
import os
import re
import signal
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from onnxpipe.cli import main
from onnxpipe.cli.run import streaming
from unit.cli.fakes import AHEAD, FakeCLI


def classify(value: Any) -> dict[str, Any]:
    if value == "bad":
        raise ValueError("this text is bad")
    return {"label": "GOOD" if "good" in value else "NEUTRAL", "score": float(np.float32(0.9))}


@pytest.fixture
def cli(cli: FakeCLI) -> FakeCLI:
    cli.answer, cli.labels = classify, {0: "NEUTRAL", 1: "GOOD"}
    return cli


def rows(path: Path) -> list[dict]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# -- words ---
def test_one_line_a_text(cli: FakeCLI) -> None:
    result = cli.run("text-classification", "-m", "M", "so good", "so\x1b[31m so", "--device", "0", "--threads", 2)
    assert result.stdout == "GOOD     0.9000  so good\nNEUTRAL  0.9000  so\\x1b[31m so\n"
    (args, kwargs) = cli.loaded[0]
    assert args == ("text-classification", "M")
    assert (kwargs["device"], kwargs["threads"], kwargs["dtype"], kwargs["providers"]) == (0, 2, "auto", None)


def test_json_lines(cli: FakeCLI) -> None:
    cli.answer = lambda value: [{"entity": "PER", "score": np.float32(0.5), "word": value, "start": 0, "end": 3}]
    result = cli.run("ner", "Zoë", "Bob", "--json")
    first, second = map(json.loads, result.stdout.splitlines())
    assert first == [{"entity": "PER", "score": 0.5, "word": "Zoë", "start": 0, "end": 3}]
    assert second[0]["word"] == "Bob"


def test_stdin_and_json_inputs(cli: FakeCLI) -> None:
    cli.answer = lambda value: classify(str(value))
    cli.run("text-classification", "-", '{"text": "a", "text_pair": "b"}', stdin="one\r\n\ntwo")
    assert cli.pipe is not None
    assert cli.pipe.inputs == ["one", "", "two", {"text": "a", "text_pair": "b"}]


def test_a_bad_input(cli: FakeCLI) -> None:
    result = cli.run("text-classification", "good", "bad", "good", code=1)
    assert result.stderr == "error: input 2: this text is bad\n"
    assert result.stdout.count("\n") == 1
    result = cli.run("text-classification", "good", "bad", '{"text"', "good", "--on-error", "return", code=3)
    lines = result.stdout.splitlines()
    assert lines[1] == "error: input 2: this text is bad"
    assert lines[2].startswith("error: input 3: an input that begins with '{' must be JSON")
    assert lines[3] == lines[0]
    result = cli.run("text-classification", "bad", "--on-error", "return", "--json", code=3)
    assert json.loads(result.stdout) == {"error": "this text is bad"}


def test_traceback_only_when_asked_for(cli: FakeCLI) -> None:
    result = CliRunner().invoke(main, ["run", "text-classification", "bad", "--traceback"])
    assert isinstance(result.exception, ValueError)


@pytest.mark.parametrize(
    ("task", "answer", "words", "shown"),
    [
        (
            "ner",
            [
                {"entity_group": "PER", "score": np.float32(0.998), "word": "Enzo", "start": 0, "end": 4},
                {"entity_group": "MISC", "score": np.float32(0.5), "word": "x", "start": 10, "end": 11},
            ],
            ["Enzo likes x"],
            "Enzo likes x\n  0.9980  PER   0-4    Enzo\n  0.5000  MISC  10-11  x\n",
        ),
        ("ner", [], ["nobody"], "nobody\n  (nothing found)\n"),
        (
            "embedding",
            np.array([0.6, 0.8, 0, 0, 0, 0], np.float32),
            ["a text"],
            "[0.6000, 0.8000, 0.0000, 0.0000, 0.0000, ...]  6 dimensions, norm 1.0000  a text\n",
        ),
        (
            "question-answering",
            {"score": 0.5, "start": 7, "end": 8, "answer": "7"},
            ["--context", "Ann is 7.", "How old is Ann?"],
            "How old is Ann?\n  0.5000  7-8  7\n",
        ),
        (
            "fill-mask",
            [{"score": 0.5, "token": 1, "token_str": "big", "sequence": "so big"}],
            ["so [MASK]"],
            "so [MASK]\n  0.5000  big  so big\n",
        ),
        (
            "fill-mask",
            [[{"score": 0.5, "token": 1, "token_str": "big", "sequence": "s"}]] * 2,
            ["[MASK] [MASK]"],
            "[MASK] [MASK]\n  mask 1\n    0.5000  big  s\n  mask 2\n    0.5000  big  s\n",
        ),
        (
            "zero-shot-classification",
            {"sequence": "a", "labels": ["art", "sport"], "scores": [0.75, 0.25]},
            ["--labels", "sport,art", "a"],
            "a\n  0.7500  art\n  0.2500  sport\n",
        ),
        (
            "text-ranking",
            [{"index": 1, "score": 0.9, "document": "d2"}, {"index": 0, "score": 0.1, "document": "d1"}],
            ["--query", "q", "d1", "d2"],
            "q  |  ['d1', 'd2']\n  0.9000  1  d2\n  0.1000  0  d1\n",
        ),
        (
            "sentence-similarity",
            [0.25, 0.5],
            ["--query", "q", "s1", "s2"],
            "q\n  0.2500  s1\n  0.5000  s2\n",
        ),
        ("feature-extraction", [[[0.5, 0.25], [0.0, 1.0]]], ["a"], "[1][2][2]  0.5000, 0.2500, ...  a\n"),
    ],
)
def test_readable(cli: FakeCLI, task: str, answer: Any, words: list[str], shown: str) -> None:
    cli.answer = lambda value: answer
    assert cli.run(task, *words).stdout == shown


@pytest.mark.parametrize(
    ("task", "args", "inputs"),
    [
        ("question-answering", ["--question", "q", "--context", "c"], [{"question": "q", "context": "c"}]),
        ("question-answering", ["--question", "q", "c1", "c2"],
         [{"question": "q", "context": "c1"}, {"question": "q", "context": "c2"}]),
        ("text-ranking", ["--query", "q", "--documents", "d1", "d2"], [{"query": "q", "documents": ["d1", "d2"]}]),
        ("text-ranking", ["--query", "q", "-"], [{"query": "q", "documents": ["a", "b"]}]),
        ("sentence-similarity", ["--query", "q", "s"], [{"source_sentence": "q", "sentences": ["s"]}]),
    ],
)  # fmt: skip
def test_inputs_of_two_parts(cli: FakeCLI, task: str, args: list[str], inputs: list[Any]) -> None:
    cli.answer = lambda value: []
    cli.run(task, *args, "--json", stdin="a\nb\n")
    assert cli.pipe is not None
    assert cli.pipe.inputs == inputs


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["text-classification"], "no INPUT: give texts"),
        (
            ["text-classification", "a", "--question", "q"],
            "--question is not for text-classification; it is only for ",
        ),
        (["text-classification", "a", "--query", "q"], "only for sentence-similarity, text-ranking"),
        (["text-classification", "a", "--labels", "q"], "--labels is not for text-classification"),
        (["zero-shot-classification", "a"], "needs --labels"),
        (["text-classification", "a", "--column", "q"], "--column needs --input"),
        (["text-classification", "a", "--input", "q.csv"], "not both"),
        (["text-classification", "--json", "--input", "q.csv"], "--json is only for INPUTs"),
        (["text-ranking", "--documents", "d"], "--documents needs --query"),
        (["text-classification", "a", "--param", "top_k"], "not NAME=VALUE"),
        (["text-classification", "a", "--param", "batch_size=3"], "use --batch-size"),
        (["fill-mask", "a", "--param", "top_k=many"], "top_k takes int"),
    ],
)
def test_wrong_calls(cli: FakeCLI, args: list[str], message: str) -> None:
    result = cli.run(*args, code=2)
    assert message in result.stderr
    assert cli.loaded == []


def test_unknown_task(cli: FakeCLI) -> None:
    result = cli.run("classify-text", "a", code=1)
    assert result.stderr.startswith("error: Unknown task classify-text, available tasks are")


@pytest.mark.parametrize(
    ("task", "given", "params"),
    [
        ("text-classification", ["top_k=3", "truncation=true"], {"top_k": 3, "truncation": True}),
        ("text-classification", ["top_k=None"], {"top_k": None}),
        ("text-classification", ["function_to_apply=none"], {"function_to_apply": "none"}),
        ("ner", ["aggregation-strategy=simple"], {"aggregation_strategy": "simple"}),
        ("ner", ["ignore_labels=O,MISC"], {"ignore_labels": ["O", "MISC"]}),
        ("ner", ['ignore_labels=["O"]'], {"ignore_labels": ["O"]}),
        ("embedding", ["prompt=3", "normalize=false"], {"prompt": "3", "normalize": False}),
        ("fill-mask", ['targets=["a", "b"]'], {"targets": ["a", "b"]}),
        ("fill-mask", ['tokenizer_kwargs={"truncation": true}'], {"tokenizer_kwargs": {"truncation": True}}),
    ],
)
def test_parameters(cli: FakeCLI, task: str, given: list[str], params: dict) -> None:
    cli.answer = lambda value: []
    cli.run(task, "a", "--json", *(word for each in given for word in ("--param", each)))
    assert cli.pipe is not None
    assert cli.pipe.params == params


# -- tables ---
def reviews(tmp_path: Path, content: str = "id,text\n1,so good\n2,so so\n", name: str = "reviews.csv") -> Path:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return path


def test_table(cli: FakeCLI, tmp_path: Path) -> None:
    source, out = reviews(tmp_path), tmp_path / "out.csv"
    result = cli.run("text-classification", "--input", source, "--column", "text", "--output", out, "--batch-size", 4)
    assert rows(out) == [
        {"id": "1", "text": "so good", "label": "GOOD", "score": "0.8999999761581421"},
        {"id": "2", "text": "so so", "label": "NEUTRAL", "score": "0.8999999761581421"},
    ]
    assert result.stdout == ""
    assert result.stderr.startswith("2 rows in ")
    assert cli.pipe is not None
    assert cli.pipe.batch_size == 4


def test_table_to_stdout_and_jsonl(cli: FakeCLI, tmp_path: Path) -> None:
    source = reviews(tmp_path)
    result = cli.run("text-classification", "--input", source)
    assert result.stdout.splitlines()[0] == "id,text,label,score"
    cli.run("text-classification", "--input", source, "--output", tmp_path / "out.jsonl")
    first = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert first == {"id": "1", "text": "so good", "label": "GOOD", "score": 0.8999999761581421}
    lines = reviews(tmp_path, "so good\nso so\n", "lines.txt")
    assert cli.run("text-classification", "--input", lines).stdout.splitlines()[:2] == [
        "text,label,score",
        "so good,GOOD,0.8999999761581421",
    ]
    named = reviews(tmp_path, '{"text": "good", "n": null}\n', "reviews.data")
    result = cli.run("text-classification", "--input", named, "--format", "jsonl")
    assert json.loads(result.stdout) == {"text": "good", "n": None, "label": "GOOD", "score": 0.8999999761581421}


def test_output_over_input(cli: FakeCLI, tmp_path: Path) -> None:
    source = reviews(tmp_path)
    before = source.read_text()
    args = ("text-classification", "--input", source, "--output", source)
    assert "--overwrite" in cli.run(*args, code=1).stderr
    assert source.read_text() == before
    cli.run(*args, "--overwrite")
    assert rows(source)[0]["label"] == "GOOD"
    assert "has a column 'label' already" in cli.run(*args, "--overwrite", code=1).stderr
    cli.run(*args, "--overwrite", "--overwrite-columns")
    assert list(rows(source)[0]) == ["id", "text", "label", "score"]
    assert sorted(tmp_path.iterdir()) == [source]


def test_a_prefix_keeps_both_columns(cli: FakeCLI, tmp_path: Path) -> None:
    source, out = reviews(tmp_path, "text,label\ngood,A\nbad,B\n"), tmp_path / "out.csv"
    args = ("text-classification", "--input", source, "--output", out, "--on-error", "return")
    assert "--prefix pred_ names the result column 'pred_label'" in cli.run(*args, code=1).stderr
    cli.run(*args, "--prefix", "p_", code=3)
    assert rows(out) == [
        {"text": "good", "label": "A", "p_label": "GOOD", "p_score": "0.8999999761581421", "p_error": ""},
        {"text": "bad", "label": "B", "p_label": "", "p_score": "", "p_error": "this text is bad"},
    ]


def test_nothing_is_loaded_for_a_table_that_will_not_do(cli: FakeCLI, tmp_path: Path) -> None:
    source = reviews(tmp_path)
    task = "text-classification"
    result = cli.run(task, "--input", source, "--column", "review", code=1)
    assert result.stderr == f"error: {source} has no column 'review'; its columns: 'id', 'text'\n"
    cli.run(task, "--input", tmp_path / "no.csv", code=1)
    assert (
        "unknown table format '.xlsx'"
        in cli.run(task, "--input", source, "--output", tmp_path / "out.xlsx", code=1).stderr
    )
    assert "no folder" in cli.run(task, "--input", source, "--output", tmp_path / "no" / "out.csv", code=1).stderr
    other = reviews(tmp_path, "a,b\n1,2\n", "other.csv")
    assert "--column NAME" in cli.run(task, "--input", other, code=1).stderr
    assert cli.loaded == []


def test_a_bad_row_is_named(cli: FakeCLI, tmp_path: Path) -> None:
    source, out = reviews(tmp_path, "text\ngood\ngood\ngood\nbad\ngood\n"), tmp_path / "out.csv"
    result = cli.run("text-classification", "--input", source, "--output", out, code=1)
    kept, error = result.stderr.splitlines()
    assert error == "error: row 4 (line 5): this text is bad"
    (part,) = tmp_path.glob(".out.csv.*.part")
    assert kept == f"3 rows are finished and kept in {part}; --resume goes on"
    assert not out.exists()


def test_bad_rows_are_kept(cli: FakeCLI, tmp_path: Path) -> None:
    content = '{"text": "bad"}\n{"no": 1}\n{"text": "good"}\n{"no": 2}\n{"text": "so"}\n{"no": 3}\n'
    source, out = reviews(tmp_path, content, "r.jsonl"), tmp_path / "out.csv"
    args = ("text-classification", "--input", source, "--output", out)
    assert cli.run(*args, code=1).stderr.startswith("error: row ")
    result = cli.run(*args, "--on-error", "return", code=3)
    assert "6 rows" in result.stderr
    assert "4 of them failed" in result.stderr
    assert [(row["label"], row["error"]) for row in rows(out)] == [
        ("", "this text is bad"),
        ("", "no column 'text'"),
        ("GOOD", ""),
        ("", "no column 'text'"),
        ("NEUTRAL", ""),
        ("", "no column 'text'"),
    ]


BROKEN = [
    ("r.csv", b"text,n\nso,1\ngood, but,2\ngood,3\n", "it has 3 cells, the header 2"),
    ("r.csv", b"text,n\nso,1\ncaf\xe9,2\ngood,3\n", "byte 0xe9 is not utf-8"),
    ("r.csv", b'text,n\nso,1\n"open,2\ngood,3\n', "the quote that opens on line 3 is never closed"),
    ("r.tsv", b"text\tn\nso\t1\ncaf\xe9\t2\ngood\t3\n", "byte 0xe9 is not utf-8"),
    ("r.jsonl", b'{"text": "so"}\n{"text": "go\n{"text": "good"}\n', "it is not JSON"),
    ("r.jsonl", b'{"text": "so"}\n["good"]\n{"text": "good"}\n', "it holds a JSON list"),
    ("r.jsonl", b'{"text": "so"}\n{"text": "\\ud83d"}\n{"text": "good"}\n', "a lone surrogate, U+D83D"),
    ("r.jsonl", b'{"text": "so"}\n{"text": "\xff"}\n{"text": "good"}\n', "byte 0xff is not utf-8"),
    ("r.jsonl", b'{"text": "so"}\n{"text": null}\n{"text": "good"}\n', "the column 'text' is null"),
    ("r.jsonl", b'{"text": "so"}\n{"text": 5}\n{"text": "good"}\n', "the column 'text' is 5, not text"),
    ("r.txt", b"so\n\xff\ngood\n", "byte 0xff is not utf-8"),
]


@pytest.mark.parametrize(("name", "content", "message"), BROKEN)
@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_a_broken_row_does_not_take_the_others_down(
    cli: FakeCLI, tmp_path: Path, name: str, content: bytes, message: str, format: str
) -> None:
    source, out = tmp_path / name, tmp_path / f"out.{format}"
    source.write_bytes(content)
    args = ("text-classification", "--column", "text", "--input", source, "--output", out)
    result = cli.run(*args, "--on-error", "return", code=3)
    assert "1 of them failed" in result.stderr
    found = rows(out) if format == "csv" else [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [row["label"] or None for row in found] == ["NEUTRAL", None, "GOOD"]
    assert message in found[1]["error"]
    out.unlink()
    error = cli.run(*args, code=1).stderr.splitlines()[-1]
    assert re.match(rf"error: row 2 \(line 3\): .*{re.escape(message)}" if name.endswith(("csv", "tsv")) else
                    rf"error: row 2 \(line 2\): .*{re.escape(message)}", error)  # fmt: skip


@pytest.mark.parametrize("source", ["-", "fifo"])
@pytest.mark.parametrize(
    ("format", "header", "line"),
    [
        ("csv", "text,id\n", "good,{}\n"),
        ("tsv", "text\tid\n", "good\t{}\n"),
        ("jsonl", "", '{{"text": "good", "id": {}}}\n'),
        ("text", "", "good {}\n"),
    ],
)
def test_a_stream_is_read_once(cli: FakeCLI, tmp_path: Path, source: str, format: str, header: str, line: str) -> None:
    content = header + "".join(line.format(number) for number in range(3000))
    args: tuple[Any, ...] = ("text-classification", "--format", format, "--column", "text", "-o", tmp_path / "o.jsonl")
    if source == "-":
        cli.run(*args, "--input", "-", stdin=content)
    else:
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        writer = threading.Thread(target=fifo.write_text, args=(content,))
        writer.start()
        cli.run(*args, "--input", fifo)
        writer.join()
    found = [json.loads(each) for each in (tmp_path / "o.jsonl").read_text().splitlines()]
    numbers = [int(row["text"].split()[1] if format == "text" else row["id"]) for row in found]
    assert numbers == list(range(3000))
    assert {row["label"] for row in found} == {"GOOD"}


def test_a_stream_has_no_extension(cli: FakeCLI) -> None:
    result = cli.run("text-classification", "--input", "-", stdin="text\ngood\n", code=1)
    assert "give --format csv, tsv, jsonl or text" in result.stderr
    assert cli.loaded == []


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl"])
@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, ValueError])
def test_resume(cli: FakeCLI, tmp_path: Path, name: str, stop: type[BaseException]) -> None:
    content = "id,text\n" + "".join(f'{number},"good, ""ü""\n{number}"\n' for number in range(200))
    source, out = reviews(tmp_path, content), tmp_path / name
    seen: list[str] = []

    def answer(value: str) -> dict:
        if len(seen) == 120:
            seen.append("stop")
            raise stop
        seen.append(value)
        return classify(value)

    cli.answer = answer
    args = ("text-classification", "--input", source, "--column", "text", "--output", out)
    CliRunner().invoke(main, ["run", *map(str, args)])
    assert not out.exists()
    (part,) = tmp_path.glob(f".{name}.*.part")
    with part.open("ab") as file:
        file.write(b'119,"half a r')  # as after a crash of the machine
    seen.append("go on")
    result = cli.run(*args, "--resume")
    assert "80 rows in" in result.stderr
    found = rows(out) if name == "out.csv" else [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [row["id"] for row in found] == [str(number) for number in range(200)]
    assert {row["label"] for row in found} == {"GOOD"}
    assert sorted(tmp_path.iterdir()) == sorted([source, out])


@pytest.fixture
def heard_signals() -> Iterator[None]:
    """Signals that end a program as in a terminal, also where the tests run under nohup."""
    usual = {signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("heard_signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_signals_keep_finished_rows(cli: FakeCLI, tmp_path: Path, number: int, code: int) -> None:
    source, out = reviews(tmp_path, "text\n" + "good\n" * 6 + "stop\n" + "good\n" * 9), tmp_path / "out.csv"
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]

    def answer(value: str) -> dict:
        if value == "stop" and len(cli.loaded) == 1:
            os.kill(os.getpid(), number)
        return classify(value)

    cli.answer = answer
    args = ("text-classification", "--input", source, "--output", out)
    assert "6 rows are finished and kept in" in cli.run(*args, code=code).stderr
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)] == before
    assert "10 rows in" in cli.run(*args, "--resume").stderr
    assert len(rows(out)) == 16


def test_an_ignored_signal_stays_ignored(cli: FakeCLI) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        cli.answer = lambda value: [os.kill(os.getpid(), signal.SIGHUP), classify(value)][1]
        assert cli.run("text-classification", "good").stdout.startswith("GOOD")
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141, ""),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "error: No space left on device\n"),
    ],
)
def test_an_error_of_writing_is_not_the_inputs(
    cli: FakeCLI, monkeypatch: pytest.MonkeyPatch, error: OSError, code: int, message: str
) -> None:
    class Streaming:
        model = SimpleNamespace(config=SimpleNamespace(id2label={}))

        def can_stream(self, **params: Any) -> bool:
            return True

        def stream(self, value: str, **params: Any) -> Any:
            yield from ("one", " two")

    def fail(text: str = "", **options: Any) -> None:
        raise error

    cli.load = lambda *args, **kwargs: Streaming()
    monkeypatch.setattr(streaming, "echo", fail)
    for options in ([], ["--on-error", "return"]):
        assert cli.run("text-generation", "a", "b", *options, code=code).stderr == message


def test_resume_does_not_mix_jobs(cli: FakeCLI, tmp_path: Path) -> None:
    source, out = reviews(tmp_path, "text\n" + "good\n" * 9 + "bad\n"), tmp_path / "out.csv"
    args = ("text-classification", "--input", source, "--output", out)
    cli.run(*args, code=1)
    assert "another model or other options" in cli.run(*args, "--resume", "-m", "other", code=1).stderr
    changed = source.read_text().replace("good", "well", 1)
    source.write_text(changed.replace("bad", "good"))
    assert "row 1 of" in cli.run(*args, "--resume", code=1).stderr
    source.write_text(changed.replace("well", "good", 1).replace("bad", "good"))
    cli.run(*args, "--resume")
    assert [row["label"] for row in rows(out)] == ["GOOD"] * 10
    assert "--resume needs --output" in cli.run("text-classification", "--input", source, "--resume", code=2).stderr
    draw = ("--resume", "-o", out, "--draw", tmp_path / "d")
    assert "does not go with --draw" in cli.run("object-detection", "--input", source, *draw, code=2).stderr
    assert "--resume needs --input" in cli.run("text-classification", "good", "--resume", code=2).stderr


def test_stdin_that_is_not_text(cli: FakeCLI) -> None:
    arguments = ["run", "text-classification", "-", "--on-error", "return"]
    result = CliRunner().invoke(main, arguments, input=b"good\ncaf\xe9\nso\n")
    assert result.exit_code == 3
    assert result.stdout.splitlines()[1] == "error: input 2: byte 0xe9 is not UTF-8"
    assert cli.inputs == ["good", "so"]


def test_too_long_a_text(cli: FakeCLI) -> None:
    def answer(value: str) -> dict:
        raise ValueError("the input has 600 tokens and the model takes at most 512: pass truncation=True to cut it")

    cli.answer = answer
    assert cli.run("text-classification", "a", code=1).stderr == (
        "error: input 1: the input has 600 tokens and the model takes at most 512: pass -p truncation=true to cut it\n"
    )


def test_formulas_are_escaped_where_asked(cli: FakeCLI, tmp_path: Path) -> None:
    source = reviews(tmp_path, "text\n=good\n")
    args = ("text-classification", "--input", source)
    assert cli.run(*args).stdout.splitlines()[1].startswith("=good,")
    assert cli.run(*args, "--escape-formulas").stdout.splitlines()[1].startswith("'=good,")


def test_no_control_character_reaches_the_terminal(cli: FakeCLI, caplog: pytest.LogCaptureFixture) -> None:
    evil = "\x1b]0;x\x07\r\x9b31m\u202e\x7f"

    def answer(value: str) -> dict:
        logging.getLogger("onnxpipe").warning("label %s", evil)
        warnings.warn(f"warned {evil}", stacklevel=1)
        if value == "bad":
            raise ValueError(f"failed {evil}")
        return {"label": f"GOOD{evil}", "score": 0.5}

    cli.answer = answer
    for args in (["good"], ["good", "--json"], ["bad", "--on-error", "return"], ["bad"], ["-p", f"top_k={evil}", "a"]):
        result = CliRunner().invoke(main, ["run", "text-classification", *args])
        shown = result.stdout + result.stderr
        assert not set(evil) & set(shown) - set("]0;x31m"), args
        assert "\\x1b" in shown or "\\u001b" in shown


@pytest.mark.parametrize(
    ("task", "args", "answer", "expected"),
    [
        ("text-classification", ["--param", "top_k=null"], [{"label": "A", "score": 0.5}, {"label": "B", "score": 0.1}],
         {"label_1": "A", "score_1": "0.5", "label_2": "B", "score_2": "0.1"}),
        ("ner", [], [{"word": "x", "score": np.float32(0.5)}], {"entities": '[{"word": "x", "score": 0.5}]'}),
        ("question-answering", ["--question", "q", "--column", "text"],
         {"score": 0.5, "start": 1, "end": 2, "answer": "a"},
         {"answer": "a", "score": "0.5", "start": "1", "end": "2"}),
        ("question-answering", ["--question", "q", "--column", "text", "-p", "top_k=2"],
         {"score": 0.5, "start": 1, "end": 2, "answer": "a"},
         {"answer_1": "a", "score_1": "0.5", "start_1": "1", "end_1": "2",
          "answer_2": "", "score_2": "", "start_2": "", "end_2": ""}),
        ("zero-shot-classification", ["--labels", "x,y"],
         {"sequence": "s", "labels": ["y", "x"], "scores": [0.75, 0.25]},
         {"label": "y", "score": "0.75", "scores": '{"y": 0.75, "x": 0.25}'}),
        ("fill-mask", [], [{"score": 0.5, "token": 1, "token_str": "t", "sequence": "s"}],
         {"token_str": "t", "score": "0.5"}),
        ("fill-mask", [], [[{"score": 0.5, "token_str": "t"}], [{"score": 0.25, "token_str": "u"}]],
         {"token_str": '["t", "u"]', "score": "[0.5, 0.25]"}),
        ("embedding", [], np.array([0.5, 1], np.float32), {"embedding": "[0.5, 1.0]"}),
        ("feature-extraction", [], [[[0.5], [1.0]]], {"features": "[[0.5], [1.0]]"}),
        ("sentence-similarity", ["--query", "q", "--column", "text"], [0.5], {"score": "0.5"}),
        ("text-ranking", ["--query", "q", "--column", "text"], [{"index": 0, "score": 0.5, "document": "d"}],
         {"index": "0", "score": "0.5", "ranking": '[{"index": 0, "score": 0.5}]'}),
    ],
)  # fmt: skip
def test_result_columns(cli: FakeCLI, tmp_path: Path, task: str, args: list[str], answer: Any, expected: dict) -> None:
    source, out = reviews(tmp_path), tmp_path / "out.csv"
    cli.answer = lambda value: answer
    cli.run(task, "--input", source, "--output", out, *args)
    assert rows(out)[0] == {"id": "1", "text": "so good", **expected}


@pytest.mark.parametrize(
    ("task", "header", "args", "expected"),
    [
        ("text-classification", "p,h", ["--column", "text=p,text_pair=h"], {"text": "x", "text_pair": "y"}),
        ("question-answering", "q,c", ["--column", "question=q,context=c"], {"question": "x", "context": "y"}),
        ("question-answering", "question,context", [], {"question": "x", "context": "y"}),
        ("question-answering", "question,n", ["--context", "c", "--column", "question"],
         {"question": "x", "context": "c"}),
        ("sentence-similarity", "a,b", ["--column", "source_sentence=a,sentences=b"],
         {"source_sentence": "x", "sentences": ["y"]}),
        ("text-ranking", "text,n", ["--query", "q"], {"query": "q", "documents": ["x"]}),
        ("text-classification", "a=b,n", ["--column", "a=b"], "x"),
    ],
)  # fmt: skip
def test_columns_of_inputs(
    cli: FakeCLI, tmp_path: Path, task: str, header: str, args: list[str], expected: Any
) -> None:
    source = reviews(tmp_path, f"{header}\nx,y\n")
    cli.answer = lambda value: []
    cli.run(task, "--input", source, "--output", tmp_path / "out.jsonl", *args)
    assert cli.pipe is not None
    assert cli.pipe.inputs == [expected]


def test_lists_in_cells(cli: FakeCLI, tmp_path: Path) -> None:
    source = reviews(tmp_path, 'query,documents\nq,"[""a"", ""b""]"\nq,[a\n')
    cli.answer = lambda value: []
    cli.run("text-ranking", "--input", source, "--output", tmp_path / "out.csv", "--on-error", "return", code=3)
    assert cli.pipe is not None
    assert cli.pipe.inputs == [{"query": "q", "documents": ["a", "b"]}]
    assert "is not a JSON list" in rows(tmp_path / "out.csv")[1]["error"]


def test_a_column_without_a_name(cli: FakeCLI, tmp_path: Path) -> None:
    source = reviews(tmp_path)
    cli.run("text-classification", "--input", source, "--column", "text=,text_pair=id", code=2)


def test_flat_memory(cli: FakeCLI, tmp_path: Path) -> None:
    """Rows are read as they are answered."""
    source = reviews(tmp_path, "text\n" + "good\n" * 1000)
    read_ahead = []

    def answer(value: str) -> dict:
        assert cli.pipe is not None
        read_ahead.append(len(cli.pipe.inputs) - len(read_ahead))
        return classify(value)

    cli.answer = answer
    cli.run("text-classification", "--input", source, "--output", tmp_path / "out.csv")
    assert len(read_ahead) == 1000
    assert max(read_ahead) <= AHEAD
