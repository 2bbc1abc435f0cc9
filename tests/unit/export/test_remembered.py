"""The original is asked once for the same input, and again where its rounding is measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from onnxpipe.bundle import HubOptions  # noqa: E402
from onnxpipe_export import checkpoint, exact, remembered  # noqa: E402
from onnxpipe_export.generation_kinds import kind_of  # noqa: E402
from onnxpipe_export.remembered import Memory, asking_again, encoders_of  # noqa: E402
from zoo import task_of  # noqa: E402
from zoo.cache import cached_model  # noqa: E402


class Asked:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> np.ndarray:
        self.times += 1
        return np.full(4, self.times)


def test_the_same_question_is_asked_once() -> None:
    memory, asked = Memory(), Asked()
    question = {"ids": np.arange(3), "names": ["logits"], "keep": None}
    first = memory.answer(question, asked)
    assert memory.answer({"keep": None, "names": ["logits"], "ids": np.arange(3)}, asked) is first
    others: list[Any] = [
        {**question, "ids": np.arange(4)},
        {**question, "ids": np.arange(3, dtype=np.int32)},
        {**question, "ids": np.arange(3)[::-1]},
        {**question, "names": ["states"]},
        {**question, "keep": 0},
        {**question, "keep": False},
    ]
    for times, other in enumerate(others, 2):
        memory.answer(other, asked)
        assert asked.times == times


def test_what_cannot_be_compared_is_asked_each_time() -> None:
    memory, asked = Memory(), Asked()
    for times in (1, 2):
        memory.answer(("x", object()), asked)
        assert asked.times == times


def test_rounding_is_measured_without_memory() -> None:
    memory, asked = Memory(), Asked()
    memory.answer("x", asked)
    with asking_again():
        memory.answer("x", asked)
    assert asked.times == 2
    exact.answers(torch.nn.Linear(2, 2), lambda: memory.answer("x", asked), (0,))
    assert asked.times == 4
    memory.answer("x", asked)
    assert asked.times == 4


def test_a_full_memory_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_MOST", 40)
    memory, asked = Memory(), Asked()
    for question in ("first", "second", "first", "second"):
        memory.answer(question, asked)
    assert asked.times == 3


@pytest.mark.parametrize(
    ("family", "head", "part"),
    [
        ("smolvlm", "image-text-to-text", "vision_model"),
        ("t5", "seq2seq", "encoder"),
        ("vit-gpt2", "image-to-text", "encoder"),
    ],
)
def test_encoders_answer_once_and_the_same(family: str, head: str, part: str) -> None:
    """Also to generation, which repeats an encoder's answer for its beams."""
    source = checkpoint.load(str(cached_model(family, head)), task_of(head), HubOptions())
    kind = kind_of(source)
    assert kind is not None
    batch, calls = kind.batches()[-1], []
    encoder = getattr(source.model if hasattr(source.model, part) else source.model.model, part)
    layer = next(module for module in encoder.modules() if isinstance(module, torch.nn.Linear))
    layer.register_forward_hook(lambda *_: calls.append(1))
    options = [{**kind.options, "num_beams": beams, "do_sample": False, "max_new_tokens": 3} for beams in (1, 2, 1)]
    plain = [kind.generate(batch, each) for each in options]
    assert len(calls) == 3
    with encoders_of(source.model):
        found = [kind.generate(batch, each) for each in options]
    assert len(calls) == 4
    for one, other in zip(plain, found, strict=True):
        np.testing.assert_array_equal(one, other)
    kind.generate(batch, options[0])
    assert len(calls) == 5
