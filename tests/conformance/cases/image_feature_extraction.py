"""Calls of image-feature-extraction, as transformers documents ImageFeatureExtractionPipeline."""

from __future__ import annotations

from conformance.cases.common import case_of
from conformance.cases.images import PHOTO, PHOTOS, at_construction, errors, inputs

TASK = "image-feature-extraction"
_case = case_of(TASK)

CASES = (
    *inputs(TASK),
    _case("pool", PHOTO, pool=True, core=True),
    _case("pool, list", PHOTOS, pool=True),
    _case("pool False", PHOTO, pool=False),
    at_construction(TASK, "pool", {"pool": True}, PHOTO),
    _case("tensors", PHOTO, return_tensors=True, core=True),
    _case("tensors, pool, list", PHOTOS[:2], return_tensors=True, pool=True),
    at_construction(TASK, "tensors", {"return_tensors": True}, PHOTOS[:2]),
    _case("image_processor_kwargs", PHOTO, image_processor_kwargs={"do_normalize": False}),
    _case("image_processor_kwargs, two", PHOTOS, image_processor_kwargs={"do_normalize": False, "resample": 0}),
    at_construction(TASK, "image_processor_kwargs", {"image_processor_kwargs": {"do_normalize": False}}, PHOTO),
    at_construction(
        TASK,
        "image_processor_kwargs, and others at the call",
        {"image_processor_kwargs": {"do_normalize": False}},
        PHOTO,
        image_processor_kwargs={"resample": 0},
    ),
    *errors(TASK, none=False),
)
