"""One check of the suite: the same call in both libraries, the same outcome."""

from __future__ import annotations

import builtins
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from conformance.cases import CASES, table
from conformance.cases.common import Case
from conformance.compare import TOLERANCE, same
from conformance.runner import Library, marks_of, outcome
from conformance.values import Outcome, from_json
from zoo import GENERATING, weights_hash
from zoo.audio import families as audio
from zoo.vision import families as vision

RECORDED = Path(__file__).parents[1] / "zoo" / "reference"


LOOSER = {
    # Its depths are means of bins under a softmax at a low temperature: transformers' own answers differ by a
    # hundred-thousandth alone and in a batch.
    ("depth-estimation", "zoedepth"): 1e-3,
    # Features up to 30 times as large as those that differ most.
    ("image-feature-extraction", "mobilenet_v2"): 1e-3,
}
"""(task, family) -> the largest difference of a float, where it is not `compare.TOLERANCE`."""


def _groups(family: str, head: str) -> list[pytest.MarkDecorator]:
    """Generators, vision and audio models are built and exported by the one process that uses them."""
    if head in GENERATING:
        return [pytest.mark.xdist_group(f"generate-{family}")]
    if audio.is_audio(head):
        return [pytest.mark.xdist_group(f"audio-{family}")]
    return [pytest.mark.xdist_group(f"vision-{family}")] if vision.is_vision(head) else []


ROWS = [
    pytest.param(task, family, case, id=f"{task}-{family}-{case.name}", marks=_groups(family, case.head))
    for task in CASES
    for family, case in table(task)
]
"""Every (task, family, case) of the suite, for `pytest.mark.parametrize`."""


def check(task: str, family: str, case: Case, ours: Library, theirs: Library, request: pytest.FixtureRequest) -> None:
    """Fails with the path of the first difference."""
    request.node.user_properties.append(("cell", f"{task}/{family}"))
    model = request.getfixturevalue("models")(family, case.head)
    marks = marks_of(family, model)
    if case.dropped:
        expected = probabilities(recorded(task, family, case, model))
    else:
        expected = outcome(theirs, task, family, case, marks, reference=True)
    request.getfixturevalue("bundles")(family, case.head)  # What cannot be exported fails here, not as an answer.
    got = outcome(ours, task, family, case, marks)
    tolerance = LOOSER.get((task, family), TOLERANCE)
    difference = differ(expected, got, message=case.message, tolerance=tolerance)
    assert difference is None, f"{task}, {family}, {case.name}: {difference}\n{_call(case)}"


def differ(expected: Outcome, got: Outcome, *, message: bool, tolerance: float = TOLERANCE) -> str | None:
    """The first difference of two outcomes. Our errors may be subclasses of the reference's."""
    if "error" not in expected and "error" in got:
        return f"expected {str(expected)[:200]}, got {got['error']}: {got['message']!r}"
    if "error" not in expected or "error" not in got:
        return same(expected, got, tolerance)
    kinds = [got["error"], *got["bases"]]
    if expected["error"] not in kinds:
        return f"expected {expected['error']}: {expected['message']!r}, got {got['error']}: {got['message']!r}"
    if message and hasattr(builtins, expected["error"]) and expected["message"] != got["message"]:
        return f"expected the message {expected['message']!r}, got {got['message']!r}"
    return None


def recorded(task: str, family: str, case: Case, model: Path) -> Outcome:
    """What transformers 4.57 gave, from `tests/zoo/reference/`; fails if it was another model's answer."""
    found = _recorded(task)["answers"][family]
    known = found["weights"][case.head]
    assert known == weights_hash(model), (
        f"the recorded answers of {task} are of other weights ({family}-{case.head}): "
        "run tests/zoo/reference_4_57.py with transformers 4.57.6"
    )
    answer: Outcome = from_json(found["cases"][case.name])
    return answer


def probabilities(answer: Any) -> Any:
    """Cap scores at 1: 4.57 adds up the scores of an answer that stands in several windows, ours is a probability."""
    if isinstance(answer, list):
        return [probabilities(each) for each in answer]
    if not isinstance(answer, dict):
        return answer
    return {
        key: min(each, 1.0) if key == "score" and isinstance(each, float) else probabilities(each)
        for key, each in answer.items()
    }


@cache
def _recorded(task: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((RECORDED / f"{task}.json").read_text(encoding="utf-8"))
    return document


def _call(case: Case) -> str:
    return f"ctor={dict(case.ctor)!r} args={case.args!r} kwargs={dict(case.kwargs)!r}"[:1500]
