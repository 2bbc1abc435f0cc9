"""Run participants in processes of their own that take turns, so that a noisy machine is noisy for all.

A participant's process prints "ready" when it has loaded, then answers every line on its stdin, JSON, with one line of
JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
#: Variables that participants do not get: settings of threads, this process's modules, and what keeps Python from
#: storing the bytecode of this repository, while that of installed packages is stored.
_NOT_PASSED_ON = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE",
)  # fmt: skip


class ParticipantError(Exception):
    """A participant's process ended; the message has the last lines that it printed."""


class Participant:
    """A process of Python that answers messages.

    Args:
        name: what it is called in messages.
        command: the arguments behind `python -m`.
        python: the interpreter; None for this one.
        path: folders of modules that it finds besides the repository.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, python: Path | None = None, path: Sequence[Path] = ()
    ) -> None:
        self.name = name
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed by close()
        self._process = subprocess.Popen(
            [str(python or sys.executable), "-m", *command],
            cwd=ROOT,
            env=environment(path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def wait_until_ready(self) -> None:
        """Wait until it has loaded."""
        if self._line() != "ready":
            raise ParticipantError(f"{self.name} did not start")

    def send(self, message: Any) -> None:
        """Send a message without waiting for the answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._line()

    def ask(self, message: Any) -> Any:
        """Send a message, and return its answer."""
        self.send(message)
        return self.receive()

    def receive(self) -> Any:
        """Return the answer to the message that was sent last."""
        return json.loads(self._line())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
        self._log.close()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            status = self._process.wait()
            self._log.seek(0)
            said = self._log.read().strip().splitlines()[-8:]
            raise ParticipantError("\n".join([f"{self.name} ended with status {status}:", *said]))
        return line


def environment(path: Sequence[Path] = ()) -> dict[str, str]:
    """Copy the environment without what `_NOT_PASSED_ON` names, with the Hub switched off."""
    variables = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
    if path:
        variables["PYTHONPATH"] = os.pathsep.join(map(str, path))
    return variables | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "ORT_DISABLE_TELEMETRY": "1"}


@contextmanager
def started(commands: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Participant]]:
    """Start processes of this interpreter, ready to answer; `commands` are the arguments behind `python -m`."""
    path = (ROOT / "runtime", ROOT / "export")
    with ExitStack() as stack:
        participants = {}
        for name, command in commands.items():
            participants[name] = Participant(name, command, path=path)
            stack.callback(participants[name].close)
        for participant in participants.values():
            participant.wait_until_ready()
        yield participants


def answer(reply: Callable[[Any], Any]) -> None:
    """Reply to every message until stdin ends; the other side of `Participant.ask`."""
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(reply(json.loads(line))), flush=True)
