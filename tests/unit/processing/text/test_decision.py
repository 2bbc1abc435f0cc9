"""The settings and questions of decisions: what is wrong is refused by name, and none is lost."""

from __future__ import annotations

from typing import Any

import pytest

from onnxpipe import DecisionConfig
from onnxpipe.processing.text.decision.questions import parse_questions

NOUL = {"type": "noul"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 2}, "temperature must be a dict by the types noul, choice, score, got 2"),
        ({"temperature": {"nuol": 2}}, "temperature must be a dict by the types"),
        ({"temperature": {"noul": float("nan")}}, r"temperature\['noul'\] must be a number above 0"),
        ({"labels": ["Y", "N"]}, "labels must be a dict by the types"),
        ({"labels": {"yes": ["Y", "N"]}}, "labels must be a dict by the types"),
        ({"labels": {"noul": "YN"}}, r"labels\['noul'\] must be a list of texts"),
        ({"chat_template": 3}, "chat_template must be a text"),
        ({"sanitize_control_tokens": "no"}, "sanitize_control_tokens must be True or False"),
        ({"noul_options": ("true",)}, "must order 'true' and 'false'"),
    ],
)
def test_settings_that_are_wrong(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DecisionConfig(**settings)


def test_names_that_are_one_as_texts_are_refused() -> None:
    """Answers are by name, so one of two would be lost."""
    config = DecisionConfig()
    assert [each.name for each in parse_questions({1: NOUL, "2": NOUL}, config)] == ["1", "2"]
    with pytest.raises(ValueError, match="question 1: another has the name '1'"):
        parse_questions({1: NOUL, "1": NOUL}, config)
