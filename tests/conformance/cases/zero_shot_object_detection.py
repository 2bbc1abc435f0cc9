"""Calls of zero-shot-object-detection, as transformers documents ZeroShotObjectDetectionPipeline."""

from __future__ import annotations

from conformance.cases.common import BATCHES, Case, Generator, Image, Keyed, PipeImageProcessor, case_of
from conformance.cases.images import CORE_ODD, PHOTO, at_construction

TASK = "zero-shot-object-detection"
_case = case_of(TASK)
LABELS = ["cat", "a remote control", "sofa"]
TWO = [PHOTO, Image("second")]
ROWS = [{"image": PHOTO, "candidate_labels": LABELS[:2]}, {"image": Image("third"), "candidate_labels": ["dog"]}]
ODD = (*CORE_ODD, "one", "long", "palette", "cmyk")

CASES = (
    _case("image", PHOTO, candidate_labels=LABELS, core=True),
    _case("positional labels", PHOTO, LABELS),
    _case("path", Image("jpeg", "path"), candidate_labels=LABELS),
    _case("base64", Image("odd", "base64"), candidate_labels=LABELS[:1]),
    _case("one label", PHOTO, candidate_labels=LABELS[:1]),
    _case("labels in a tuple", PHOTO, candidate_labels=tuple(LABELS)),
    _case("labels in a str", PHOTO, candidate_labels="cat,dog", core=True),
    _case("labels in a str with blanks", PHOTO, candidate_labels="cat, dog , sofa"),
    _case("one label in a str", PHOTO, candidate_labels="cat"),
    _case("the same label twice", PHOTO, candidate_labels=["cat", "cat"]),
    _case("text_queries", PHOTO, text_queries=LABELS),
    _case("dict", ROWS[0], core=True),
    _case("list of dicts", ROWS, core=True),
    _case("list of one dict", ROWS[:1]),
    _case("dict with labels in a str", {"image": PHOTO, "candidate_labels": "cat,dog"}),
    _case("list of images", TWO, candidate_labels=LABELS, core=True),
    _case("list of images, labels in a str", TWO, candidate_labels="cat,dog"),
    _case("list of images, labels for each", TWO, candidate_labels=[["cat"], ["dog", "sofa"]]),
    _case("list of one image", TWO[:1], candidate_labels=LABELS),
    _case("generator of dicts", Generator(ROWS)),
    _case("dataset of dicts", Keyed([{"row": row} for row in ROWS], "row")),
    *(_case(f"threshold {t}", PHOTO, LABELS, threshold=t, core=t == 0.3) for t in (0.0, 0.02, 0.3, 0.9)),
    *(_case(f"top_k {k}", PHOTO, LABELS, threshold=0.01, top_k=k, core=k == 3) for k in (1, 3, None, 999)),
    _case("top_k, list", ROWS, threshold=0.01, top_k=2),
    at_construction(TASK, "threshold and top_k", {"threshold": 0.01, "top_k": 2}, PHOTO, LABELS),
    *(_case(f"batch_size {size}", PHOTO, LABELS, batch_size=size) for size in BATCHES[:1]),
    _case("timeout", PHOTO, LABELS, timeout=3.0),
    Case("own image processor", TASK, (PHOTO, LABELS), ctor={"image_processor": PipeImageProcessor()}),
    *(_case(f"image, {name}", Image(name), LABELS, core=name in CORE_ODD) for name in ODD),
    _case("too few lists of labels", TWO, candidate_labels=[["cat"]]),
    _case("labels that are none", TWO, candidate_labels=[1, 2]),
    _case("text that is not an image", "no such picture", LABELS, message=False),
)
