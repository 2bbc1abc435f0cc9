"""The command line of models that generate text: `onnxpipe run` of their tasks, and `onnxpipe chat`."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from onnxpipe import SummarizationPipeline, Text2TextGenerationPipeline, TextGenerationPipeline, TranslationPipeline
from unit.cli.fakes import FakeCLI
from unit.fakes import TEMPLATE, FakeCausal, FakeSeq2Seq, tokenizer

GREEDY = ("-p", "do_sample=false", "-p", "max_new_tokens=8")
CLASSES = {
    "text-generation": (TextGenerationPipeline, FakeCausal),
    "text2text-generation": (Text2TextGenerationPipeline, FakeSeq2Seq),
    "summarization": (SummarizationPipeline, FakeSeq2Seq),
    "translation": (TranslationPipeline, FakeSeq2Seq),
}


def make(task: str, template: str | None = TEMPLATE) -> Any:
    cls, model = CLASSES[task.split("_")[0]]
    return cls(model(), tokenizer(template=template), task=task)


@pytest.fixture
def cli(cli: FakeCLI) -> FakeCLI:
    cli.load = lambda task, *args, **kwargs: make(task)
    return cli


def text_of(prompt: Any, **kw: Any) -> Any:
    return make("text-generation")(prompt, **{"do_sample": False, "max_new_tokens": 8, **kw})[0]["generated_text"]


def visible(text: str) -> str:
    return "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)


# -- run ---
def test_text_as_it_comes(cli: FakeCLI) -> None:
    result = cli.run("text-generation", "hello", "a", "-m", "M", *GREEDY)
    assert result.stdout == f"{visible(text_of('hello'))}\n\n{visible(text_of('a'))}\n"
    assert len(cli.pipe.model.calls) == 2
    assert cli.pipe.model.calls[0]["streamer"]
    result = cli.run("text-generation", "hello", "-m", "M", "-p", "return_full_text=false", *GREEDY)
    assert result.stdout == visible(text_of("hello")[5:]) + "\n"


def test_not_as_it_comes(cli: FakeCLI) -> None:
    result = cli.run("text-generation", "hello", "--json", *GREEDY)
    assert json.loads(result.stdout) == [{"generated_text": text_of("hello")}]
    result = cli.run("text-generation", "hello", "a", "--batch-size", "2", *GREEDY)
    assert "streamer" not in cli.pipe.model.calls[0]
    assert result.stdout == f"{visible(text_of('hello'))}\n{visible(text_of('a'))}\n"
    result = cli.run("text-generation", "hello", "-p", "num_beams=2", "-p", "num_return_sequences=2", *GREEDY)
    assert result.stdout.count("hello") == 2


def test_a_chat_as_an_input(cli: FakeCLI) -> None:
    chat = [{"role": "user", "content": "hello"}]
    for given in (chat, chat[0]):
        result = cli.run("text-generation", json.dumps(given), *GREEDY)
        assert result.stdout == visible(text_of(chat)[-1]["content"]) + "\n"
    result = cli.run("text-generation", json.dumps(chat), "--batch-size", "1", *GREEDY)
    assert result.stdout == visible(text_of(chat)[-1]["content"]) + "\n"
    result = cli.run("text-generation", "{not json", "[1, 2]", *GREEDY)
    assert result.stdout.startswith("{not json")
    assert "\n[1, 2]" in result.stdout


def test_a_bad_prompt(cli: FakeCLI) -> None:
    cli.load = lambda task, *args, **kwargs: make(task, None)
    chat = json.dumps([{"role": "user", "content": "hello"}])
    result = cli.run("text-generation", "a", chat, *GREEDY, code=1)
    assert "error: input 2: Cannot use chat template functions" in result.stderr
    result = cli.run("text-generation", chat, "a", "--on-error", "return", *GREEDY, code=3)
    assert result.stdout.startswith("error: input 1: Cannot use chat template")
    assert result.stdout.endswith(f"\n\n{visible(text_of('a'))}\n")
    result = cli.run("text-generation", "a", "-p", "max_new_tokenz=3", code=1)
    assert "max_new_tokens" in result.stderr


def test_lines_in_lines_out(cli: FakeCLI) -> None:
    for task, key in (("text2text-generation", "generated_text"), ("summarization", "summary_text"),
                      ("translation", "translation_text")):  # fmt: skip
        answers = make(task)(["hello", "a"], max_new_tokens=5)
        result = cli.run(task, "-", "-p", "max_new_tokens=5", stdin="hello\na\n")
        assert result.stdout == "".join(visible(answer[key]) + "\n" for answer in answers)


def test_languages(cli: FakeCLI) -> None:
    cli.run("translation_en_to_fr", "hello", "-m", "M", "-p", "max_new_tokens=3")
    assert cli.loaded[-1][0] == ("translation_en_to_fr", "M")
    cli.run("translation", "hello", "--src-lang", "eng_Latn", "--tgt-lang", "fra_Latn", "-p", "max_new_tokens=3")
    assert cli.loaded[-1][0][0] == "translation"
    result = cli.run("summarization", "hello", "--tgt-lang", "fr", code=2)
    assert "--tgt-lang is not for summarization; it is only for translation" in result.stderr
    result = cli.run("translation_en_fr", "hello", code=1)
    assert "use 'translation_XX_to_YY' format" in result.stderr


@pytest.mark.parametrize(
    ("task", "params", "columns"),
    [
        ("text-generation", GREEDY, ["generated_text"]),
        ("text2text-generation", ("-p", "max_new_tokens=3"), ["generated_text"]),
        ("summarization", ("-p", "max_new_tokens=3"), ["summary_text"]),
        ("translation", ("-p", "max_new_tokens=3", "-p", "num_return_sequences=2"),
         ["translation_text_1", "translation_text_2"]),
        ("text-generation", (*GREEDY, "-p", "return_tensors=true"), ["generated_token_ids"]),
    ],
)  # fmt: skip
def test_tables(cli: FakeCLI, tmp_path: Path, task: str, params: tuple[str, ...], columns: list[str]) -> None:
    table, out = tmp_path / "in.csv", tmp_path / "out.csv"
    table.write_text("text,n\nhello,1\nonce upon,2\n")
    cli.run(task, "--input", table, "--column", "text", "--output", out, *params)
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["text", "n", *columns]
    assert all(row[name] for row in rows for name in columns)
    if columns == ["generated_text"] and task == "text-generation":
        assert rows[1]["generated_text"] == text_of("once upon")


def test_a_table_of_chats(cli: FakeCLI, tmp_path: Path) -> None:
    table = tmp_path / "in.jsonl"
    table.write_text(json.dumps({"c": [{"role": "user", "content": "hello"}]}) + "\n")
    result = cli.run("text-generation", "--input", table, "--column", "c", *GREEDY)
    assert json.loads(result.stdout)["generated_text"][1]["role"] == "assistant"


# -- chat ---
def test_a_conversation(cli: FakeCLI, tmp_path: Path) -> None:
    saved = tmp_path / "talk.json"
    lines = ["hello", "", "go on", "/system", f"/save {saved}", "/clear", "//etc", "/exit", "never"]
    result = cli.invoke("chat", "-m", "M", "--system", "be brief", *GREEDY, stdin="\n".join(lines))
    talk = json.loads(saved.read_text())
    assert [message["role"] for message in talk] == ["system", "user", "assistant", "user", "assistant"]
    first = text_of(talk[:2])[-1]["content"]
    assert talk[2]["content"] == first
    assert talk[4]["content"] == text_of(talk[:4])[-1]["content"]
    assert result.stdout.startswith(visible(first) + "\n")
    assert "be brief\n" in result.stdout
    prompts = [cli.pipe.tokenizer.decode(call["input_ids"][0]) for call in cli.pipe.model.calls]
    assert prompts[0] == "s:be brief|u:hello|a:"
    assert prompts[2] == "s:be brief|u:/etc|a:"
    assert len(prompts) == 3
    assert cli.pipe.model.calls[0]["max_new_tokens"] == 8


def test_lines_that_belong_together(cli: FakeCLI) -> None:
    cli.invoke("chat", "-m", "M", *GREEDY, stdin='one \\\ntwo\n"""\nthree\n\nfour\n"""\n/system be kind\nhello\n')
    prompts = [cli.pipe.tokenizer.decode(call["input_ids"][0]) for call in cli.pipe.model.calls]
    assert prompts[0] == "u:one \ntwo|a:"
    assert prompts[1].endswith("u:three\n\nfour|a:")
    assert prompts[2] == "s:be kind|u:hello|a:"


def test_long_answers_unless_somebody_says_otherwise(cli: FakeCLI) -> None:
    cli.invoke("chat", "-m", "M", stdin="/help\nhello\n")
    assert cli.pipe.model.calls[0]["max_new_tokens"] == 1024


def test_what_cannot_chat(cli: FakeCLI) -> None:
    result = cli.invoke("chat", "-m", "M", stdin="/nothing\n", code=1)
    assert "no command /nothing" in result.stderr
    cli.load = lambda task, *args, **kwargs: make(task, None)
    result = cli.invoke("chat", "-m", "M", stdin="hello\n", code=1)
    assert result.stderr.startswith("error: M has no chat template")
    cli.load = lambda task, *args, **kwargs: make(task, "{{ raise_exception('no') }}")
    assert cli.invoke("chat", "-m", "M", stdin="hello\n", code=1).stderr.startswith("error: ")


def test_images_are_for_models_that_see_them(cli: FakeCLI, tmp_path: Path) -> None:
    result = cli.invoke("chat", "-m", "M", stdin=f"/image {tmp_path / 'photo.png'}\n", code=1)
    assert "sees no images" in result.stderr


TERMINAL = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits that it is ignored
sys.path.insert(0, {tests!r})
import onnxpipe.factory
from unit.fakes import TEMPLATE, FakeCausal, tokenizer
from onnxpipe.tasks.text_generation import TextGenerationPipeline
from onnxpipe.cli import main

def load(*args, **kwargs):
    model = FakeCausal()
    model.pause = 0.02
    return TextGenerationPipeline(model, tokenizer(template=TEMPLATE), task="text-generation")

onnxpipe.factory.pipeline = load
onnxpipe.factory.tasks_of = lambda *args, **kwargs: ()
main(["chat", "-m", "M", "-p", "max_new_tokens=100000", "-p", "temperature=30.0", "-p", "eos_token_id=null"])
"""


@pytest.mark.skipif(os.name != "posix", reason="needs a terminal")
def test_ctrl_c_stops_an_answer_and_ctrl_d_leaves() -> None:
    mine, theirs = pty.openpty()
    code = textwrap.dedent(TERMINAL).format(tests=str(Path(__file__).parents[2]))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as child:
        try:
            wait_for(mine, "help.*> ")
            os.write(mine, b"hello\n")
            wait_for(mine, "hello")
            time.sleep(0.7)  # it generates
            child.send_signal(signal.SIGINT)
            wait_for(mine, r"\(stopped\).*> ")
            time.sleep(
                0.5
            )  # between showing the prompt and waiting for input, readline receives no signal till a key comes
            child.send_signal(signal.SIGINT)  # at the prompt
            wait_for(mine, "Ctrl-D or /exit leaves.*> ")
            os.write(mine, b"\x04")
            assert child.wait(20) == 0
        finally:
            child.kill()
            os.close(mine)
            os.close(theirs)


def wait_for(terminal: int, pattern: str, seconds: float = 30) -> None:
    seen, end = "", time.monotonic() + seconds
    while not re.search(pattern, seen, re.DOTALL):
        assert time.monotonic() < end, f"no {pattern!r} in {seen!r}"
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 4096).decode(errors="replace")
