"""Measure resident memory over a long stream of prompts, which should stay flat.

    python -m perf.stream BUNDLE [--prompts 10000] [--new 8] [--dtype int8]

Prints prompts answered, prompts a second, and resident memory in MB at every tenth of the way, and how much it grew
from the second tenth (when everything is warm) to the end.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

_OPENINGS = ("Once upon a time", "The little dog", "One day, a girl named Lily", "In the park there was", "Tom saw")


def prompts(count: int) -> Iterator[str]:
    """Yield prompts of different lengths, one at a time."""
    for number in range(count):
        yield " ".join(_OPENINGS[(number + i) % len(_OPENINGS)] for i in range(1 + number % 7))


def resident() -> float:
    """Return this process's memory in MB, from /proc."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--prompts", type=int, default=10_000)
    parser.add_argument("--new", type=int, default=8)
    parser.add_argument("--dtype", default="auto")
    args = parser.parse_args()
    from onnxpipe import pipeline

    pipe = pipeline("text-generation", model=args.bundle, dtype=args.dtype, device="cpu")
    began, memory = time.perf_counter(), []
    answers = pipe(prompts(args.prompts), max_new_tokens=args.new, do_sample=False)
    for number, _ in enumerate(answers, 1):
        if number % (args.prompts // 10) == 0:
            memory.append(resident())
            rate = number / (time.perf_counter() - began)
            print(f"{number:7} prompts  {rate:7.1f} a second  {memory[-1]:7.1f} MB", flush=True)
    print(f"grew by {memory[-1] - memory[1]:.1f} MB from the second tenth to the end")


if __name__ == "__main__":
    main()
