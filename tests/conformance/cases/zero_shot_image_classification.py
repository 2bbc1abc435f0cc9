"""Calls of zero-shot-image-classification, as transformers documents ZeroShotImageClassificationPipeline."""

from __future__ import annotations

from conformance.cases.common import Case, Generator, case_of
from conformance.cases.images import PHOTO, PHOTOS, at_construction, errors, inputs

TASK = "zero-shot-image-classification"
_case = case_of(TASK)
LABELS = ["cat", "dog", "a remote control"]
TEMPLATE = "A picture with {} in it, taken in London"

CASES = (
    *inputs(TASK, candidate_labels=LABELS),
    _case("positional labels", PHOTO, LABELS),
    _case("image by name", image=PHOTO, candidate_labels=LABELS),
    _case("one label", PHOTO, candidate_labels=["cat"], core=True),
    _case("labels in a tuple", PHOTO, candidate_labels=tuple(LABELS)),
    _case("the same label twice", PHOTO, candidate_labels=["cat", "dog", "cat"]),
    _case("many labels", PHOTO, candidate_labels=[f"thing number {i}" for i in range(17)]),
    _case("accents", PHOTO, candidate_labels=["café", "Länder", "été"]),
    _case("template", PHOTO, candidate_labels=LABELS, hypothesis_template=TEMPLATE, core=True),
    _case("template, list", PHOTOS, candidate_labels=LABELS, hypothesis_template="{}"),
    _case("template without a place", PHOTO, candidate_labels=LABELS[:1], hypothesis_template="always this"),
    at_construction(TASK, "template", {"hypothesis_template": TEMPLATE}, PHOTO, candidate_labels=LABELS),
    Case(
        "template at both",
        TASK,
        (PHOTO,),
        {"candidate_labels": LABELS, "hypothesis_template": "{}"},
        ctor={"hypothesis_template": TEMPLATE},
    ),
    _case("generator with a template", Generator(PHOTOS), candidate_labels=LABELS[:2], hypothesis_template="{}"),
    *errors(TASK, candidate_labels=LABELS),
    _case("no labels", PHOTO, message=False),
)
