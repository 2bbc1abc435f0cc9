"""Pipelines survive pickle and copies, in a spawned process too; what is in memory only is refused by name."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from typing import Any

import pytest

from onnxpipe import QuestionAnsweringPipeline, TextGenerationPipeline
from unit.fakes import FakeCausal
from unit.fakes import tokenizer as letters
from unit.tasks.test_bad_items import GOOD, _Finder, words


def copies(thing: Any) -> list[Any]:
    return [pickle.loads(pickle.dumps(thing)), copy.deepcopy(thing)]  # noqa: S301 - our own


def test_copies_answer_alike_with_the_same_options() -> None:
    qa = QuestionAnsweringPipeline(_Finder(), words(), task="question-answering", top_k=2, batch_size=3)
    for twin in copies(qa):
        assert twin(**GOOD) == qa(**GOOD)
        assert (twin.options, twin.task, twin._batch_size) == (qa.options, qa.task, 3)
    writer = TextGenerationPipeline(FakeCausal(), letters(), task="text-generation", max_new_tokens=3, do_sample=False)
    writer.generation_config.max_new_tokens = 5
    for twin in copies(writer):
        assert twin("hello") == writer("hello")


def test_a_function_in_memory_is_refused_by_name() -> None:
    rule = {"prefix_allowed_tokens_fn": lambda row, ids: [3]}
    pipe = TextGenerationPipeline(FakeCausal(), letters(), task="text-generation", **rule)
    for way in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match=r"TextGenerationPipeline\.options is in memory only"):
            way(pipe)


def test_a_spawned_process() -> None:
    qa = QuestionAnsweringPipeline(_Finder(), words(), task="question-answering")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(qa, kwds=GOOD) == qa(**GOOD)
