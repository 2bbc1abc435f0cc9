"""Texts of several calls that are generated together: every token is the one that its call has alone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from onnxpipe import pipeline
from onnxpipe.engine.queue import Caller, Queue


def test_24_calls_that_come_and_go(bundles: Callable[..., Path]) -> None:
    pipe = pipeline("text-generation", str(bundles("llama", "causal")), device="cpu", threads=1)
    calls: list[tuple[str, dict[str, Any]]] = [
        ("hello world " * (1 + number % 7) + str(number), {
            "max_new_tokens": 5 + 7 * number % 30, "do_sample": bool(number % 2), "seed": number,
            "temperature": 0.5 + number / 24, "repetition_penalty": 1 + number % 3 / 10,
        })
        for number in range(24)
    ]  # fmt: skip
    alone = [pipe(value, **options) for value, options in calls]
    queue = Queue(workers=1, slots=5)
    assert pipe.model.slots(5) is not None
    with ThreadPoolExecutor(24) as pool:  # they are admitted whenever their thread comes to it
        shared = list(pool.map(lambda call: pipe.through(Caller(queue))(call[0], **call[1]), calls))
    queue.close()
    assert shared == alone
