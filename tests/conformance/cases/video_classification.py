"""Calls of video-classification, as transformers documents VideoClassificationPipeline."""

from __future__ import annotations

from conformance.cases.common import Case, Generator, Keyed, Video, case_of
from conformance.cases.images import at_construction

TASK = "video-classification"
_case = case_of(TASK)
LONG = Video("long", 24)
CLIPS = [Video("first", 24), Video("second", 18), Video("third", 30)]

CASES = (
    _case("path", LONG, core=True),
    _case("list", CLIPS, core=True),
    _case("list of one", CLIPS[:1]),
    _case("generator", Generator(CLIPS)),
    _case("dataset", Keyed([{"video": clip} for clip in CLIPS], "video")),
    *(_case(f"top_k {k}", LONG, top_k=k, core=k == 2) for k in (1, 2, None, 99)),
    at_construction(TASK, "top_k", {"top_k": 2}, LONG),
    Case("top_k at both", TASK, (LONG,), {"top_k": 1}, ctor={"top_k": 3}),
    *(_case(f"function {f}", LONG, function_to_apply=f, core=f == "none") for f in ("softmax", "sigmoid", "none")),
    at_construction(TASK, "function", {"function_to_apply": "sigmoid"}, LONG),
    _case("multi-label", LONG, head=f"{TASK}+multilabel"),
    _case("regression", LONG, head=f"{TASK}+regression"),
    *(_case(f"every {n} frames", LONG, frame_sampling_rate=n, core=n == 2) for n in (1, 2, 3)),
    at_construction(TASK, "frame_sampling_rate", {"frame_sampling_rate": 2}, LONG),
    *(_case(f"batch_size {size}", CLIPS, batch_size=size, core=size == 4) for size in (1, 2, 4)),
    Case("batch_size at construction", TASK, (CLIPS,), ctor={"batch_size": 2}),
    _case("unknown function", LONG, function_to_apply="bad"),
    _case("upper case function", LONG, function_to_apply="SoftMax"),
    _case("none", None, message=False),
    _case("unknown argument", LONG, topk=3, message=False),
)
