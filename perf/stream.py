"""Memory of a long stream of prompts: `python -m perf.stream BUNDLE [10000] [text-generation]`.

Prints the resident memory after every tenth of the prompts; a generator feeds them, so nothing else grows.
"""

from __future__ import annotations

import itertools
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_WORDS = ["the", "old", "bridge", "over", "the", "river", "is", "long", "and", "the", "city", "is", "near", "it"]


def prompts(count: int) -> Iterator[str]:
    """`count` texts of 1 to 9 words."""
    for i in range(count):
        start = i % 5
        yield " ".join(_WORDS[start : start + 1 + i % 9])


def resident() -> float:
    """Megabytes of the process that lie in memory (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def main(bundle: str, count: int = 10_000, task: str = "text-generation") -> None:
    from onnxpipe import pipeline

    pipe = pipeline(task, model=bundle)
    started = time.perf_counter()
    answers = pipe(prompts(count), max_new_tokens=8, do_sample=False)
    for done in range(max(1, count // 10), count + 1, max(1, count // 10)):
        for _ in itertools.islice(answers, max(1, count // 10)):
            pass
        print(f"{done:>7} prompts  {resident():8.1f} MB  {done / (time.perf_counter() - started):8.1f} prompts/s")


if __name__ == "__main__":
    main(sys.argv[1], *(int(word) if word.isdigit() else word for word in sys.argv[2:]))  # type: ignore[arg-type]
