"""`onnxpipe serve` as a process: the port, readiness, an answer, SIGTERM; and what it refuses to start with."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest
from click.testing import CliRunner

from onnxpipe import TextClassificationPipeline, TextGenerationPipeline
from onnxpipe.cli import main
from onnxpipe.cli.serve.models import ModelSource, check_names, parse_source, read_sources, threads_of
from onnxpipe.errors import UnknownArgumentError, UnsupportedError
from onnxpipe.serving import packages
from unit.tasks.test_embedding import folder

pytest.importorskip("uvicorn")
pytest.importorskip("starlette")

from onnxpipe.cli.serve import run
from onnxpipe.cli.serve.run import _listen
from onnxpipe.serving.settings import ServeSettings


def ask(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def _until(stream: IO[str], start: str) -> list[str]:
    """Read the lines before the one that begins with `start`."""
    lines: list[str] = []
    for line in stream:
        if line.startswith(start):
            return lines
        lines.append(line)
    raise AssertionError(f"the process ended without {start!r}: {lines}")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_process_answers_and_ends_in_order(tmp_path: Path) -> None:
    model = folder(tmp_path / "tea", "sentence_embedding")
    command = [sys.executable, "-m", "onnxpipe", "serve", f"{model}:embedding", "--port", "0", "--device", "cpu"]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a process started by nohup ignores it, and so do its own
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        signal.signal(signal.SIGHUP, before)
        assert process.stderr is not None
        try:
            ready = next(line for line in process.stderr if line.startswith("serving "))
            url = re.search(r"http://\S+", ready)[0]  # type: ignore[index]
            assert "tea (embedding, float32)" in ready
            assert ask(f"{url}/health") == {"status": "ok"}
            assert ask(url, {"inputs": "tea cup"}) == [4, 6]
            with pytest.raises(urllib.error.HTTPError, match="400"):
                ask(url, {"inputs": 5})
            process.send_signal(signal.SIGHUP)
            lines = _until(process.stderr, "the models were loaded anew\n")
            assert ask(url, {"inputs": "cup"}) == [3, 4]
            (model / "config.json").write_text("{", encoding="utf-8")
            process.send_signal(signal.SIGHUP)
            lines += _until(process.stderr, "error: the models were not loaded anew")
            assert ask(url, {"inputs": "cup"}) == [3, 4]  # by the old ones
            process.send_signal(signal.SIGTERM)
            rest = process.stderr.read()
        finally:
            process.kill()
    assert process.wait() == 128 + signal.SIGTERM
    log = "".join(lines) + rest
    assert [json.loads(line)["code"] for line in log.splitlines() if line.startswith("{")] == [200, 200, 400, 200, 200]
    assert "Traceback" not in log


def test_answers_do_not_wait_for_acknowledgements() -> None:
    with _listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_model_that_cannot_be_loaded_ends_the_process(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["serve", str(tmp_path), "--port", "0", "--offline"])
    assert done.exit_code == 1 and "error: " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a model"),
        (["m", "--host", "0.0.0.0"], "set ONNXPIPE_API_KEY"),
        (["a", "b", "--name", "c"], "--name is for one model"),
        (["x=a", "x=b"], "two models are called x"),
    ],
)
def test_what_it_does_not_start_with(arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONNXPIPE_API_KEY", raising=False)
    done = CliRunner().invoke(main, ["serve", *arguments])
    assert done.exit_code and message in done.stderr


def test_without_the_extra_the_command_says_which_line_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name == "uvicorn" else SimpleNamespace())
    done = CliRunner().invoke(main, ["serve", "model"])
    assert done.exit_code == 1 and 'pip install "onnxpipe[serve]"' in done.stderr and "uvicorn" in done.stderr


def test_importing_onnxpipe_imports_no_web_stack() -> None:
    stack = ("starlette", "uvicorn", "prometheus_client", "websockets")
    code = f"import sys, onnxpipe, onnxpipe.cli; print([name for name in {stack} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_models_are_named_on_the_command_line_or_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    there = str(tmp_path / "bundle")
    assert parse_source(there) == ModelSource("bundle", there)
    assert parse_source(f"b={there}:ner") == ModelSource("b", there, "ner")
    assert parse_source("org/model", dtype="int8") == ModelSource("org/model", "org/model", dtype="int8")
    assert parse_source("t=org/model:translation_en_to_fr").task == "translation_en_to_fr"
    file = tmp_path / "serve.toml"
    file.write_text('[models.a]\nmodel = "x"\ntask = "ner"\nworkers = 2\n[models.b]\nmodel = "y"\n', encoding="utf-8")
    assert read_sources(file, {"dtype": "q4"}) == [
        ModelSource("a", "x", "ner", "q4", workers=2), ModelSource("b", "y", dtype="q4")
    ]  # fmt: skip
    for text, error in (
        ("[models.a]\ntask = 'ner'", UnsupportedError), ("[models.a]\nmodel='x'\nworker=1", UnknownArgumentError),
        ("[model.a]", UnknownArgumentError), ("[", UnsupportedError),
    ):  # fmt: skip
        file.write_text(text, encoding="utf-8")
        with pytest.raises(error):
            read_sources(file, {})
    with pytest.raises(UnsupportedError, match="called a"):
        check_names([ModelSource("a", "x"), ModelSource("a", "y")])


def test_threads_suit_the_task() -> None:
    assert threads_of(ModelSource("a", "x"), TextClassificationPipeline, 4) == (4, 1)
    assert threads_of(ModelSource("a", "x", threads=2), TextClassificationPipeline, 4) == (2, 2)
    assert threads_of(ModelSource("a", "x"), TextGenerationPipeline, 4) == (1, 4)
    assert threads_of(ModelSource("a", "x", workers=2), TextGenerationPipeline, 4) == (2, 2)


def test_arenas_are_limited_before_threads_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    class AskedError(Exception):
        pass

    def limit_arenas() -> None:
        raise AskedError

    def threads(*_: Any) -> None:
        raise AssertionError("too late")

    monkeypatch.setattr(run, "limit_arenas", limit_arenas)
    monkeypatch.setattr(run, "ServerState", threads)
    with pytest.raises(AskedError):
        run.serve([], ServeSettings(), {}, host="127.0.0.1", port=0, metrics_port=None, verify=False, quiet=True)
