"""Calls of image-classification, as transformers documents ImageClassificationPipeline."""

from __future__ import annotations

from conformance.cases.common import Case, Image, case_of
from conformance.cases.images import MATES, PHOTO, PHOTOS, at_construction, errors, inputs

TASK = "image-classification"
_case = case_of(TASK)
_FUNCTIONS = ("sigmoid", "softmax", "none", "SoftMax")

CASES = (
    *inputs(TASK),
    _case("array", Image("odd", "array"), core=True),
    _case("arrays", [Image("photo", "array"), Image("second", "array")]),
    *(_case(f"top_k {k}", PHOTO, top_k=k, core=k == 2) for k in (1, 2, None, 99)),
    _case("top_k, list", PHOTOS, top_k=1),
    at_construction(TASK, "top_k", {"top_k": 2}, PHOTO),
    Case("top_k at both", TASK, (PHOTO,), {"top_k": 1}, ctor={"top_k": 3}),
    *(_case(f"function {name}", PHOTO, function_to_apply=name, core=name == "none") for name in _FUNCTIONS),
    at_construction(TASK, "function", {"function_to_apply": "sigmoid"}, PHOTO),
    Case("function at both", TASK, (PHOTO,), {"function_to_apply": "none"}, ctor={"function_to_apply": "sigmoid"}),
    _case("multi-label", PHOTO, head=f"{TASK}+multilabel"),
    _case("multi-label, softmax", PHOTO, head=f"{TASK}+multilabel", function_to_apply="softmax"),
    _case("regression", PHOTOS, head=f"{TASK}+regression"),
    _case("regression, sigmoid", PHOTO, head=f"{TASK}+regression", function_to_apply="sigmoid"),
    _case("one of the labels, by name", MATES, head=f"{TASK}+single"),
    *errors(TASK),
    _case("unknown function", PHOTO, function_to_apply="bad"),
    _case("unknown argument", PHOTO, topk=3, message=False),
)
