"""Run the workers of a benchmark in turns, and collect their figures."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

from onnxpipe.cli.bench.figures import Benchmark
from onnxpipe.cli.bench.measure import percentile
from onnxpipe.errors import OnnxPipeError

_SHARES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
_LOAD = 0.5
"""Where no rate is named, calls arrive at this share of the rate at which they were answered one after the other."""


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        model, task, input, params: of every worker; see `worker`.
        devices, dtypes, threads: the settings: on each device each dtype with each number of threads.
        batches: sizes of the batches whose throughput is measured.
        rates: calls a second of the open loop; empty for half of what the setting answers.
        rounds: how often everything is measured, in turns.
        seconds: of one measurement.
    """

    model: str
    task: str
    devices: Sequence[str | int | None]
    input: str | None
    params: Mapping[str, Any]
    dtypes: Sequence[str]
    threads: Sequence[int]
    batches: Sequence[int]
    rates: Sequence[float]
    rounds: int
    seconds: float

    def settings(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each setting's name, and the request with which its worker begins."""
        for device, dtype, threads in product(self.devices, self.dtypes, self.threads):
            name = f"{dtype}, {threads} thread{'s' if threads > 1 else ''}"
            yield name if len(self.devices) == 1 else f"{name}, {device}", {
                "model": self.model, "task": self.task, "device": device, "input": self.input,
                "params": dict(self.params), "dtype": dtype, "threads": threads,
            }  # fmt: skip


class Worker:
    """A process that has loaded one setting; see `worker`.

    Attributes:
        cold: seconds from its start to its first answer.
    """

    def __init__(self, setting: Mapping[str, Any]) -> None:
        begin = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "onnxpipe.cli.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self.ask(setting)
        except BaseException:
            self.close()
            raise
        self.cold = time.perf_counter() - begin

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            OnnxPipeError: the worker failed; the message is its own.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise OnnxPipeError(f"the process that was timed ended with exit code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise OnnxPipeError(str(answer["error"]))
        return answer

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextmanager
def _started(setting: Mapping[str, Any]) -> Iterator[Worker]:
    worker = Worker(setting)
    try:
        yield worker
    finally:
        worker.close()


def measure(
    plan: Plan, about: Mapping[str, Any], progress: Callable[[str], None], *, alone_only: bool = False
) -> Benchmark:
    """Measure every setting, in turns, so that a noisy machine is noisy for all.

    Args:
        plan: what to measure.
        about: what stands in the report beside the figures.
        progress: is called with a line before each step.
        alone_only: time calls one after the other, and nothing else but memory.

    Raises:
        OnnxPipeError: a setting cannot be loaded or fails. Of several devices one that fails is left out.
    """
    benchmark = Benchmark({**about, "rounds": plan.rounds, "seconds": plan.seconds})
    settings = dict(plan.settings())
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for number in range(plan.rounds):
            for name, setting in list(settings.items()):
                progress(f"round {number + 1} of {plan.rounds}: {name}")
                if number == 0:
                    try:
                        worker = stack.enter_context(_started(setting))
                    except OnnxPipeError as error:
                        if setting["device"] == plan.devices[0]:
                            raise
                        progress(f"left out: {error}")
                        del settings[name]
                        continue
                    workers[name] = worker
                    benchmark.add(name, "cold start (s)", worker.cold)
                elif not alone_only:
                    with _started(setting) as fresh:
                        benchmark.add(name, "cold start (s)", fresh.cold)
                _round(benchmark, name, workers[name], plan, alone_only)
    return benchmark


def _round(benchmark: Benchmark, name: str, worker: Worker, plan: Plan, alone_only: bool) -> None:
    times = worker.ask({"do": "alone", "seconds": plan.seconds})["times"]
    answered = len(times) / sum(times)
    _add_times(benchmark, name, "alone", times)
    benchmark.add(name, "alone, answers (1/s)", answered)
    for rate in () if alone_only else plan.rates or (_LOAD * answered,):
        label = f"at {rate:g}/s" if plan.rates else "at half load"
        times = worker.ask({"do": "rate", "rate": rate, "seconds": plan.seconds})["times"]
        _add_times(benchmark, name, label, times)
    state = worker.ask({"do": "state"})
    benchmark.about.setdefault("input", state["words"])
    for size in plan.batches if state["batches"] else ():
        times = worker.ask({"do": "batch", "size": size, "seconds": plan.seconds})["times"]
        benchmark.add(name, f"batch of {size}, inputs (1/s)", size * len(times) / sum(times))
    memory = worker.ask({"do": "state"})["memory"]
    if memory is not None:
        benchmark.add(name, "peak memory (MB)", memory)


def _add_times(benchmark: Benchmark, name: str, label: str, times: Sequence[float]) -> None:
    for title, share in _SHARES:
        benchmark.add(name, f"{label}, {title} (ms)", 1000 * percentile(times, share))
