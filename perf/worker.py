"""The process of one participant: it loads a model, then answers every line of JSON on stdin with one.

    python -m perf.worker PEER TASK MODEL PRECISION THREADS
    python -m perf.worker --convert PEER TASK CHECKPOINT PRECISION TARGET

A request names a function of the peer's (`do`), the arguments of each call (`calls`), how often all of them are made at
most (`repeat`, for at most about half a second) and whether the answers are wanted (`keep`). The reply holds the
seconds of each call, the answers, and the most memory that the process has had, in MB. It imports little, because a
cold start is timed through it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # the module typing takes a part of a cold start
    from collections.abc import Callable
    from typing import Any


LONGEST = 0.5
"""Seconds after which calls are not repeated."""


def main() -> None:
    """Load, say that it is ready, and answer until stdin ends."""
    if sys.argv[1] == "--convert":
        convert(*sys.argv[2:])
        return
    peer, task, model, precision, threads = sys.argv[1:]
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints does not mix with the answers
    functions = getattr(importlib.import_module(f"perf.peers.{peer}"), task)(model, precision, int(threads))
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(_reply(functions, json.loads(line))), file=out, flush=True)


def convert(peer: str, task: str, checkpoint: str, precision: str, target: str) -> None:
    """Convert a checkpoint to the peer's own form."""
    from pathlib import Path

    importlib.import_module(f"perf.peers.{peer}").convert(Path(checkpoint), task, precision, Path(target))


def _reply(functions: dict[str, Callable[..., Any]], request: dict[str, Any]) -> dict[str, Any]:
    function, seconds, answers = functions[request["do"]], [], []
    for _ in range(request.get("repeat", 1)):
        if sum(seconds) > LONGEST:
            break
        for arguments in request["calls"]:
            began = time.perf_counter()
            answer = function(*arguments)
            seconds.append(time.perf_counter() - began)
            if request.get("keep"):
                answers.append(plain(answer))
    return {"seconds": seconds, "answers": answers, "memory": peak_memory()}


def plain(answer: Any) -> Any:
    """Turn arrays inside an answer to lists."""
    if hasattr(answer, "tolist"):
        return answer.tolist()
    if isinstance(answer, (list, tuple)):
        return [plain(one) for one in answer]
    return {name: plain(one) for name, one in answer.items()} if isinstance(answer, dict) else answer


def peak_memory() -> float:
    """Read the most memory that this process has had, in MB."""
    try:
        # Not getrusage: its figure for a process starts at the peak of the one that started it.
        with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123  pathlib takes a part of a cold start
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
    except FileNotFoundError:  # macOS
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
