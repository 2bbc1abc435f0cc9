"""Every task on every family: the same call in transformers and in onnxpipe, the same outcome."""

from __future__ import annotations

import pytest

from conformance.cases.common import Case
from conformance.check import ROWS, check
from conformance.runner import Library


@pytest.mark.parametrize(("task", "family", "case"), ROWS)
def test_same_as_transformers(
    task: str, family: str, case: Case, ours: Library, theirs: Library, request: pytest.FixtureRequest
) -> None:
    check(task, family, case, ours, theirs, request)
