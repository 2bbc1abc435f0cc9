"""`onnxpipe bench`: what is timed, what is reported, and what counts as a change; the workers are stand-ins."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from tests.unit.cli.test_folders import add_int8, bundle  # noqa: F401 - a fixture

from onnxpipe.cli import main
from onnxpipe.cli.bench import inputs, measure, run, worker
from onnxpipe.cli.bench.figures import Benchmark, change, changes, table
from onnxpipe.cli.bench.load import Load, Loaded, highest_rate
from onnxpipe.errors import OnnxPipeError
from onnxpipe.tasks.registry import all_tasks, task_spec

pytest.importorskip("onnxruntime")


class Clock:
    """Time that passes only when a call takes some, or someone sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


def test_calls_alone_are_timed_until_the_time_is_over() -> None:
    clock = Clock()
    times = measure.alone(lambda: clock.pass_by(0.1), 0.75, clock)
    assert times == pytest.approx([0.1] * 8)
    assert len(measure.alone(lambda: clock.pass_by(9), 0.1, clock)) == 5


def test_an_open_loop_counts_from_when_a_call_was_due() -> None:
    clock = Clock()
    fast = measure.arriving(lambda: clock.pass_by(0.001), 10, 5, clock=clock, sleep=clock.pass_by)
    assert 30 < len(fast) < 70 and min(fast) == pytest.approx(0.001)
    clock = Clock()
    slow = measure.arriving(lambda: clock.pass_by(0.2), 10, 5, clock=clock, sleep=clock.pass_by)
    assert len(slow) == len(fast)  # as many arrive, however slow the model is
    assert slow[-1] > 0.8 * (0.2 * len(slow) - 5) > slow[0]  # and each waits for those before it


def loaded(serve: Any, work: str, *arguments: Any) -> Loaded:
    """What becomes of a load on a server that takes virtual time."""
    clock = Clock()

    async def send(body: bytes) -> int:
        json.loads(body)
        return serve(clock)

    async def sleep(seconds: float) -> None:
        due = clock() + seconds
        await asyncio.sleep(0)  # what was sent before is served first
        clock.pass_by(max(0.0, due - clock()))

    load = Load(send, '{"inputs": "{text}"}', clock=clock, sleep=sleep)
    return asyncio.run(getattr(load, work)(*arguments))


def test_requests_to_a_server_count_from_when_they_were_due() -> None:
    def slow(clock: Clock) -> int:
        clock.pass_by(0.2)
        return 200

    found = loaded(slow, "open", 10, 5)
    assert 30 < len(found.latencies) < 70 and found.latencies[-1] > 0.7 * (0.2 * len(found.latencies) - 5)
    assert found.rate == pytest.approx(5, rel=0.05)
    closed = loaded(slow, "closed", 1, 5)
    assert closed.latencies == pytest.approx([0.2] * len(closed.latencies))  # hides the waiting


def test_statuses_and_failures_of_a_server() -> None:
    calls = iter(range(10**6))

    def some(clock: Clock) -> int:
        number = next(calls)
        clock.pass_by(0.01)
        if number % 5 == 0:
            raise ConnectionResetError
        return 429 if number % 5 == 1 else 200

    found = loaded(some, "open", 10, 5)
    total = len(found.latencies) + len(found.refused) + found.failures["ConnectionResetError"]
    assert found.statuses == {200: len(found.latencies), 429: len(found.refused)} and len(found.refused) == total // 5
    assert not found.keeps(1000) and "429: " in str(found) and "ConnectionResetError" in found.document()["failures"]
    good = loaded(lambda clock: 200, "open", 10, 5)
    assert good.keeps(1) and good.document()["statuses"] == {"200": len(good.latencies)}


def test_the_highest_rate_that_keeps_an_objective() -> None:
    def load(rate: float) -> Loaded:
        return Loaded(1.0, [0.01 if rate <= 73 else 9.0], Counter({200: 1}))

    for first in (5.0, 200.0):
        assert 73 / 1.07 < highest_rate(load, first, 50) <= 73
    assert highest_rate(load, 1e6, 50) == 0  # not even a hundredth of it


def test_a_server_is_loaded_over_http(tmp_path: Path) -> None:
    bodies = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200 if self.headers["authorization"] == "Bearer k" else 401)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"2\r\n{}\r\n0\r\n\r\n")

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url, out = f"http://127.0.0.1:{server.server_port}/x?y=1", tmp_path / "load.json"
        call = ["bench", "serve", url, "--rate", "200", "--duration", "0.1", "-o", str(out)]
        done = CliRunner().invoke(main, [*call, "--key", "k"])
        assert done.exit_code == 0, done.output
        (load,) = json.loads(out.read_text(encoding="utf-8"))["loads"]
        assert load["rate"] == 200 and list(load["statuses"]) == ["200"]
        for options in ([], ["--objective", "50"]):  # ends at once: no rate would help
            refused = CliRunner().invoke(main, [*call, "--key", "other", *options])
            assert refused.exit_code == 1, refused.output
            assert "401: " in refused.stdout and "answered no request" in refused.stderr
            assert refused.stdout.count("rate ") == 1
        server.shutdown()
    assert all(8 <= len(body["inputs"].split()) <= 28 for body in bodies)
    refused = CliRunner().invoke(main, ["bench", "serve", "localhost:8000"])
    assert refused.exit_code == 1 and "not the URL of a server" in refused.stderr
    refused = CliRunner().invoke(main, ["bench", "serve", url, "--body", "{"])
    assert refused.exit_code == 1 and "not JSON" in refused.stderr
    refused = CliRunner().invoke(main, ["bench", "serve", url, "-o", str(tmp_path / "none" / "load.json")])
    assert refused.exit_code == 2 and "no folder" in refused.stderr


def test_percentiles() -> None:
    times = [float(n) for n in range(100, 0, -1)]
    assert [measure.percentile(times, share) for share in (0.5, 0.9, 0.99)] == [51, 91, 100]
    assert measure.percentile([3.0], 0.99) == 3


@pytest.mark.parametrize("spec", all_tasks(), ids=lambda spec: spec.name)
def test_every_task_has_an_input_without_files(spec: Any) -> None:
    pytest.importorskip("PIL")
    pytest.importorskip("av")
    call = inputs.sample(spec, None, {"extra": 1})
    assert call.params["extra"] == 1 and call.words
    assert not [ending for ending in (".jpg", ".png", ".flac", ".mp4", ".csv") if ending in str(call).lower()]
    if spec.text_key is not None:
        assert call.params["max_new_tokens"] == call.params["min_new_tokens"] == 32
    if call.can_batch:
        assert len(call.batch(3)) == 3


def test_calls_are_suited_to_the_model() -> None:
    pipe = SimpleNamespace(task="fill-mask", tokenizer=SimpleNamespace(mask_token="[MASK]"))
    call = inputs.sample(task_spec("fill-mask"), None, {}).suited_to(pipe)
    assert call.arguments == ("The capital of France is [MASK].",)
    enlarges = SimpleNamespace(task="image-to-image", generator=None)
    assert inputs.Sample((0,), {}, "").suited_to(enlarges) == inputs.Sample((0,), {}, "")
    generates = SimpleNamespace(task="image-to-image", generator=object())
    call = inputs.Sample((0,), {}, "an image").suited_to(generates)
    assert "prompt" in call.params and call.words == f"an image, {call.params['num_inference_steps']} steps"
    own = {"prompt": "mine", "num_inference_steps": 30}
    assert inputs.Sample((0,), own, "an image").suited_to(generates) == inputs.Sample((0,), own, "an image")
    speech = task_spec("automatic-speech-recognition")
    writes = SimpleNamespace(task=speech.name, model=SimpleNamespace(can_generate=lambda: True))
    call = inputs.sample(speech, None, {}).suited_to(writes)
    assert call.params["max_new_tokens"] == call.params["min_new_tokens"] == 32
    assert call.words.endswith(", 32 new tokens")
    for given, params in (
        (None, {"max_new_tokens": 5}),
        (None, {"generate_kwargs": {"max_new_tokens": 5}}),
        ("a.wav", {}),
    ):
        own_call = inputs.sample(speech, given, params)
        assert own_call.suited_to(writes) == own_call
    without = replace(task_spec("fill-mask"), example="")
    with pytest.raises(ValueError, match="pass an input with --input"):
        inputs.sample(without, None, {})


def test_inputs_of_the_user(tmp_path: Path) -> None:
    spec = task_spec("question-answering")
    assert inputs.sample(spec, '{"question": "q", "context": "c"}', {}).arguments[0]["question"] == "q"
    assert inputs.sample(task_spec("ner"), "a text", {}).arguments == ("a text",)
    (tmp_path / "a.jpg").write_bytes(b"")
    assert inputs.sample(task_spec("object-detection"), str(tmp_path / "a.jpg"), {}).arguments[0].endswith("a.jpg")
    assert task_spec("text-generation").text_key is not None
    assert inputs.sample(task_spec("text-generation"), "a", {"max_new_tokens": 5}).params == {"max_new_tokens": 5}


def test_only_changes_beyond_the_spread_count() -> None:
    assert change("alone, p50 (ms)", [10, 11, 12], [11.5, 13, 14]) is None  # they overlap
    assert change("alone, p50 (ms)", [10, 10, 10], [10.2, 10.2, 10.2]) is None  # too little
    slower = change("alone, p50 (ms)", [10, 11, 12], [20, 21, 22])
    assert slower and not slower.better and "WORSE: 11 before, 1.91 x" in str(slower)
    more = change("batch of 4, inputs (1/s)", [10, 11, 12], [20, 21, 22])
    assert more and more.better


class FakeWorker:
    """A setting that answers at once with times that depend on its dtype and on `speed`."""

    speed = 1.0

    def __init__(self, setting: Mapping[str, Any]) -> None:
        self.time = (0.004 if setting["dtype"] == "fp32" else 0.002) / self.speed
        self.cold = 0.5

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if request["do"] == "state":
            return {"memory": 100.0, "batches": True, "words": "an input", "dtype": "int8"}
        return {"times": [self.time * request.get("size", 1)] * 10}

    def close(self) -> None:
        """Nothing to end."""


@pytest.fixture
def folder(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """A bundle in fp32 and int8, timed by stand-ins."""
    add_int8(bundle)
    monkeypatch.setattr(run, "Worker", FakeWorker)
    monkeypatch.setattr(FakeWorker, "speed", 1.0)
    return bundle


def bench(*arguments: Any, code: int = 0) -> Any:
    result = CliRunner().invoke(main, ["bench", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def test_a_benchmark_is_written_and_compared(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    before = tmp_path / "before.json"
    first = bench(folder, "--dtype", "fp32,int8", "--threads", 1, "--batch", "1,4", "--rate", 20, "-o", before)
    assert "int8, 1 thread" in first.stdout and "at 20/s, p99 (ms)" in first.stdout
    settings = json.loads(before.read_text())["settings"]
    assert settings["fp32, 1 thread"]["alone, p50 (ms)"] == [4.0] * 3
    assert settings["int8, 1 thread"]["batch of 4, inputs (1/s)"] == pytest.approx([500.0] * 3)
    monkeypatch.setattr(FakeWorker, "speed", 0.5)
    page = tmp_path / "page.html"
    again = bench(folder, "--dtype", "int8", "--threads", 1, "--batch", 4, "--compare", before, "--html", page)
    assert "WORSE: 2 before, 2.00 x" in again.stdout and "better" not in again.stdout
    text = page.read_text("utf-8")
    assert text.count("<svg") == 4 and "WORSE" in text
    assert not [word for word in ("<script", "http://", "https://") if word in text.replace("http://www.w3.org", "")
                .replace("http://creativecommons.org", "").replace("http://purl.org", "")]  # fmt: skip


def test_names_in_a_page_are_escaped(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from onnxpipe.cli.bench.page import write_page

    made = Benchmark({"model": "<script>alert(1)</script>", "task": "a&b"})
    made.add("int8, <b>", "alone, p50 (ms)", 1.0)
    made.add("int8, <b>", "cold start (s)", 1.0)
    made.add("int8, <b>", "peak memory (MB)", 1.0)
    write_page(tmp_path / "page.html", made)
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "<script>" not in text and "<b>" not in text


@pytest.mark.parametrize("content", ["{}", "[]", '{"settings": {"a": {"b": "c"}}}', '{"settings": {"a": {"b": []}}}'])
def test_other_files_are_no_benchmark(content: str, tmp_path: Path, folder: Path) -> None:
    (tmp_path / "other.json").write_text(content)
    result = bench(folder, "--compare", tmp_path / "other.json", code=1)
    assert "other.json is not a file of onnxpipe bench" in result.stderr


def test_wrong_calls(folder: Path) -> None:
    assert "is not a folder" in bench("no-such-model", code=2).stderr
    assert "list of numbers" in bench(folder, "--threads", "a", code=2).stderr
    assert "at least 1" in bench(folder, "--batch", "0", code=2).stderr
    assert "no folder" in bench(folder, "--html", folder / "none" / "page.html", code=2).stderr
    for dtype in ("fp16", "q7"):  # refused before the other one is timed
        refused = bench(folder, "--dtype", f"fp32,{dtype}", code=1).stderr
        assert f"dtype='{dtype}'" in refused and "round" not in refused


def test_an_error_of_a_worker_is_the_commands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: FakeWorker, request: Mapping[str, Any]) -> dict[str, Any]:
        raise OnnxPipeError("the model fails")

    monkeypatch.setattr(FakeWorker, "ask", fail)
    assert "error: the model fails" in bench(folder, code=1).stderr


def test_changes_are_listed_by_setting_and_figure() -> None:
    before, after = Benchmark({}), Benchmark({})
    for value in (1.0, 1.1):
        before.add("int8", "cold start (s)", value)
        after.add("int8", "cold start (s)", value / 2)
    assert [(setting, figure) for setting, figure, _ in changes(before, after)] == [("int8", "cold start (s)")]
    assert "better" in "\n".join(table(after, before))


def test_peak_memory_is_a_plausible_number() -> None:
    kept = np.ones(2_000_000)
    peak = worker.peak_memory()
    assert peak is None or kept.nbytes / 1e6 < peak < 100_000
