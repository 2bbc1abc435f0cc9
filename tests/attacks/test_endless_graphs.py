"""A graph that loops for ever is stopped after `run_timeout`, and nothing else is."""

from __future__ import annotations

import multiprocessing
import pickle
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

pytest.importorskip("onnx")
from click.testing import CliRunner

from attacks.graphs import endless, weights, write_folder
from onnxpipe import AutoModel, ItemError, pipeline
from onnxpipe.cli import main
from onnxpipe.engine import Device, Session, open_session, run_limit
from onnxpipe.engine.binding import Binding
from onnxpipe.errors import OnnxPipeError, RunTimeoutError

CPU = Device("cpu")
#: Seconds in which an endless run is stopped, and seconds that no run of these graphs takes.
SHORT, LONG = 0.2, 3600.0
EVER = 7


def feeds(*tokens: int) -> dict[str, Any]:
    return {"input_ids": np.array([tokens]), "attention_mask": np.ones((1, len(tokens)), np.int64)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "one": 1, "two": 2, "ever": EVER}, "[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    files = {
        "onnx/model.onnx": endless(EVER),
        "tokenizer.json": words.to_str(),
        "tokenizer_config.json": {"tokenizer_class": "BertTokenizerFast", "pad_token": "[UNK]"},
    }
    return write_folder(tmp_path / "model", files)


def session(folder: Path, limit: float | None = SHORT) -> Session:
    return open_session(folder / "onnx/model.onnx", root=folder, device=CPU, run_timeout=limit)


def the_watcher() -> threading.Thread | None:
    return next((thread for thread in threading.enumerate() if thread.name == "onnxpipe-run-timeout"), None)


def test_an_endless_run_is_stopped_and_the_session_goes_on(folder: Path) -> None:
    opened = session(folder)
    stopped = r"model\.onnx took longer than run_timeout=0\.2 seconds and was stopped.* input_ids \(1, 2\)"
    with pytest.raises(RunTimeoutError, match=stopped):
        opened.run(feeds(1, EVER))
    opened.run_timeout = LONG
    np.testing.assert_array_equal(opened.run(feeds(1, 2))["last_hidden_state"][0], weights()[[1, 2]])


def test_a_bound_run_is_stopped_and_its_binding_goes_on(folder: Path) -> None:
    opened = session(folder)
    binding = Binding(opened)
    with pytest.raises(RunTimeoutError, match="run_timeout"):
        binding.run(feeds(EVER), {"last_hidden_state": None})
    opened.run_timeout = LONG
    np.testing.assert_array_equal(
        binding.run(feeds(3), {"last_hidden_state": None})["last_hidden_state"][0], weights()[[3]]
    )


def test_of_runs_at_once_only_the_late_one_is_stopped(folder: Path) -> None:
    patient = session(folder, LONG)
    answers: list[Any] = []
    others = [threading.Thread(target=lambda: answers.append(patient.run(feeds(1, 2)))) for _ in range(3)]
    for other in others:
        other.start()
    with pytest.raises(RunTimeoutError):
        session(folder).run(feeds(EVER))
    for other in others:
        other.join()
    assert [answer["last_hidden_state"].shape for answer in answers] == [(1, 2, 4)] * 3


def test_the_rest_of_a_list_is_answered(folder: Path) -> None:
    pipe = pipeline("feature-extraction", folder, device="cpu", run_timeout=1.0)
    first, second, third = pipe(["one", "ever two", "two one"], on_error="return")
    assert isinstance(second, ItemError)
    assert isinstance(second.error, RunTimeoutError)
    assert second.index == 1
    np.testing.assert_allclose(first[0], weights()[[1]])
    np.testing.assert_allclose(third[0], weights()[[2, 1]])
    with pytest.raises(TimeoutError):
        pipe("ever")


def test_no_thread_stays_when_nothing_runs(folder: Path) -> None:
    opened = session(folder, LONG)
    opened.run(feeds(1))
    watcher = the_watcher()
    assert watcher is not None
    watcher.join(60)
    assert not watcher.is_alive()
    opened.run(feeds(2))  # and another one comes when it is needed again
    assert the_watcher() is not None


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_has_a_watch_of_its_own(folder: Path) -> None:
    session(folder, LONG).run(feeds(1))

    def child(sender: Any) -> None:
        options = SimpleNamespace(terminate=False)
        run_limit._watch.begin(options, 0.01)
        watcher = the_watcher()
        while watcher is not None and not options.terminate:
            watcher.join(0.01)
        sender.send(options.terminate)

    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=child, args=(sender,))
    process.start()
    assert receiver.poll(60)
    assert receiver.recv() is True
    process.join()


def test_without_a_limit_there_are_no_run_options(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_limit, "_watch", None)  # whatever would be watched fails
    session(folder, None).run(feeds(1))


def test_a_copy_keeps_the_limit(folder: Path) -> None:
    assert pickle.loads(pickle.dumps(session(folder))).run_timeout == SHORT  # noqa: S301


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf"), True, "5", [1]])
def test_limits_that_are_none_are_refused_before_the_model_is_sought(limit: Any) -> None:
    with pytest.raises(ValueError, match="run_timeout="):
        pipeline("feature-extraction", "no/such", run_timeout=limit)
    with pytest.raises(ValueError, match="run_timeout="):
        AutoModel.from_pretrained("no/such", run_timeout=limit)


def test_model_kwargs_take_it_too(folder: Path) -> None:
    pipe = pipeline("feature-extraction", folder, device="cpu", model_kwargs={"run_timeout": SHORT})
    with pytest.raises(OnnxPipeError, match=r"run_timeout=0\.2"):
        pipe("ever")


def test_the_command_line_has_it(folder: Path) -> None:
    words = ["run", "feature-extraction", "-m", str(folder), "--device", "cpu", "--run-timeout", "1", "--json"]
    done = CliRunner().invoke(main, [*words, "--on-error", "return", "one", "ever", "two"])
    lines = done.stdout.splitlines()
    assert ["RunTimeoutError" in line or "run_timeout=1 " in line for line in lines] == [False, True, False]
    assert done.exit_code == 3
    stopped = CliRunner().invoke(main, [*words, "ever"])
    assert stopped.exit_code == 1
    assert "--run-timeout" in stopped.stderr
