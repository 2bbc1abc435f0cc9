"""Post-processing of vision models, on values worked out by hand; see tests/conformance for transformers'."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from onnxpipe.processing.images.interpolate import interpolate, resized_planes
from onnxpipe.processing.images.postprocess import depth, detection, keypoints, masks, rle, segmentation
from onnxpipe.processing.images.postprocess.ranking import topk_unsorted
from tolerances import SUM

SURE = 20.0
"""A logit whose probability is 1 in float32."""


def _f(values: Any) -> np.ndarray:
    return np.asarray(values, np.float32)


def test_bilinear_between_pixel_centres() -> None:
    assert interpolate(_f([[0, 4]]), (1, 4)).tolist() == [[0, 1, 3, 4]]
    assert interpolate(_f([[0, 3]]), (1, 4), align_corners=True).tolist() == [[0, 1, 2, 3]]
    assert interpolate(_f([[1, 3, 5, 7]]), (1, 2)).tolist() == [[2, 6]]
    assert interpolate(_f([[0, 8, 0, 0, 0, 0]]), (1, 2)).tolist() == [[8, 0]]
    assert interpolate(_f([[0, 8, 0, 0, 0, 0]]), (1, 2), antialias=True)[0, 0] == pytest.approx(3)


def test_bicubic_overshoots_as_keys_kernel_does() -> None:
    # The kernel at 0.25, 0.75, 1.25, 1.75 for a = -0.75.
    found = interpolate(_f([[0, 0, 1, 1]]), (1, 8), "bicubic")[0]
    assert found[3] == pytest.approx(0.87890625 * 0 + 0.26171875 - 0.03515625)
    assert found[2] == pytest.approx(-0.10546875)
    assert found[5] == pytest.approx(1.10546875)


def test_nearest_takes_the_pixel_to_the_left_and_keeps_the_type() -> None:
    found = interpolate(np.asarray([[1, 2, 3]], np.int16), (2, 7), "nearest")
    assert found.tolist() == [[1, 1, 1, 2, 2, 3, 3]] * 2
    assert found.dtype == np.int16


def test_planes_share_one_buffer() -> None:
    first, second = list(resized_planes(_f([[[1]], [[2]]]), (2, 2)))
    assert first is second


def test_detr() -> None:
    logits = _f([[[SURE, 0, 0], [0, SURE, 0], [0, 0, SURE]]])  # the last class is "no object"
    boxes = _f([[[0.5, 0.5, 0.5, 1.0], [0.25, 0.25, 0.1, 0.1], [0.5, 0.5, 1, 1]]])
    (found,) = detection.detr({"logits": logits, "pred_boxes": boxes}, 0.5, [(100, 200)])
    assert found["labels"].tolist() == [0, 1]
    assert found["boxes"].round(3).tolist() == [[50, 0, 150, 100], [40, 20, 60, 30]]


def test_the_best_pairs_of_query_and_class() -> None:
    outputs = {"logits": _f([[[0, 2], [1, -5]]]), "pred_boxes": _f([[[0.5] * 4, [0.2] * 4]])}
    (found,) = detection.conditional_detr(outputs, 0.4)
    assert found["labels"].tolist() == [1, 0, 0]
    assert found["scores"] == pytest.approx([1 / (1 + math.exp(-x)) for x in (2, 1, 0)])
    assert len(detection.rt_detr(outputs, 0.0)[0]["labels"]) == 2  # as many as queries
    assert len(detection.conditional_detr(outputs, 0.0, top_k=1)[0]["labels"]) == 1


def test_squares_of_owlv2() -> None:
    outputs = {"logits": _f([[[3, 5]]]), "pred_boxes": _f([[[0.5, 0.5, 1, 1]]])}
    assert detection.owlv2(outputs, 0.1, [(100, 200)])[0]["boxes"].tolist() == [[0, 0, 200, 200]]
    assert detection.owlvit(outputs, 0.1, [(100, 200)])[0]["boxes"].tolist() == [[0, 0, 200, 100]]


LEFT, RIGHT = _f([[SURE, -SURE]] * 2), _f([[-SURE, SURE]] * 2)


def _two(labels: list[int]) -> dict[str, np.ndarray]:
    """Two queries that are sure of one half of an image each."""
    logits = np.zeros((1, 2, 4), np.float32)
    logits[0, [0, 1], labels] = SURE
    return {"class_queries_logits": logits, "masks_queries_logits": np.stack([LEFT, RIGHT])[None]}


def test_panoptic() -> None:
    (found,) = segmentation.maskformer_panoptic(_two([0, 2]), target_sizes=[(4, 4)])
    assert found["segmentation"].tolist() == [[1, 1, 2, 2]] * 4
    expected = {"id": 1, "label_id": 0, "was_fused": False, "score": 1.0}
    assert found["segments_info"] == [expected, {**expected, "id": 2, "label_id": 2}]
    (fused,) = segmentation.maskformer_panoptic(_two([1, 1]), label_ids_to_fuse={1})
    assert fused["segmentation"].tolist() == [[1, 1]] * 2
    assert [one["was_fused"] for one in fused["segments_info"]] == [True, True]
    (nothing,) = segmentation.maskformer_panoptic(_two([3, 3]), target_sizes=[(2, 3)])
    assert nothing["segments_info"] == []
    assert (nothing["segmentation"] == -1).all()


def test_instances_count_from_zero_and_later_ones_lie_on_top() -> None:
    outputs = _two([0, 2])
    outputs["masks_queries_logits"][0, 0] = SURE  # the first query has all of the image
    (found,) = segmentation.maskformer_instance(outputs, target_sizes=[(2, 4)])
    assert {one["label_id"] for one in found["segments_info"]} == {0, 2}
    assert [one["id"] for one in found["segments_info"]] == [0, 1]
    assert (found["segmentation"][:, 2:] == 1).all()


def test_semantic() -> None:
    logits = _f([[[[3, 0]], [[0, 3]]]])
    assert segmentation.semantic({"logits": logits})[0].tolist() == [[0, 1]]
    assert segmentation.semantic({"logits": logits}, [(2, 6)])[0].tolist() == [[0, 0, 0, 1, 1, 1]] * 2
    (scored,) = segmentation.semantic({"logits": logits}, [(1, 4)], True)
    assert scored.segmentation_scores.shape == (2, 1, 4)
    assert segmentation.maskformer_semantic(_two([0, 2]))[0].tolist() == [[0, 2]] * 2


def test_depths() -> None:
    outputs = {"predicted_depth": np.full((1, 3, 3), 2.0, np.float32)}
    found = depth.depth(outputs, [(5, 7)])[0]["predicted_depth"]
    assert found.shape == (5, 7)
    assert found == pytest.approx(2.0, rel=SUM)
    assert depth.depth(outputs)[0]["predicted_depth"].shape == (3, 3)
    assert depth.zoedepth(outputs, [(8, 18)])[0]["predicted_depth"].shape == (8, 18)


def test_matches() -> None:
    outputs = {
        "keypoints": _f([[[[0.5, 0.5], [0.1, 0.2]], [[0.25, 1.0], [0, 0]]]]),
        "mask": np.ones((1, 2, 2), int),
        "matches": np.asarray([[[0, -1], [0, -1]]]),
        "matching_scores": _f([[[0.9, 0.0], [0.9, 0.0]]]),
    }
    (found,) = keypoints.superglue(outputs, [[(100, 200), (40, 80)]])
    assert found["keypoints0"].tolist() == [[100, 50]]
    assert found["keypoints1"].tolist() == [[20, 40]]


def test_overlapping_boxes() -> None:
    boxes = np.asarray([[0, 0, 10, 10], [0, 0, 10, 8], [20, 20, 30, 30], [0, 0, 10, 5]])
    scores = _f([0.5, 0.9, 0.1, 0.6])
    assert masks.nms(boxes, scores, 0.7).tolist() == [1, 3, 2]
    assert masks.nms(boxes, scores, 0.85).tolist() == [1, 3, 0, 2]
    assert masks.nms(boxes[:0], scores[:0], 0.7).tolist() == []


def test_boxes_of_masks() -> None:
    found = np.zeros((2, 5, 6), bool)
    found[0, 1:3, 2:5] = True
    assert masks.mask_boxes(found).tolist() == [[2, 1, 4, 2], [0, 0, 0, 0]]


def test_runs() -> None:
    mask = np.asarray([[False, True], [True, True]])
    assert rle.encode(mask) == {"size": [2, 2], "counts": [1, 3]}
    assert (rle.decode(rle.encode(mask)) == mask).all()
    assert rle.segment_runs(np.asarray([[1, 1, 2], [2, 1, 1]])) == [[1, 2, 5, 2], [3, 2]]


def test_the_grid_of_points_and_the_crops() -> None:
    image = np.zeros((50, 100, 3), np.uint8)
    boxes, points, crops, labels = masks.generate_crop_boxes(image, 200, 1, 0.4, 2)
    assert boxes.tolist() == [[0, 0, 100, 50], [0, 0, 60, 35], [0, 15, 60, 50], [40, 0, 100, 35], [40, 15, 100, 50]]
    assert points[0, :, 0].tolist() == [[50, 25], [150, 25], [50, 75], [150, 75]]
    assert points.shape == (1, 4, 5, 2)
    assert labels.shape == (1, 4, 5)
    assert [crop.shape for crop in crops] == [(3, 50, 100), *[(3, 35, 60)] * 4]


def test_the_largest_come_all() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 5, 100, 640, 641, 2000):
        values = rng.random(count)
        for best in {1, count // 2 or 1, count}:
            found = topk_unsorted(values, best)
            assert sorted(values[found], reverse=True) == sorted(values, reverse=True)[:best]
    assert len(set(topk_unsorted(np.zeros(50), 20).tolist())) == 20
    # Values that partition badly: half the way down, every other.
    assert len(set(topk_unsorted(np.arange(3000) % 2 * np.arange(3000.0), 2900).tolist())) == 2900
