"""Fuzz every way in which bytes from outside come in.

    python -m fuzz.run --seconds 600 [--seed N] [TARGET ...]        (make fuzz SECONDS=600)

Inputs are mutations of small valid ones, by number from a seed, so each can be made again. They are tried in processes
of their own: an error that is none of ours, an exit, a crash, too much work, too much memory and a process that never
answers are findings. A finding is saved under tests/fuzz/corpus/TARGET and tried by `tests/fuzz/test_fuzz.py` ever
after.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.target import Target

CORPUS = Path(__file__).parent / "corpus"
#: A process that has not ended after so many seconds waits for something: the limit of work ends all others.
_PATIENCE = 300
_ROUND = 100
#: Places with findings that are known and not mended yet: "<target>: <error> in <module>:<function>".
OPEN: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Finding:
    """An input that broke the rules.

    Attributes:
        target: the target's name.
        name: its number, or its file.
        data: the input.
        what: the error, or how the process ended, in a line.
        place: the kind of error and the function of the runtime that it came from.
        details: the traceback.
    """

    target: str
    name: str
    data: bytes
    what: str
    place: str
    details: str


def is_open(finding: Finding) -> bool:
    """Whether a finding is known, and not mended yet."""
    return f"{finding.target}: {finding.place}" in OPEN


@dataclass
class Outcome:
    """What came of some inputs: how many were accepted and refused, and what was found."""

    accepted: int = 0
    refused: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def tried(self) -> int:
        """How many inputs there were."""
        return self.accepted + self.refused + len(self.findings)


def try_numbers(target: Target, seed: int, first: int, last: int) -> Outcome:
    """Try the inputs of these numbers; the process is started again after every one that ends it."""
    outcome = Outcome()
    while first < last:
        first = _process(target, outcome, [str(seed), str(first), str(last)], first, last)
    return outcome


def try_files(target: Target, files: Sequence[Path]) -> Outcome:
    """Try the inputs in these files."""
    outcome, left = Outcome(), [str(path) for path in files]
    while left:
        left = left[_process(target, outcome, left, 0, len(left)) :]
    return outcome


def _process(target: Target, outcome: Outcome, arguments: list[str], first: int, last: int) -> int:
    """Run a worker and add to the outcome what came of it; return where the next one begins."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-m", "fuzz.worker", target.name, name, *arguments]
        root = Path(__file__).parents[1]
        path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=_PATIENCE, cwd=root.parent, env={**os.environ, "PYTHONPATH": path}
            )
            end, output, errors = f"exit {done.returncode}", done.stdout, done.stderr
        except subprocess.TimeoutExpired as late:
            end, output, errors = f"no answer in {_PATIENCE} s", late.stdout or b"", late.stderr or b""
        for found in map(json.loads, output.splitlines()):
            data = _data(target, found["name"], arguments)
            outcome.findings.append(
                Finding(target.name, found["name"], data, found["error"], found["place"], found["traceback"])
            )
        details = errors.decode(errors="replace")[-3000:]
        if not (folder / "state.json").exists():
            raise RuntimeError(f"the worker of {target.name} does not start: {details}")
        state = json.loads((folder / "state.json").read_text())
        outcome.accepted += state["accepted"]
        outcome.refused += state["refused"]
        if state["name"] is None:
            return last
        data, ended = (folder / "input").read_bytes(), f"the process ended: {end}"
        outcome.findings.append(Finding(target.name, state["name"], data, ended, ended, details))
        return 1 + (
            arguments.index(state["name"]) if first == 0 and not state["name"].isdigit() else int(state["name"])
        )


def _data(target: Target, name: str, arguments: list[str]) -> bytes:
    if name.isdigit():
        return target.input(int(arguments[0]), int(name), target.seeds())
    return Path(name).read_bytes()


def save(finding: Finding) -> Path:
    """Save a finding's input as a file of the corpus."""
    folder = CORPUS / finding.target
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(finding.data).hexdigest()[:12]
    path.write_bytes(finding.data)
    return path


def main() -> int:
    """Fuzz for some time, print what was tried and found; returns 1 where something was found."""
    from fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600, help="in all; each target gets the same part")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the inputs; by default the clock")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="by default all")
    args = parser.parse_args()
    chosen = [TARGETS[name] for name in args.targets or TARGETS]
    print(f"seed {args.seed}")
    found = 0
    for target in chosen:
        outcome, seen, number = Outcome(), set(), 0
        end = time.monotonic() + args.seconds / len(chosen)
        while time.monotonic() < end:
            one = try_numbers(target, args.seed, number, number + _ROUND)
            number += _ROUND
            outcome.accepted += one.accepted
            outcome.refused += one.refused
            outcome.findings += one.findings
            for finding in itertools.filterfalse(is_open, one.findings):
                if finding.place not in seen:  # one file for a place
                    seen.add(finding.place)
                    print(
                        f"{target.name} {finding.name}: {finding.place}\n{finding.details}\nsaved as {save(finding)}\n"
                    )
        found += len(seen)
        print(
            f"{target.name}: {outcome.tried} inputs, {outcome.accepted} accepted, {outcome.refused} refused, "
            f"{len(outcome.findings)} findings, new ones in {len(seen)} places",
            flush=True,
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
