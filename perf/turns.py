"""Run peers in processes of their own that take turns, so that a noisy machine is noisy for all.

A peer's process prints "ready" when it has loaded, then answers every line on its stdin, JSON, with one line of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from perf.bench import ROOT

Process = subprocess.Popen[str]


@contextmanager
def started(commands: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Process]]:
    """Start the peers' processes, ready to answer; `commands` are the arguments behind `python -m`, by name."""
    processes = {
        peer: subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for peer, command in commands.items()
    }
    try:
        for peer, process in processes.items():
            if _line(process, peer) != "ready":
                raise SystemExit(f"{peer} did not start")
        yield processes
    finally:
        for process in processes.values():
            process.communicate()


def ask(process: Process, peer: str, message: Any) -> Any:
    """Send a peer a message, and return its answer."""
    assert process.stdin is not None
    process.stdin.write(json.dumps(message) + "\n")
    process.stdin.flush()
    return json.loads(_line(process, peer))


def answer(reply: Callable[[Any], Any]) -> None:
    """Reply to every message until stdin ends; the peer's side of `ask`."""
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(reply(json.loads(line))), flush=True)


def _line(process: Process, peer: str) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        raise SystemExit(f"{peer} died with status {process.wait()}")
    return line
