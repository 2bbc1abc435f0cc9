"""Peers in processes of their own that take turns, so that a noisy machine is noisy for all.

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
    """Processes of the peers, ready to answer; `commands` are the arguments behind `python -m`, by name."""
    found = {
        peer: subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for peer, command in commands.items()
    }
    try:
        for peer, process in found.items():
            if _line(process, peer) != "ready":
                raise SystemExit(f"{peer} did not start")
        yield found
    finally:
        for process in found.values():
            process.communicate()


def ask(process: Process, peer: str, message: Any) -> Any:
    """What the peer answers."""
    assert process.stdin is not None
    process.stdin.write(json.dumps(message) + "\n")
    process.stdin.flush()
    return json.loads(_line(process, peer))


def answer(reply: Callable[[Any], Any]) -> None:
    """A peer's side: replies to every message until stdin ends."""
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(reply(json.loads(line))), flush=True)


def _line(process: Process, peer: str) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        raise SystemExit(f"{peer} died with status {process.wait()}")
    return line
