"""Time peers on one workload, in turns, and print ratios.

    python -m perf.bench reviews onnxpipe:fp32:BUNDLE onnxpipe:int8:BUNDLE transformers:1:MODEL transformers:16:MODEL

A peer is `name:dtype:folder` (for transformers the middle is the batch size). Each runs in a process of its own; the
processes take turns, so that a noisy machine is noisy for all. Figures are medians; the ratio is against the last peer.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Figures:
    """The measurements of one peer: seconds to the first answer (a fresh process, imports included), seconds a round,
    peak memory in MB, and the answers reduced to numbers."""

    peer: str
    cold: float
    rounds: list[float]
    memory: float
    numbers: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)


def worker(peer: str, name: str) -> None:
    """Run a peer's process: answer once, then once more for every line on stdin."""
    from perf.workloads import workload

    kind, dtype, model = peer.split(":", 2)
    load = workload(name)
    call = importlib.import_module(f"perf.peers.{kind}_peer").load(load.task, model, dtype)
    call(load.texts[:1])
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        answers = call(load.texts)
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "numbers": _numbers(answers), "memory": peak_memory()}), flush=True)


def peak_memory() -> float:
    """The most memory that this process has had, in MB."""
    # Not getrusage: its figure for a process starts at the peak of the one that started it.
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def _numbers(answers: Any) -> list[float]:
    """Reduce answers to numbers that can be compared: scores, or the first dimension of vectors."""
    numbers = []
    for answer in answers:
        each = answer if isinstance(answer, list) else [answer]
        numbers.extend(float(e["score"] if isinstance(e, dict) else np.ravel(e)[0]) for e in each)
    return numbers


def measure(name: str, peers: list[str], rounds: int) -> list[Figures]:
    """Measure each peer, in turns."""
    figures, processes = [], []
    for peer in peers:
        command = [sys.executable, "-m", "perf.bench", "--worker", name, peer]
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if _line(process, peer) != "ready":
            raise SystemExit(f"{peer} did not start")
        figures.append(Figures(peer, time.perf_counter() - began, [], 0.0, []))
        processes.append(process)
    for turn in range(rounds + 1):
        for process, figure in zip(processes, figures):
            process.stdin.write("go\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            answer = json.loads(_line(process, figure.peer))
            if turn:  # the first round warms up
                figure.rounds.append(answer["seconds"])
            figure.numbers, figure.memory = answer["numbers"], answer["memory"]
    for process in processes:
        process.communicate()
    return figures


def _line(process: subprocess.Popen[str], peer: str) -> str:
    line = process.stdout.readline().strip()  # type: ignore[union-attr]
    if not line:
        raise SystemExit(f"{peer} died with status {process.wait()}")
    return line


def report(name: str, figures: list[Figures]) -> str:
    """Write a table in Markdown; the last peer is the one compared with."""
    base = figures[-1]
    lines = [
        f"| {name} | first answer, cold | a round | speed against the last | peak memory | scores differ by at most |",
        "|---|---|---|---|---|---|",
    ]
    for f in figures:
        differ = "-"
        if f is not base and len(f.numbers) == len(base.numbers):
            differ = f"{max(abs(a - b) for a, b in zip(f.numbers, base.numbers)):.1e}"
        label = " ".join(f.peer.split(":", 2)[:2])
        lines.append(
            f"| {label} | {f.cold:.2f} s | {f.median * 1000:.1f} ms | {base.median / f.median:.2f} x "
            f"| {f.memory:.0f} MB | {differ} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload")
    parser.add_argument("peers", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args.peers[0], args.workload)
        return
    print(report(args.workload, measure(args.workload, args.peers, args.rounds)))


if __name__ == "__main__":
    main()
