"""Options are documented where they are defined: help and docs read the docstrings."""

from __future__ import annotations

import dataclasses

import pytest

from onnxpipe.tasks.base.option_docs import OptionDoc, attribute_texts, option_docs
from onnxpipe.tasks.base.spec import TaskSpec
from onnxpipe.tasks.registry import all_tasks


@dataclasses.dataclass(frozen=True)
class _Base:
    """Options of every kind.

    Attributes:
        timeout: seconds to wait
            for an answer.
    """

    timeout: float | None = None


@dataclasses.dataclass(frozen=True)
class _Options(_Base):
    """Options of one kind.

    Attributes:
        top_k, top_p: how many; None
            for all.

    Raises:
        nothing: at all.
    """

    top_k: int = 5
    top_p: float | None = None


def test_fields_with_types_defaults_and_texts() -> None:
    assert option_docs(_Options) == [
        OptionDoc("timeout", "float | None", "None", "seconds to wait for an answer."),
        OptionDoc("top_k", "int", "5", "how many; None for all."),
        OptionDoc("top_p", "float | None", "None", "how many; None for all."),
    ]
    assert option_docs(None) == [] and attribute_texts("Nothing.") == {}


@pytest.mark.parametrize("spec", all_tasks(), ids=lambda spec: spec.name)
def test_every_option_of_every_task_is_documented(spec: TaskSpec) -> None:
    assert [option.name for option in option_docs(spec.pipeline.Options) if not option.text] == []
