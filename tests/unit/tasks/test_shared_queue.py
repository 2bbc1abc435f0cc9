"""Calls of one pipeline that share a queue: answers are those of a call alone, and a call that is given up stops."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from onnxpipe import Text2TextGenerationPipeline, TextGenerationPipeline
from onnxpipe.engine.caller import Caller
from onnxpipe.engine.queue import Queue
from onnxpipe.engine.tickets import BatchReport
from onnxpipe.errors import CallCancelledError
from onnxpipe.tasks.base.shared import group_of
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
        group_of(pipe, pipe.parse(options, pipe.options))
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


def test_texts_join_those_that_are_being_written_and_keep_their_own_parameters() -> None:
    pipe, queue, most = writer(), Queue(workers=1, slots=3), [0]
    calls = [
        (
            prompt * (1 + number % 3),
            {"max_new_tokens": 3 + 5 * number % 17, "seed": number, "do_sample": number % 2 == 0, "top_k": 2 + number},
        )
        for number, prompt in enumerate(PROMPTS * 3)
    ]  # fmt: skip
    alone = [pipe(value, **own) for value, own in calls]
    scores = pipe.model.scores

    def watched(rows: Any) -> Any:
        most[0] = max(most[0], len(rows))
        return scores(rows)

    pipe.model.scores = watched
    with ThreadPoolExecutor(len(calls)) as pool:
        shared = list(pool.map(lambda call: pipe.through(Caller(queue))(call[0], **call[1]), calls))
    assert shared == alone
    assert 1 < most[0] <= 3
    queue.close()


def test_several_texts_of_a_prompt_join_with_one_run_of_it() -> None:
    pipe, queue, sizes = writer(), Queue(workers=1, slots=4), []
    calls = [
        (prompt * 9, {"max_new_tokens": 30, "seed": number, "do_sample": True, "num_return_sequences": 1 + number % 4})
        for number, prompt in enumerate(PROMPTS * 2)
    ]
    calls.append(("hello", {"max_new_tokens": 5, "seed": 3, "do_sample": True, "num_return_sequences": 5}))  # alone
    alone = [pipe(value, **own) for value, own in calls]
    assert len({len(text["generated_text"]) for texts in alone for text in texts}) > 10  # they end at their own tokens
    scores, begun = pipe.model.scores, []

    def watched(rows: Any) -> Any:
        sizes.append(len(rows))
        return scores(rows)

    class Slots(type(pipe.model.slots(4))):  # type: ignore[misc]
        def begin(self, *args: Any) -> Any:
            begun.append(1)
            return super().begin(*args)

    pipe.model.scores, pipe.model.slots = watched, lambda *_: Slots(pipe.model)
    with ThreadPoolExecutor(len(calls)) as pool:
        shared = list(pool.map(lambda call: pipe.through(Caller(queue))(call[0], **call[1]), calls))
    queue.close()
    assert shared == alone
    assert len(begun) == 8 and {2, 3, 4} <= set(sizes)


def test_streams_of_several_calls_are_written_together() -> None:
    pipe, queue = writer(), Queue(workers=1, slots=4)
    whole = [pipe(prompt, return_full_text=False, do_sample=False, max_new_tokens=20)[0] for prompt in PROMPTS]
    streams = [pipe.through(Caller(queue)).stream(each, do_sample=False, max_new_tokens=20) for each in PROMPTS]
    first = [next(stream) for stream in streams]  # all have begun before one has ended
    assert [head + "".join(rest) for head, rest in zip(first, streams)] == [each["generated_text"] for each in whole]
    queue.close()


def test_what_fails_in_a_batch_that_others_joined_fails_alone() -> None:
    pipe, queue = writer(), Queue(workers=1, slots=4)

    def broken(input_ids: Any, scores: Any) -> Any:
        if input_ids.shape[1] > len("hello") + 2:
            raise RuntimeError("a processor of one call")
        return scores

    def call(options: dict[str, Any]) -> Any:
        try:
            return pipe.through(Caller(queue))("hello", do_sample=False, max_new_tokens=9, **options)
        except RuntimeError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(call, [{}, {"logits_processor": [broken]}, {}, {}]))
    good = pipe("hello", do_sample=False, max_new_tokens=9)
    assert got == [good, "a processor of one call", good, good]
    scores = pipe.model.scores
    pipe.model.fail_after = pipe.model.steps + 2
    assert call({}) == "the model broke"
    pipe.model.fail_after, pipe.model.scores = None, scores
    assert call({}) == good
    queue.close()


def test_searches_that_run_alone_take_their_turn() -> None:
    pipe, queue = writer(), Queue(workers=1, slots=4)
    calls = [{"do_sample": False}, {"num_beams": 3, "do_sample": False}] * 4
    alone = [pipe("once", max_new_tokens=6, **options) for options in calls]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda options: pipe.through(Caller(queue))("once", max_new_tokens=6, **options), calls))
    assert got == alone
    queue.close()
