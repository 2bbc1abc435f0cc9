"""zero-shot-audio-classification, on every family."""

from __future__ import annotations

import pytest

from conformance.cases.common import Case
from conformance.check import check, parametrize
from conformance.runner import Library

TASK = "zero-shot-audio-classification"


@parametrize(TASK)
def test_same_as_transformers(
    family: str, case: Case, ours: Library, theirs: Library, request: pytest.FixtureRequest
) -> None:
    check(TASK, family, case, ours, theirs, request)
