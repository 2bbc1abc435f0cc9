"""Calls of depth-estimation, as transformers documents DepthEstimationPipeline."""

from __future__ import annotations

from conformance.cases.common import Image, case_of
from conformance.cases.images import PHOTO, at_construction, errors, inputs

TASK = "depth-estimation"
_case = case_of(TASK)
_FLAT = ("long", "tall")
"""Of these some families are left no pixel: both refuse, each in its own words."""
_ONE = ("one", "one grey")
"""transformers divides by the depth's range, which one pixel has not."""

CASES = (
    *inputs(TASK, skip=(*_FLAT, *_ONE)),
    _case("large", Image("large"), core=True),
    _case("parameters", PHOTO, parameters={"timeout": 3.0}),
    at_construction(TASK, "parameters", {"parameters": {"timeout": 3.0}}, PHOTO),
    *errors(TASK),
)
