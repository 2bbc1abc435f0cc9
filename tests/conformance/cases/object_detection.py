"""Calls of object-detection, as transformers documents ObjectDetectionPipeline."""

from __future__ import annotations

from conformance.cases.common import Case, Generator, Image, case_of
from conformance.cases.images import PHOTO, PHOTOS, at_construction, errors, inputs

TASK = "object-detection"
_case = case_of(TASK)

CASES = (
    *inputs(TASK, alone="transformers cannot take the answers of RT-DETR and its kin apart"),
    *(_case(f"threshold {t}", PHOTO, threshold=t, core=t == 0.1) for t in (0.0, 0.1, 0.3, 0.7, 1.0)),
    _case("threshold, list", PHOTOS, threshold=0.2, core=True),
    _case("threshold, odd image", Image("odd"), threshold=0.0),
    _case("threshold, large image", Image("large"), threshold=0.05),
    _case("threshold, generator", Generator(PHOTOS), threshold=0.3),
    at_construction(TASK, "threshold", {"threshold": 0.1}, PHOTO),
    Case("threshold at both", TASK, (PHOTO,), {"threshold": 0.6}, ctor={"threshold": 0.1}),
    _case("images alone", images=PHOTO),
    _case("images alone, list", images=PHOTOS, threshold=0.1),
    *errors(TASK, none=False),
)
