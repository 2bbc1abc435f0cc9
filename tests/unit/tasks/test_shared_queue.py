"""Calls of one pipeline that share a queue: answers are those of a call alone, and a call that is given up stops."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from onnxpipe import Text2TextGenerationPipeline, TextGenerationPipeline
from onnxpipe.engine.queue import BatchReport, Caller, Queue
from onnxpipe.errors import CallCancelledError
from unit.fakes import TEMPLATE, FakeCausal, FakeSeq2Seq, tokenizer

PROMPTS = ["once upon a time", "hello", "a", "the cat sat on the mat, and the dog"]


def writer() -> Any:
    return TextGenerationPipeline(FakeCausal(), tokenizer(template=TEMPLATE), task="text-generation")


def translator() -> Any:
    return Text2TextGenerationPipeline(FakeSeq2Seq(), tokenizer(), task="text2text-generation")


@pytest.mark.parametrize("make", [writer, translator])
@pytest.mark.parametrize("options", [{"do_sample": False}, {"do_sample": True}, {"num_beams": 3, "do_sample": False}])
def test_answers_are_those_of_a_call_alone(make: Any, options: dict[str, Any]) -> None:
    pipe, reports = make(), []
    calls = [(prompt, {**options, "max_new_tokens": 6, "seed": seed}) for seed in (1, 2) for prompt in PROMPTS]
    calls += [(PROMPTS, {**options, "max_new_tokens": 5, "seed": 3})]
    alone = [pipe(value, **own) for value, own in calls]

    def note(report: BatchReport) -> None:
        reports.append(report)

    queue = Queue(workers=1, on_batch=note)
    with ThreadPoolExecutor(len(calls)) as pool:
        shared = list(pool.map(lambda call: pipe.through(Caller(queue))(call[0], **call[1]), calls))
    queue.close()
    assert shared == alone
    assert sum(report.rows for report in reports) == 12


def test_calls_with_different_seeds_share_a_batch_and_others_do_not() -> None:
    pipe = writer()
    groups = [
        pipe.group_of(pipe.parse(options, pipe.options))
        for options in ({"seed": 1}, {"seed": 2}, {"seed": 1, "top_k": 3}, {"streamer": print})
    ]
    assert groups[0] == groups[1]
    assert len(set(groups)) == 3


def test_a_stream_runs_through_the_queue() -> None:
    pipe, queue = writer(), Queue(workers=1)
    options = {"max_new_tokens": 6, "do_sample": False}
    whole = pipe("hello", return_full_text=False, **options)[0]["generated_text"]
    assert "".join(pipe.through(Caller(queue)).stream("hello", **options)) == whole
    queue.close()


def test_a_call_that_is_given_up_stops_at_its_next_token() -> None:
    pipe, queue = writer(), Queue(workers=1)
    caller = Caller(queue)
    scores, model = pipe.model.scores, pipe.model

    def watched(rows: Any) -> Any:
        if model.steps == 3:
            caller.cancel()
        return scores(rows)

    model.scores = watched
    with pytest.raises(CallCancelledError):
        pipe.through(caller)("hello", max_new_tokens=50, do_sample=False)
    assert model.steps < 8
    with pytest.raises(CallCancelledError):
        pipe.through(caller)("hello")
    queue.close()
