"""Calls of audio-classification, as transformers documents AudioClassificationPipeline."""

from __future__ import annotations

from conformance.cases.audio import RECORDINGS, SPEECH, at_construction, errors, inputs
from conformance.cases.common import Audio, Case, case_of

TASK = "audio-classification"
_case = case_of(TASK)

CASES = (
    *inputs(TASK),
    *(_case(f"top_k {k}", SPEECH, top_k=k, core=k == 2) for k in (1, 2, None, 99)),
    Case(
        "top_k at construction",
        TASK,
        (SPEECH,),
        ctor={"top_k": 2},
        reference={"top_k": 2},
        why="transformers forgets it at the call",
    ),
    Case("top_k at both", TASK, (SPEECH,), {"top_k": 1}, ctor={"top_k": 3}),
    *(_case(f"function {f}", SPEECH, function_to_apply=f, core=f == "none") for f in ("softmax", "sigmoid", "none")),
    at_construction(TASK, "function", {"function_to_apply": "sigmoid"}, SPEECH),
    Case("function at both", TASK, (SPEECH,), {"function_to_apply": "none"}, ctor={"function_to_apply": "sigmoid"}),
    Case("batch_size at construction", TASK, (RECORDINGS,), ctor={"batch_size": 1}),
    _case("multi-label", SPEECH, head=f"{TASK}+multilabel"),
    _case("multi-label, list", RECORDINGS, head=f"{TASK}+multilabel", top_k=2),
    _case("single label", SPEECH, head=f"{TASK}+single"),
    _case("regression", SPEECH, head=f"{TASK}+regression"),
    _case("unknown function", SPEECH, function_to_apply="bad"),
    _case("upper case function", SPEECH, function_to_apply="SoftMax"),
    *(
        _case(f"array of two axes, {form}", Audio("stereo", form), message=False)
        for form in ("one channel", "channels", "channels last")
    ),
    *errors(TASK),
)
