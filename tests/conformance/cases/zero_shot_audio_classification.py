"""Calls of zero-shot-audio-classification, as transformers documents ZeroShotAudioClassificationPipeline."""

from __future__ import annotations

from conformance.cases.audio import RECORDINGS, SPEECH, at_construction, errors, inputs
from conformance.cases.common import Audio, Case, case_of

TASK = "zero-shot-audio-classification"
_case = case_of(TASK)
LABELS = ["a dog", "a vacuum cleaner", "speech"]
TEMPLATE = "In London one hears {} all day"

CASES = (
    *inputs(TASK, dicts=False, candidate_labels=LABELS),
    _case("one label", SPEECH, candidate_labels=["speech"], core=True),
    _case("labels in a tuple", SPEECH, candidate_labels=tuple(LABELS)),
    _case("the same label twice", SPEECH, candidate_labels=["a dog", "speech", "a dog"]),
    _case("many labels", SPEECH, candidate_labels=[f"thing number {i}" for i in range(17)]),
    _case("accents", SPEECH, candidate_labels=["café", "Länder", "été"]),
    _case("template", SPEECH, candidate_labels=LABELS, hypothesis_template=TEMPLATE, core=True),
    _case("template, list", RECORDINGS, candidate_labels=LABELS, hypothesis_template="{}"),
    _case("template without a place", SPEECH, candidate_labels=LABELS[:1], hypothesis_template="always this"),
    _case("audio by name", audios=SPEECH, candidate_labels=LABELS),
    at_construction(TASK, "labels", {"candidate_labels": LABELS}, SPEECH),
    at_construction(TASK, "template", {"hypothesis_template": TEMPLATE}, SPEECH, candidate_labels=LABELS),
    Case("labels at both", TASK, (SPEECH,), {"candidate_labels": LABELS[:2]}, ctor={"candidate_labels": LABELS}),
    _case("no labels", SPEECH, message=False),
    _case("dict", Audio("speech", "raw"), message=False, candidate_labels=LABELS),
    *(
        _case(f"array of two axes, {form}", Audio("stereo", form), message=False, candidate_labels=LABELS)
        for form in ("one channel", "channels", "channels last")
    ),
    *errors(TASK, candidate_labels=LABELS),
)
