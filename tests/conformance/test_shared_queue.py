"""Texts of several calls that are generated together: every token is the one that its call has alone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from onnxpipe import pipeline
from onnxpipe.engine.caller import Caller
from onnxpipe.engine.queue import Queue


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


def test_the_next_turn_runs_what_is_new_alone(bundles: Callable[..., Path]) -> None:
    pipe = pipeline("text-generation", str(bundles("llama", "causal")), device="cpu", threads=1)
    options = {"do_sample": False, "max_new_tokens": 12}
    queue = Queue(workers=1)
    first = "once upon a time there was a king " * 4
    text = pipe.through(Caller(queue, "key 1"))(first, **options)[0]["generated_text"]
    callers = [Caller(queue, owner) for owner in ("key 1", "key 2")]
    answers = [pipe.through(caller)(text + " and then", **options) for caller in callers]
    queue.close()
    assert answers == [pipe(text + " and then", **options)] * 2
    assert callers[0].cached >= len(pipe.prompt_ids(first)) - 2 > 16  # the last token may have another neighbour now
    assert callers[1].cached == 0  # never another key's
