"""Time a workload: participants in processes of their own, in turns, with pauses, after their answers were compared."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from perf import compare, environments
from perf.models import Models
from perf.turns import ROOT, THREADS, Participant, ParticipantError
from perf.workloads import ORIGINAL, Workload

LEAST_ROUNDS = 3


@dataclass(frozen=True)
class Plan:
    """How it is timed.

    Attributes:
        models: finds the participants' models.
        rounds: turns of each participant.
        seconds: of one workload; after them no round begins, but for the first three.
        pause: seconds before each turn, in which the threads of the last one fall asleep.
        threads: of each participant.
        peers: names of the modules of those that take part besides onnxpipe; None for all.
    """

    models: Models
    rounds: int = 7
    seconds: float = 45.0
    pause: float = 0.3
    threads: int = THREADS
    peers: Sequence[str] | None = None


@dataclass
class Row:
    """The figures of one workload.

    Attributes:
        workload, title, unit, more: of the workload.
        participants: by name: its `figures`, one a turn, its `memory` in MB, and, where answers were compared, `value`
            and `words` of its quality and how far answers alone are `apart` from those of a list.
        missing: why others did not take part.
    """

    workload: str
    title: str
    unit: str
    more: bool
    slack: float
    participants: dict[str, dict[str, Any]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Turn to what JSON holds."""
        return asdict(self)


def measure(workload: Workload, plan: Plan) -> Row:
    """Time a workload."""
    row = Row(workload.name, workload.title, workload.unit, workload.more, workload.slack)
    commands = _commands(workload, plan, row)
    if workload.kind == "size":
        for name, command in commands.items():
            row.participants[name] = {"figures": [files_size(Path(command[-3]), name) / 1e6], "memory": None}
    elif workload.kind == "cold":
        _cold(workload, plan, commands, row)
    else:
        with ExitStack() as stack:
            _calls(workload, plan, commands, row, stack)
    return row


def chosen(workload: Workload, plan: Plan) -> list[str]:
    """Name the participants that are timed."""
    everyone = workload.participants
    return [name for name in everyone if plan.peers is None or name.split()[0] in (*plan.peers, "onnxpipe", "bare")]


def _commands(workload: Workload, plan: Plan, row: Row) -> dict[str, list[str]]:
    """Find each participant's model; the original takes part for its answers even where it is not timed."""
    names = chosen(workload, plan)
    if workload.quality is not None and ORIGINAL not in names:
        names.append(ORIGINAL)
    commands = {}
    for name in names:
        peer, precision = name.split()
        try:
            environments.python(peer)
            folder = plan.models.folder(peer, workload.task, workload.model, precision)
        except LookupError as error:
            row.missing[name] = str(error)
            continue
        commands[name] = ["perf.worker", peer, workload.task, str(folder), precision, str(plan.threads)]
    return commands


def start(name: str, command: Sequence[str]) -> Participant:
    """Start a participant's process in its environment."""
    peer = name.split()[0]
    ours = environments.environment_of(peer) == "onnxpipe"
    python = environments.python(peer)
    path = [ROOT / "runtime"] if ours or python is None else []
    return Participant(name, command, python=python, path=path)


def files_size(folder: Path, participant: str) -> int:
    """Add up the bytes of the files with graphs and weights of a participant's precision."""
    name, precision = participant.split()
    if name == "onnxpipe":
        stem = "model" if precision == "fp32" else f"model_{precision}"
        return sum(path.stat().st_size for path in (folder / "onnx").iterdir() if path.name.split(".")[0] == stem)
    kinds = (".gguf", ".bin", ".onnx", ".data", ".onnx_data", ".safetensors", ".xml")
    return sum(path.stat().st_size for path in folder.rglob("*") if path.name.endswith(kinds))


def _cold(workload: Workload, plan: Plan, commands: dict[str, list[str]], row: Row) -> None:
    """Start each participant anew in every turn; the first turn, in which files are read from the disk, is not kept."""
    began = time.perf_counter()
    for turn in range(plan.rounds + 1):
        if _is_over(turn - 1, began, plan):
            break
        for name, command in _order(commands.items(), turn):
            if name in row.missing:
                continue
            time.sleep(plan.pause)
            start_of_process = time.perf_counter()
            participant = start(name, command)
            try:
                participant.send({"do": "call", "calls": workload.calls()})
                participant.wait_until_ready()
                reply = participant.receive()
                seconds = time.perf_counter() - start_of_process
            except ParticipantError as error:
                _drop(row, name, error)
                continue
            finally:
                participant.close()
            if turn:
                _add(row, name, seconds, reply["memory"])


def _calls(workload: Workload, plan: Plan, commands: dict[str, list[str]], row: Row, stack: ExitStack) -> None:
    running: dict[str, Participant] = {}
    for name, command in commands.items():
        participant = start(name, command)
        stack.callback(participant.close)
        try:
            participant.wait_until_ready()
            running[name] = participant
        except ParticipantError as error:
            _drop(row, name, error)
    if workload.quality is not None:
        _compare(workload, running, row)
    timed = {name: running[name] for name in chosen(workload, plan) if name in running and name not in row.missing}
    began = time.perf_counter()
    for turn in range(plan.rounds + 1):  # the first one warms up
        if _is_over(turn - 1, began, plan):
            break
        for name, participant in _order(timed.items(), turn):
            if name in row.missing:
                continue
            time.sleep(plan.pause)
            request = {
                "do": workload.function.get(name, "call"), "calls": workload.calls(), "repeat": workload.repeat,
                "keep": workload.keep,
            }  # fmt: skip
            try:
                reply = participant.ask(request)
            except ParticipantError as error:
                _drop(row, name, error)
                continue
            if turn:
                _add(row, name, workload.figure(reply), reply["memory"])
    for name in [name for name, one in row.participants.items() if not one["figures"]]:
        del row.participants[name]


def _compare(workload: Workload, running: dict[str, Participant], row: Row) -> None:
    """Compare every participant's answers with the original's, or, where that is missing, with onnxpipe's in fp32."""
    base = next((name for name in (ORIGINAL, "onnxpipe fp32") if name in running), None)
    if base is None:
        row.missing["answers"] = "nothing to compare with: no times are believed"
        running.clear()
        return
    check, do, wanted = workload.check(), workload.checked, None
    if workload.follow:
        prompts = workload.follow()
        if prompts:
            wanted = [
                one["tokens"] for one in running[base].ask({"do": "call", "calls": prompts, "keep": True})["answers"]
            ]
            check, do = [[prompt, text] for (prompt, _), text in zip(prompts, wanted)], "forced"
    if wanted is None:
        wanted = running[base].ask({"do": do, "calls": check, "keep": True})["answers"]
    assert workload.quality is not None
    for name, participant in running.items():
        try:
            answers = participant.ask({"do": do, "calls": check, "keep": True})["answers"]
            quality = workload.quality(answers, wanted)
            alone = workload.alone()
            apart = None
            if alone:
                each = participant.ask({"do": do, "calls": alone, "keep": True})["answers"]
                apart = compare.apart([one[0] for one in each], answers[0][: len(each)])
        except ParticipantError as error:
            _drop(row, name, error)
            continue
        if quality.value < workload.floor:
            row.missing[name] = f"other answers: {quality.words}"
            continue
        row.participants[name] = {"figures": [], "memory": None, **asdict(quality), "apart": apart}


def _add(row: Row, name: str, figure: float, memory: float) -> None:
    figures = row.participants.setdefault(name, {"figures": [], "memory": None})
    figures["figures"].append(figure)
    figures["memory"] = memory


def _drop(row: Row, name: str, error: Exception) -> None:
    """Leave a participant out, with the last line of what it said."""
    row.missing[name] = str(error).splitlines()[-1]
    row.participants.pop(name, None)
    print(f"  {error}", flush=True)


def _order(items: Iterable[Any], turn: int) -> list[Any]:
    """Let every other round begin at the other end."""
    return list(items)[:: -1 if turn % 2 else 1]


def _is_over(done: int, began: float, plan: Plan) -> bool:
    return done >= LEAST_ROUNDS and time.perf_counter() - began > plan.seconds
