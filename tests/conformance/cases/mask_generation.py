"""Calls of mask-generation, as transformers documents MaskGenerationPipeline.

A grid of 32 × 32 points is the default: most cases take a smaller one.
"""

from __future__ import annotations

from conformance.cases.common import Case, Generator, Image, PipeImageProcessor, case_of
from conformance.cases.images import CORE_ODD, PHOTO, at_construction

TASK = "mask-generation"
_case = case_of(TASK)
GRID = {"points_per_crop": 4}
EASY = {**GRID, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
TWO = [PHOTO, Image("second")]

CASES = (
    _case("image", PHOTO, core=True, points_per_batch=256),
    _case("easy", PHOTO, **EASY, core=True),
    _case("path", Image("jpeg", "path"), **EASY),
    _case("base64", Image("odd", "base64"), **EASY),
    _case("list", TWO, **EASY, core=True),
    _case("list of one", TWO[:1], **EASY),
    _case("generator", Generator(TWO), **EASY),
    *(_case(f"points_per_batch {n}", PHOTO, **EASY, points_per_batch=n, core=n == 5) for n in (1, 5, 16, 99, None)),
    _case("points_per_crop", PHOTO, **{**EASY, "points_per_crop": 3}),
    _case("one layer of crops", PHOTO, **EASY, crops_n_layers=1, core=True),
    _case("two layers of crops", PHOTO, **{**EASY, "points_per_crop": 2}, crops_n_layers=2),
    _case("overlap of crops", PHOTO, **EASY, crops_n_layers=1, crop_overlap_ratio=0.1),
    *(_case(f"pred_iou_thresh {t}", PHOTO, **{**EASY, "pred_iou_thresh": t}) for t in (0.3, 0.6, 1.0)),
    *(_case(f"stability_score_thresh {t}", PHOTO, **{**EASY, "stability_score_thresh": t}) for t in (0.3, 0.8, 1.1)),
    _case("stability_score_offset", PHOTO, **{**EASY, "stability_score_thresh": 0.5}, stability_score_offset=0.1),
    *(_case(f"mask_threshold {t}", PHOTO, **EASY, mask_threshold=t) for t in (-0.5, 0.5)),
    *(_case(f"crops_nms_thresh {t}", PHOTO, **EASY, crops_nms_thresh=t, core=t == 0.3) for t in (0.0, 0.3, 1.0)),
    _case("rle", PHOTO, **EASY, output_rle_mask=True, core=True),
    _case("boxes", PHOTO, **EASY, output_bboxes_mask=True, core=True),
    _case("rle and boxes, list", TWO, **EASY, output_rle_mask=True, output_bboxes_mask=True),
    _case("nothing survives", PHOTO, **{**EASY, "pred_iou_thresh": 9.0}),
    at_construction(TASK, "everything", {**EASY, "output_bboxes_mask": True}, PHOTO),
    _case("timeout", PHOTO, **EASY, timeout=3.0),
    Case("own image processor", TASK, (PHOTO,), EASY, ctor={"image_processor": PipeImageProcessor()}),
    *(_case(f"image, {name}", Image(name), **EASY) for name in (*CORE_ODD, "square", "wide", "one")),
    _case("no points at all", PHOTO, points_per_batch=0, message=False),
    _case("text that is not an image", "no such picture", message=False),
    _case("number", 3, message=False),
)
