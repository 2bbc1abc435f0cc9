"""Options are checked by their dataclass: type, range, choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, Literal

import numpy as np
import pytest

from onnxpipe.errors import UnsupportedError
from onnxpipe.tasks.base.option_docs import option_docs
from onnxpipe.tasks.base.option_rules import Range, checked_options, choice_option, number_option
from onnxpipe.tasks.base.spec import TaskSpec
from onnxpipe.tasks.registry import all_tasks


class _Function(Enum):
    SOFTMAX = "softmax"
    NONE = "none"


@dataclass(frozen=True)
class _Options:
    count: int = number_option(1, least=1)
    best: int | Literal[""] | None = number_option("", least=1)
    share: float = number_option(0.5, least=0, most=1)
    level: float = number_option(0)
    stride: float | Sequence[float] | None = number_option(None, least=0)
    flag: bool = False
    text: str | None = None
    mode: str | None = choice_option(None, "fast", "exact")
    function: _Function | str | None = None
    kind: _Function = _Function.NONE
    labels: Sequence[str] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    other: Any = None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", 1), ("count", np.int64(3)), ("count", None), ("best", ""), ("best", 2), ("share", 0), ("share", 1),
        ("share", np.float32(0.5)), ("level", -3.5), ("stride", 2), ("stride", [0, 1.5]), ("stride", (1, 2)),
        ("flag", True), ("flag", 0), ("flag", np.bool_(True)), ("text", ""), ("mode", "fast"),
        ("function", _Function.NONE), ("kind", _Function.SOFTMAX), ("labels", ["O"]), ("labels", ()), ("kwargs", {}),
        ("other", object()),
    ],
)  # fmt: skip
def test_what_is_taken(name: str, value: Any) -> None:
    assert checked_options(_Options, {name: value}) == {name: value}


def test_names_become_the_members_of_an_enum() -> None:
    assert checked_options(_Options, {"function": "SoftMax"}) == {"function": _Function.SOFTMAX}


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("count", (0, -1, 1.5, 2.0, True, "3", [1], float("nan")), "pass a whole number, at least 1"),
        ("best", (0, -1, 1.5, "x", True), "pass a whole number, at least 1$"),
        ("share", (-0.1, 1.5, float("nan"), float("inf"), "0.5", True), "pass a number, 0 to 1"),
        ("level", ("x", float("nan"), False), "pass a number$"),
        ("stride", (-1, [1, -1], ["x"], "12", {}), "pass a number or a list of numbers, at least 0"),
        ("flag", ("false", 2, [], 0.0), "pass True or False"),
        ("text", (3, b"x", ["x"]), "pass a text"),
        ("mode", ("", "fastest", 3), "choose one of 'fast', 'exact'"),
        ("function", (3, "max", ["none"], b"none"), "choose one of 'softmax', 'none'"),
        ("kind", ("none", 0), "choose one of _Function.SOFTMAX, _Function.NONE"),
        ("labels", ("O", 3, {"O": 1}, [3]), "pass a list of texts"),
        ("kwargs", ("x", [], 3), "pass a dict"),
    ],
)
def test_what_is_refused_by_name(name: str, values: Sequence[Any], expected: str) -> None:
    for value in values:
        with pytest.raises(UnsupportedError, match=f"^{name}=.*(?:{expected})"):
            checked_options(_Options, {name: value})


def test_the_nearest_choice_is_named() -> None:
    for name, value, near in (("mode", "exat", "exact"), ("function", "soft-max", "softmax")):
        with pytest.raises(UnsupportedError, match=f"did you mean '{near}'"):
            checked_options(_Options, {name: value})


def test_ranges_in_words() -> None:
    assert [str(each) for each in (Range(), Range(1), Range(0, 1))] == ["any", "at least 1", "0 to 1"]


@pytest.mark.parametrize("spec", all_tasks(), ids=lambda spec: spec.name)
def test_every_number_option_says_its_range(spec: TaskSpec) -> None:
    if spec.pipeline.Options is None:
        return
    texts = {option.name: option.text for option in option_docs(spec.pipeline.Options)}
    for each in fields(spec.pipeline.Options):
        if {"int", "float"} & set(str(each.type).replace("[", " ").replace("]", " ").split()) and each.repr:
            assert "range" in each.metadata, each.name
            assert f"Range: {each.metadata['range']}." in texts[each.name]
            for wrong in (float("nan"), "much", True):
                with pytest.raises(UnsupportedError, match=f"^{each.name}="):
                    checked_options(spec.pipeline.Options, {each.name: wrong})
