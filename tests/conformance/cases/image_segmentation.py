"""Calls of image-segmentation, as transformers documents ImageSegmentationPipeline.

Every family gets every subtask: those it lacks, both refuse.
"""

from __future__ import annotations

from conformance.cases.common import Case, Image, case_of
from conformance.cases.images import PHOTO, PHOTOS, at_construction, errors, inputs

TASK = "image-segmentation"
_case = case_of(TASK)
SUBTASKS = ("panoptic", "instance", "semantic")

CASES = (
    *inputs(TASK, alone="transformers cannot take OneFormer's answers apart"),
    *(_case(f"subtask {name}", PHOTO, subtask=name, threshold=0.1, core=True, message=False) for name in SUBTASKS),
    *(_case(f"subtask {name}, list", PHOTOS, subtask=name, threshold=0.3, message=False) for name in SUBTASKS),
    *(_case(f"subtask {name}, odd", Image("odd"), subtask=name, threshold=0.0, message=False) for name in SUBTASKS),
    *(_case(f"threshold {t}", PHOTO, threshold=t, core=t == 0.3) for t in (0.0, 0.3, 0.5, 1.0)),
    *(_case(f"mask_threshold {t}", PHOTO, mask_threshold=t, threshold=0.2) for t in (0.1, 0.3, 0.8)),
    *(_case(f"overlap {t}", PHOTO, overlap_mask_area_threshold=t, threshold=0.2, core=t == 0.9) for t in (0, 0.3, 0.9)),
    _case("every threshold", PHOTOS, threshold=0.2, mask_threshold=0.4, overlap_mask_area_threshold=0.6),
    _case(
        "every threshold, instance",
        PHOTOS,
        subtask="instance",
        threshold=0.2,
        mask_threshold=0.4,
        overlap_mask_area_threshold=0.6,
        message=False,
    ),
    _case("large", Image("large"), threshold=0.2),
    at_construction(TASK, "thresholds", {"threshold": 0.2, "mask_threshold": 0.3}, PHOTO),
    Case("semantic at construction", TASK, (PHOTO,), ctor={"subtask": "semantic"}, message=False),
    Case("threshold at both", TASK, (PHOTO,), {"threshold": 0.6}, ctor={"threshold": 0.1}),
    _case("unknown subtask", PHOTO, subtask="instances", message=False),
    *errors(TASK),
)
