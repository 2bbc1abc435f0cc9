"""Post-processing of vision models against transformers' own, on random outputs; resizing against torch.

What of transformers needs torchvision (which is not installed) gets a stand-in from this file: `resize` by torch's own
`interpolate`, and `batched_nms` as torchvision documents it.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from transformers.models.conditional_detr.image_processing_pil_conditional_detr import ConditionalDetrImageProcessorPil
from transformers.models.deformable_detr.image_processing_pil_deformable_detr import DeformableDetrImageProcessorPil
from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil
from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil
from transformers.models.eomt.image_processing_pil_eomt import EomtImageProcessorPil
from transformers.models.glpn.image_processing_pil_glpn import GLPNImageProcessorPil
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil
from transformers.models.grounding_dino.processing_grounding_dino import GroundingDinoProcessor
from transformers.models.lightglue.image_processing_pil_lightglue import LightGlueImageProcessorPil
from transformers.models.mask2former.image_processing_pil_mask2former import Mask2FormerImageProcessorPil
from transformers.models.maskformer.image_processing_pil_maskformer import MaskFormerImageProcessorPil
from transformers.models.mobilenet_v2.image_processing_pil_mobilenet_v2 import MobileNetV2ImageProcessorPil
from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil
from transformers.models.owlvit.image_processing_pil_owlvit import OwlViTImageProcessorPil
from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil
from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil
from transformers.models.superglue.image_processing_pil_superglue import SuperGlueImageProcessorPil
from transformers.models.superpoint.image_processing_pil_superpoint import SuperPointImageProcessorPil
from transformers.models.yolos.image_processing_pil_yolos import YolosImageProcessorPil

from onnxpipe.processing.images.interpolate import interpolate, interpolate_cropped, resized_argmax
from onnxpipe.processing.images.postprocess import depth, detection, keypoints, masks, rle, segmentation
from onnxpipe.processing.images.postprocess.ranking import topk_unsorted
from tolerances import LAYER, MODEL, SUM, float32

SEEDS = range(4)
#: Part of the pixels of a map that may go to another segment: ties to within float32's rounding.
MOVED = 1e-3

Numbers = dict[str, np.ndarray]


def _torch(outputs: Numbers) -> SimpleNamespace:
    return SimpleNamespace(**{name: torch.from_numpy(value.copy()) for name, value in outputs.items()})


def _bare(cls: type) -> Any:
    """A processor without its constructor, for methods that use nothing of it."""
    return cls.__new__(cls)


def _same(ours: Any, theirs: Any, tolerance: float) -> None:
    theirs = theirs.numpy() if isinstance(theirs, torch.Tensor) else np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    if theirs.size:
        assert np.abs(ours.astype(np.float64) - theirs).max() <= tolerance


# Resizing


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest", "bilinear corners", "bicubic corners", "antialias"])
def test_interpolate_is_torchs(mode: str) -> None:
    rng = np.random.default_rng(7)
    kind = mode.split()[0].replace("antialias", "bilinear")
    corners, smooth = mode.endswith("corners"), mode == "antialias"
    for trial in range(60):
        h, w, height, width = (int(side) for side in rng.integers(2, 150, 4))
        if trial % 10 == 0:
            height, width = h, w
        array = rng.random((2, 3, h, w), dtype=np.float32)
        theirs = F.interpolate(
            torch.from_numpy(array),
            (height, width),
            mode=kind,
            align_corners=None if kind == "nearest" else corners,
            antialias=smooth,
        )
        # Antialiasing adds up to a hundred products, in an order of torch's own; the others up to 4 x 4.
        _same(interpolate(array, (height, width), kind, corners, smooth), theirs, SUM if smooth else float32(1.0, 16))


def test_interpolate_of_one_pixel_and_of_bools() -> None:
    for h, w, height, width in [(1, 1, 5, 7), (5, 7, 1, 2), (1, 9, 3, 1)]:
        array = np.random.default_rng(0).random((1, 1, h, w), dtype=np.float32)
        for mode in ("bilinear", "bicubic"):
            theirs = F.interpolate(torch.from_numpy(array), (height, width), mode=mode)
            _same(interpolate(array, (height, width), mode), theirs, float32(1.0, 16))
    mask = np.random.default_rng(0).random((9, 13)) > 0.5
    theirs = F.interpolate(torch.from_numpy(mask.astype(np.float32))[None, None], (20, 11), mode="nearest")[0, 0]
    assert (interpolate(mask, (20, 11), "nearest") == theirs.numpy().astype(bool)).all()


def test_argmax_is_that_of_the_resized() -> None:
    array = np.random.default_rng(1).random((21, 17, 23), dtype=np.float32)
    theirs = F.interpolate(torch.from_numpy(array)[None], (60, 90), mode="bilinear")[0].argmax(0).numpy()
    assert np.mean(resized_argmax(array, (60, 90)) != theirs) <= MOVED


def test_two_resizings_in_one() -> None:
    rng = np.random.default_rng(3)
    for _ in range(40):
        sides = rng.integers(1, 90, (4, 2))
        sides[2] = np.minimum(sides[1], sides[2])
        old, between, kept, new = (tuple(int(side) for side in pair) for pair in sides)
        array = rng.random((3, *old), dtype=np.float32)
        theirs = F.interpolate(torch.from_numpy(array)[None], between, mode="bilinear")[..., : kept[0], : kept[1]]
        theirs = F.interpolate(theirs, new, mode="bilinear")[0]
        _same(interpolate_cropped(array, between, kept, new), theirs, SUM)


def test_interpolate_refuses() -> None:
    for arguments in [("cubic",), ("nearest", True), ("bicubic", False, True), ("bilinear", True, True)]:
        with pytest.raises(ValueError, match="mode"):
            interpolate(np.zeros((2, 2), np.float32), (4, 4), *arguments)
    for array, size in [(np.zeros((2, 0)), (3, 3)), (np.zeros(3), (3, 3)), (np.zeros((2, 2)), (0, 3))]:
        with pytest.raises(ValueError, match="cannot be resized"):
            interpolate(array, size)


# Boxes

DETECTORS = [
    (detection.detr, DetrImageProcessorPil, {}),
    (detection.detr, YolosImageProcessorPil, {}),
    (detection.conditional_detr, ConditionalDetrImageProcessorPil, {}),
    (detection.conditional_detr, ConditionalDetrImageProcessorPil, {"top_k": 7}),
    (detection.deformable_detr, DeformableDetrImageProcessorPil, {"top_k": 10_000}),
    (detection.rt_detr, RTDetrImageProcessorPil, {}),
    (detection.owlvit, OwlViTImageProcessorPil, {}),
    (detection.owlv2, Owlv2ImageProcessorPil, {}),
    (detection.grounding_dino, GroundingDinoImageProcessorPil, {}),
]


def _boxes(seed: int, batch: int = 2) -> Numbers:
    rng = np.random.default_rng(seed)
    return {
        "logits": rng.normal(0, 3, (batch, 30, 11)).astype(np.float32),
        "pred_boxes": rng.random((batch, 30, 4), dtype=np.float32),
    }


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("threshold", [None, 0.0, 0.6, 1.0])
@pytest.mark.parametrize("sizes", [None, [(480, 640), (33, 1201)]])
@pytest.mark.parametrize(("ours", "theirs", "more"), DETECTORS)
def test_boxes(
    ours: Callable[..., Any], theirs: type, more: dict[str, Any], sizes: Any, threshold: float | None, seed: int
) -> None:
    outputs = _boxes(seed)
    keywords = more if threshold is None else {**more, "threshold": threshold}
    expected = _bare(theirs).post_process_object_detection(_torch(outputs), target_sizes=sizes, **keywords)
    _same_boxes(ours(outputs, target_sizes=sizes, **keywords), expected)
    if sizes is not None:
        _same_boxes(ours(outputs, target_sizes=np.asarray(sizes), **keywords), expected)


def _same_boxes(found: Any, expected: Any) -> None:
    assert len(found) == len(expected)
    for mine, their in zip(found, expected):
        assert mine.keys() == their.keys()
        _same(mine["scores"], their["scores"], SUM)
        _same(mine["labels"], their["labels"], 0)
        _same(mine["boxes"], their["boxes"], float32(1201.0))


def test_rt_detr_without_focal_loss_is_read_as_detr() -> None:
    # transformers takes that softmax over the batch, an accident of torch's default axis; the class axis is meant.
    outputs = _boxes(0)
    found = detection.rt_detr(outputs, 0.5, None, use_focal_loss=False)
    _same_boxes(found, _bare(DetrImageProcessorPil).post_process_object_detection(_torch(outputs), 0.5))


@pytest.mark.parametrize("threshold", [0.25, 0.8])
def test_phrases_of_grounding_dino(threshold: float) -> None:
    outputs = _boxes(3)
    ids = np.arange(2 * 11).reshape(2, 11)
    theirs = _bare(GroundingDinoProcessor)
    theirs.batch_decode = lambda rows: [" ".join(str(int(i)) for i in row) for row in rows]
    expected = theirs.post_process_grounded_object_detection(
        _torch(outputs), torch.from_numpy(ids), threshold, 0.5, target_sizes=[(10, 20), (30, 40)]
    )
    found = detection.grounding_dino_phrases(
        outputs, ids, lambda row: " ".join(map(str, row)), threshold, 0.5, [(10, 20), (30, 40)]
    )
    for mine, their in zip(found, expected):
        assert mine["text_labels"] == their["text_labels"]
        _same(mine["scores"], their["scores"], SUM)


def test_wrong_numbers_of_sizes() -> None:
    for function in {row[0] for row in DETECTORS}:
        with pytest.raises(ValueError, match="as many target sizes"):
            function(_boxes(0), target_sizes=[(1, 2)])
    with pytest.raises(ValueError, match="have no 'pred_boxes'"):
        detection.detr({"logits": np.zeros((1, 2, 3))})


# Segments


def _segments(seed: int, queries: int = 12, classes: int = 6, size: tuple[int, int] = (24, 31)) -> Numbers:
    """Smooth masks, some of which win and some of which are hidden, and classes of all degrees of doubt."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 4, (2, queries, 5, 6)).astype(np.float32)
    return {
        "class_queries_logits": rng.normal(0, 2.5, (2, queries, classes + 1)).astype(np.float32),
        "masks_queries_logits": interpolate(coarse, size, "bicubic"),
    }


def _as_detr(outputs: Numbers) -> Numbers:
    return dict(zip(("logits", "pred_masks"), outputs.values()))


@pytest.fixture
def oneformer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """OneFormer's processor with a stand-in for torchvision's resize, whose default is to antialias."""
    module = importlib.import_module("transformers.models.oneformer.image_processing_pil_oneformer")

    def resize(image: torch.Tensor, size: Any, interpolation: Any) -> torch.Tensor:
        return F.interpolate(image, tuple(size), mode="bilinear", align_corners=False, antialias=True)

    stand_in = SimpleNamespace(resize=resize, InterpolationMode=SimpleNamespace(BILINEAR="bilinear"))
    monkeypatch.setattr(module, "tvF", stand_in, raising=False)
    processor = _bare(module.OneFormerImageProcessorPil)
    processor.metadata = {"thing_ids": [0, 2, 3]}
    processor.class_info_file = "ade20k_panoptic.json"
    return processor


FAMILIES = {
    "detr": DetrImageProcessorPil,
    "maskformer": MaskFormerImageProcessorPil,
    "mask2former": Mask2FormerImageProcessorPil,
    "oneformer": None,
}
LIMITS: list[dict[str, Any]] = [
    {},
    {"threshold": 0.9, "overlap_mask_area_threshold": 0.5},
    {"threshold": 0.0, "mask_threshold": 0.2, "overlap_mask_area_threshold": 0.1},
    {"threshold": 0.3, "mask_threshold": 0.7, "overlap_mask_area_threshold": 0.0},
    {"threshold": 1.0},
]
SIZES = [None, [(50, 77), (50, 77)], [(13, 90), (24, 31)]]


def _pair(family: str, oneformer: Any, seed: int, **shape: Any) -> tuple[Any, Numbers]:
    outputs = _segments(seed, **shape)
    theirs = oneformer if family == "oneformer" else _bare(FAMILIES[family])
    return theirs, _as_detr(outputs) if family == "detr" else outputs


def _same_map(ours: np.ndarray, theirs: torch.Tensor) -> None:
    assert ours.dtype == theirs.numpy().dtype
    assert ours.shape == tuple(theirs.shape)
    assert np.mean(ours != theirs.numpy()) <= MOVED


def _same_segments(found: Any, expected: Any, seen: int | None = None) -> int:
    """Compares; the number of segments."""
    assert len(found) == len(expected)
    count = 0
    for mine, their in zip(found, expected):
        if isinstance(their["segmentation"], list):
            assert mine["segmentation"] == [[int(run) for run in runs] for runs in their["segmentation"]]
        else:
            _same_map(mine["segmentation"], their["segmentation"])
        assert [{**one, "score": None} for one in mine["segments_info"]] == [
            {**one, "score": None} for one in their["segments_info"]
        ]
        for one, other in zip(mine["segments_info"], their["segments_info"]):
            assert type(one["id"]) is int
            assert type(one["score"]) is float
            assert abs(one["score"] - other["score"]) <= MODEL  # a mean over all pixels
        count += len(mine["segments_info"])
    return count


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("family", FAMILIES)
def test_panoptic(family: str, limits: dict[str, Any], sizes: Any, oneformer: Any) -> None:
    total = 0
    for seed in SEEDS:
        theirs, outputs = _pair(family, oneformer, seed)
        fused = {1, 4, 5} if seed % 2 else None
        keywords = {**limits, "label_ids_to_fuse": fused, "target_sizes": sizes}
        expected = theirs.post_process_panoptic_segmentation(_torch(outputs), **keywords)
        total += _same_segments(getattr(segmentation, f"{family}_panoptic")(outputs, **keywords), expected)
    assert total or limits.get("threshold", 0.5) > 0.3  # the comparison is not of nothing with nothing


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("family", FAMILIES)
def test_instance(family: str, limits: dict[str, Any], sizes: Any, oneformer: Any) -> None:
    total = 0
    for seed in SEEDS:
        # Few classes: torch does not sort the best pairs. Many: it does.
        theirs, outputs = _pair(family, oneformer, seed, queries=9, classes=70 if seed == 1 else 5)
        if seed == 1:
            outputs = {name: value * 4 if value.shape[-1] == 71 else value for name, value in outputs.items()}
        function = getattr(segmentation, f"{family}_instance")
        keywords = {**limits, "target_sizes": sizes}
        expected = theirs.post_process_instance_segmentation(_torch(outputs), **keywords)
        total += _same_segments(function(outputs, **keywords), expected)
        if sizes is None:
            keywords["return_coco_annotation"] = True
            expected = theirs.post_process_instance_segmentation(_torch(outputs), **keywords)
            _same_segments(function(outputs, **keywords), expected)
    assert total or limits.get("threshold", 0.5) > 0.3  # the comparison is not of nothing with nothing


@pytest.mark.parametrize("family", ["maskformer", "mask2former"])
def test_binary_maps(family: str) -> None:
    theirs, outputs = _pair(family, None, 2)
    function = getattr(segmentation, f"{family}_instance")
    for threshold in (0.2, 1.0):
        keywords = {"threshold": threshold, "return_binary_maps": True, "target_sizes": [(40, 30), (20, 64)]}
        expected = theirs.post_process_instance_segmentation(_torch(outputs), **keywords)
        _same_segments(function(outputs, **keywords), expected)
    with pytest.raises(ValueError, match="can not be both"):
        function(outputs, return_binary_maps=True, return_coco_annotation=True)


@pytest.mark.parametrize(
    "keywords", [{"task_type": "panoptic"}, {"is_demo": False}, {"is_demo": False, "task_type": "semantic"}]
)
def test_oneformers_other_instances(keywords: dict[str, Any], oneformer: Any) -> None:
    outputs = _segments(5)
    outputs["class_queries_logits"][..., [1, 4, 5]] -= 30  # things only: others cannot be renumbered
    limits = {"threshold": 0.1, "overlap_mask_area_threshold": 0.01, **keywords}
    expected = oneformer.post_process_instance_segmentation(_torch(outputs), **limits)
    found = segmentation.oneformer_instance(
        outputs, thing_ids=[0, 2, 3], class_info_file="ade20k_panoptic.json", **limits
    )
    assert _same_segments(found, expected)
    with pytest.raises(ValueError, match="thing_ids"):
        segmentation.oneformer_instance(outputs, task_type="panoptic")


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("family", [*FAMILIES, "conditional_detr"])
def test_semantic_of_queries(family: str, sizes: Any, oneformer: Any) -> None:
    outputs = _segments(3)
    if family in ("detr", "conditional_detr"):
        outputs = _as_detr(outputs)
    theirs = {**FAMILIES, "oneformer": oneformer, "conditional_detr": ConditionalDetrImageProcessorPil}[family]
    theirs = theirs if family == "oneformer" else _bare(theirs)
    _same_classes(getattr(segmentation, f"{family}_semantic"), theirs, outputs, {"target_sizes": sizes})


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("theirs", [SegformerImageProcessorPil, DPTImageProcessorPil, MobileNetV2ImageProcessorPil])
def test_semantic(theirs: type, sizes: Any) -> None:
    outputs = {"logits": _segments(1)["masks_queries_logits"]}
    _same_classes(segmentation.semantic, _bare(theirs), outputs, {"target_sizes": sizes})


def _same_classes(function: Any, theirs: Any, outputs: Numbers, keywords: dict[str, Any]) -> None:
    given = _torch(outputs)
    given.patch_offsets = outputs["patch_offsets"].tolist() if "patch_offsets" in outputs else None
    for mine, their in zip(function(outputs, **keywords), theirs.post_process_semantic_segmentation(given, **keywords)):
        _same_map(mine, their)
    scored = theirs.post_process_semantic_segmentation(given, return_segmentation_scores=True, **keywords)
    for mine, their in zip(function(outputs, return_segmentation_scores=True, **keywords), scored):
        _same_map(mine.segmentation, their.segmentation)
        _same(mine.segmentation_scores, their.segmentation_scores, MODEL)


EDGES = [{"shortest_edge": 40, "longest_edge": 40}, {"shortest_edge": 40, "longest_edge": None}]
EOMT_SIZES = [(60, 44), (25, 80)]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.8, 1.0])
def test_eomt(threshold: float) -> None:
    theirs, size, total = _bare(EomtImageProcessorPil), EDGES[0], 0
    for seed in SEEDS:
        outputs = _segments(seed)
        keywords: dict[str, Any] = {"target_sizes": EOMT_SIZES, "size": size, "threshold": threshold}
        expected = theirs.post_process_instance_segmentation(_torch(outputs), **keywords)
        total += _same_segments(segmentation.eomt_instance(outputs, **keywords), expected)
        keywords |= {"mask_threshold": 0.4, "overlap_mask_area_threshold": 0.3, "stuff_classes": [1, 2][: seed % 3]}
        expected = theirs.post_process_panoptic_segmentation(_torch(outputs), **keywords)
        total += _same_segments(segmentation.eomt_panoptic(outputs, **keywords), expected)
    assert total or threshold == 1.0


def test_eomts_classes_whole_and_from_patches() -> None:
    outputs = _segments(4)
    _same_classes(
        segmentation.eomt_semantic,
        _bare(EomtImageProcessorPil),
        outputs,
        {"target_sizes": EOMT_SIZES, "size": EDGES[1]},
    )
    several = {name: np.concatenate([value, value[::-1], value])[:5] for name, value in outputs.items()}
    # (60, 44) is seen as (54, 40), (25, 80) as (40, 128).
    several["patch_offsets"] = np.asarray([(0, 0, 40), (0, 14, 54), (1, 0, 40), (1, 44, 84), (1, 88, 128)])
    keywords = {"target_sizes": EOMT_SIZES, "size": EDGES[1]}
    _same_classes(segmentation.eomt_semantic, _bare(EomtImageProcessorPil), several, keywords)


def test_the_order_of_the_best_is_torchs() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        count = int(rng.integers(1, 1500))
        values = rng.random(count, dtype=np.float32)
        best = int(rng.integers(1, count + 1))
        theirs = torch.from_numpy(values).topk(best, sorted=False).indices.numpy()
        assert (topk_unsorted(values, best) == theirs).all()


def test_many_queries_at_full_size_do_not_take_seconds() -> None:
    outputs = _segments(0, queries=60, classes=133, size=(200, 267))
    outputs["class_queries_logits"] *= 2
    outputs = {name: value[:1] for name, value in outputs.items()}
    given, sizes = _torch(_as_detr(outputs)), [(800, 1066)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        theirs = _seconds(
            lambda: _bare(DetrImageProcessorPil).post_process_panoptic_segmentation(given, 0.3, target_sizes=sizes)
        )
    finally:
        torch.set_num_threads(threads)
    ours = _seconds(lambda: segmentation.detr_panoptic(_as_detr(outputs), 0.3, target_sizes=sizes))
    assert ours < 1.5 * theirs, f"{ours:.2f} s against {theirs:.2f} s"


def _seconds(call: Callable[[], Any]) -> float:
    def once() -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return min(once() for _ in range(2))


# Depths


def _depths(seed: int) -> Numbers:
    return {"predicted_depth": np.random.default_rng(seed).random((2, 30, 41), dtype=np.float32) * 9}


@pytest.mark.parametrize("sizes", [None, [(61, 100), (17, 41)]])
@pytest.mark.parametrize("theirs", [DPTImageProcessorPil, GLPNImageProcessorPil])
def test_depth(theirs: type, sizes: Any) -> None:
    outputs = _depths(0)
    expected = _bare(theirs).post_process_depth_estimation(_torch(outputs), sizes)
    for mine, their in zip(depth.depth(outputs, sizes), expected):
        _same(mine["predicted_depth"], their["predicted_depth"], float32(9.0, 32))


@pytest.mark.parametrize("targets", [None, [(61, 100), (17, 41)]])
@pytest.mark.parametrize("sources", [None, [(20, 33), (50, 40)]])
@pytest.mark.parametrize("flipped", [False, True])
def test_zoedepth(flipped: bool, sources: Any, targets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("transformers.models.zoedepth.image_processing_pil_zoedepth")

    def resize(image: torch.Tensor, size: Any, interpolation: Any, antialias: bool) -> torch.Tensor:
        return F.interpolate(image[None], tuple(size), mode="bicubic", align_corners=False, antialias=antialias)[0]

    stand_in = SimpleNamespace(resize=resize, InterpolationMode=SimpleNamespace(BICUBIC="bicubic"))
    monkeypatch.setattr(module, "tvF", stand_in, raising=False)
    outputs, other = _depths(0), _depths(1)
    for padded in (True, False):
        if sources is None and padded:
            continue
        expected = _bare(module.ZoeDepthImageProcessorPil).post_process_depth_estimation(
            _torch(outputs), sources, targets, _torch(other) if flipped else None, padded
        )
        found = depth.zoedepth(outputs, sources, targets, other if flipped else None, padded)
        for mine, their in zip(found, expected):
            _same(mine["predicted_depth"], their["predicted_depth"], float32(9.0, 64))


def test_zoedepth_needs_what_it_pads() -> None:
    with pytest.raises(ValueError, match="source_sizes"):
        depth.zoedepth(_depths(0))
    with pytest.raises(ValueError, match="same shape"):
        depth.zoedepth(_depths(0), [(1, 1)] * 2, outputs_flipped={"predicted_depth": np.zeros((2, 3, 3))})


# Keypoints


def _matches(seed: int, points: int = 25) -> Numbers:
    rng = np.random.default_rng(seed)
    return {
        "keypoints": rng.random((2, 2, points, 2), dtype=np.float32),
        "mask": (rng.random((2, 2, points)) > 0.3).astype(np.int32),
        "matches": rng.integers(-1, points + 3, (2, 2, points)),
        "matching_scores": rng.random((2, 2, points), dtype=np.float32),
        "scores": rng.random((2, points), dtype=np.float32),
        "descriptors": rng.random((2, points, 8), dtype=np.float32),
    }


@pytest.mark.parametrize("threshold", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("theirs", [SuperGlueImageProcessorPil, LightGlueImageProcessorPil])
def test_matches(theirs: type, threshold: float) -> None:
    sizes = [[(480, 640), (100, 33)], [(7, 1000), (300, 300)]]
    for seed in SEEDS:
        outputs = _matches(seed)
        expected = _bare(theirs).post_process_keypoint_matching(_torch(outputs), sizes, threshold)
        for mine, their in zip(keypoints.superglue(outputs, sizes, threshold), expected):
            assert mine.keys() == their.keys()
            for name in mine:
                _same(mine[name], their[name], 0)


def test_points() -> None:
    outputs = _matches(0)
    outputs |= {"keypoints": outputs["keypoints"][:, 0], "mask": outputs["mask"][:, 0]}
    sizes = [(480, 640), (100, 33)]
    expected = _bare(SuperPointImageProcessorPil).post_process_keypoint_detection(_torch(outputs), sizes)
    for mine, their in zip(keypoints.superpoint(outputs, sizes), expected):
        for name in their:
            _same(mine[name], their[name], 0)


def test_wrong_sizes_of_pairs() -> None:
    for sizes, message in [([[(1, 2), (3, 4)]], "as many"), ([(1, 2), (3, 4)], "size \\(h, w\\)")]:
        with pytest.raises(ValueError, match=message):
            keypoints.superglue(_matches(0), sizes)


# Masks of everything


def batched_nms(boxes: torch.Tensor, scores: torch.Tensor, idxs: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """torchvision's, as it is documented, for boxes of one group."""
    assert not idxs.any()
    kept: list[int] = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        for j in kept:
            low, high = torch.maximum(boxes[i, :2], boxes[j, :2]), torch.minimum(boxes[i, 2:], boxes[j, 2:])
            shared = (high - low).clamp(min=0).prod()
            areas = [(box[2:] - box[:2]).prod() for box in (boxes[i], boxes[j])]
            if shared / (areas[0] + areas[1] - shared) > iou_threshold:
                break
        else:
            kept.append(i)
    return torch.tensor(kept, dtype=torch.int64)


@pytest.fixture
def sam(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """SAM's and SAM 2's modules, with a stand-in for torchvision."""
    from torch.nn import functional

    for name in ("torchvision", "torchvision.ops", "torchvision.ops.boxes", "torchvision.transforms"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    v2 = ModuleType("torchvision.transforms.v2")
    v2.functional = functional  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision.transforms.v2", v2)
    monkeypatch.setitem(sys.modules, "torchvision.transforms.v2.functional", functional)
    monkeypatch.setattr(sys.modules["torchvision.ops.boxes"], "batched_nms", batched_nms, raising=False)
    names = [f"transformers.models.{family}.image_processing_{family}" for family in ("sam", "sam2")]
    known = {name: sys.modules.get(name) for name in names}
    yield {name.rsplit("_", 1)[1]: importlib.import_module(name) for name in names}
    for name, module in known.items():
        if module is None:
            sys.modules.pop(name, None)


def _crop_of(seed: int, size: tuple[int, int] = (70, 90)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    centres, radii = rng.random((8, 3, 2)) * size, rng.random((8, 3)) * 30
    distance = np.hypot(y - centres[..., 0, None, None], x - centres[..., 1, None, None])
    logits = (radii[..., None, None] - distance) * rng.choice([0.3, 1, 4], (8, 3))[..., None, None]
    return logits.astype(np.float32), rng.random((8, 3), dtype=np.float32)


@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize("size", [(70, 90), (90, 70), (33, 200)])
def test_crops(sam: dict[str, ModuleType], size: tuple[int, int], layers: int) -> None:
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    pil = importlib.import_module("transformers.models.sam.image_processing_pil_sam")
    expected = pil._generate_crop_boxes(image.transpose(2, 0, 1), 64, layers, 0.4, 5, 1)
    found = masks.generate_crop_boxes(image, 64, layers, 0.4, 5, 1)
    for mine, their in zip([found[0], found[1], found[3]], [expected[0], expected[1], expected[3]]):
        _same(mine, their, 0)
    assert all((mine == their).all() for mine, their in zip(found[2], expected[2], strict=True))
    torch_points = sam["sam2"]._generate_crop_boxes(torch.from_numpy(image).permute(2, 0, 1), 64, layers, 0.4, 5, 1)[1]
    assert np.abs(found[1] - torch_points.numpy()).max() < float32(200.0)


def test_crops_refuse() -> None:
    image = np.zeros((10, 10, 3), np.uint8)
    for arguments in [(64, 1, 0.3, 8, 2), (64, 0, 0.3, 0, 1)]:
        with pytest.raises(ValueError, match="points a side"):
            masks.generate_crop_boxes(image, *arguments)
    with pytest.raises(ValueError, match="Only one image"):
        masks.generate_crop_boxes([image], 64)


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"pred_iou_thresh": 0.2, "stability_score_thresh": 0.5},
        {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0},
        {"pred_iou_thresh": 0.1, "stability_score_thresh": 0.3, "mask_threshold": 0.5, "stability_score_offset": 2},
        {"pred_iou_thresh": 1.0},
    ],
)
@pytest.mark.parametrize("box", [(0, 0, 90, 70), (20, 30, 110, 100), (110, 0, 200, 70)])
def test_masks_are_chosen(sam: dict[str, ModuleType], box: Any, limits: dict[str, float]) -> None:
    full = (70, 90) if box[:2] == (0, 0) else (120, 200)
    for family in ("sam", "sam2"):
        processor = _bare(getattr(sam[family], f"{family.capitalize()}ImageProcessor"))
        logits, scores = _crop_of(len(limits))
        expected = processor.filter_masks(
            torch.from_numpy(logits), torch.from_numpy(scores), full, torch.tensor(box).float(), **limits
        )
        found = masks.filter_masks(logits, scores, full, np.asarray(box, np.float32), **limits)
        assert found[0] == expected[0]
        _same(found[1], expected[1], 0)
        assert (found[2] == expected[2].numpy()).all()
        if not len(found[0]):
            continue
        _best_of(sam[family], found, expected)


def _best_of(module: ModuleType, found: Any, expected: Any) -> None:
    for threshold in (0.1, 0.5, 0.9):
        theirs = module._post_process_for_mask_generation(*expected, threshold)
        ours = masks.post_process_for_mask_generation(*found, threshold)
        assert ours[2] == theirs[2]
        _same(ours[1], theirs[1], 0)
        assert (ours[3] == theirs[3].numpy()).all()
        assert all((mine == their.numpy()).all() for mine, their in zip(ours[0], theirs[0], strict=True))


def test_masks_of_no_points_and_of_different_numbers() -> None:
    logits, scores = _crop_of(0)
    empty = masks.filter_masks(logits, scores, (70, 90), (0, 0, 90, 70), pred_iou_thresh=2)
    assert masks.post_process_for_mask_generation(*empty, 0.7)[0] == []
    with pytest.raises(ValueError, match="same batch size"):
        masks.filter_masks(logits, scores[:3], (70, 90), (0, 0, 90, 70))


@pytest.mark.parametrize("binarize", [False, True])
def test_masks_at_the_size_of_the_image(sam: dict[str, ModuleType], binarize: bool) -> None:
    low = [np.random.default_rng(i).normal(size=(4, 3, 16, 16)).astype(np.float32) for i in range(2)]
    own, seen = [(50, 71), (90, 40)], [(45, 64), (64, 28)]
    pad = {"height": 64, "width": 64}
    expected = _bare(sam["sam"].SamImageProcessor).post_process_masks(
        [torch.from_numpy(one) for one in low], own, seen, 0.1, binarize, pad
    )
    for mine, their in zip(masks.post_process_masks(low, own, seen, 0.1, binarize, pad), expected):
        _same_logits(mine, their, binarize)
    for apart in (False, True):
        expected = _bare(sam["sam2"].Sam2ImageProcessor).post_process_masks(
            [torch.from_numpy(one) for one in low], own, 0.1, binarize, apply_non_overlapping_constraints=apart
        )
        found = masks.post_process_masks_sam2(low, own, 0.1, binarize, apply_non_overlapping_constraints=apart)
        for mine, their in zip(found, expected):
            _same_logits(mine, their, binarize)


def _same_logits(mine: np.ndarray, their: torch.Tensor, binarize: bool) -> None:
    if binarize:
        assert np.mean(mine != their.numpy()) <= MOVED
    else:
        _same(mine, their, LAYER)


def test_areas_are_refused() -> None:
    with pytest.raises(ValueError, match="not supported"):
        masks.post_process_masks_sam2([np.zeros((1, 1, 2, 2))], [(2, 2)], max_hole_area=3)


def test_best_boxes_against_the_stand_in() -> None:
    rng = np.random.default_rng(0)
    for _ in range(6):
        low = rng.integers(0, 30, (25, 2))
        boxes = np.concatenate([low, low + rng.integers(0, 30, (25, 2))], 1)
        scores = rng.random(25, dtype=np.float32).round(1)
        for threshold in (0.0, 0.3, 0.7, 1.0):
            given = (torch.from_numpy(boxes).float(), torch.from_numpy(scores))
            theirs = batched_nms(*given, torch.zeros(25), threshold)
            assert (masks.nms(boxes, scores, threshold) == theirs.numpy()).all()


def test_runs_are_those_of_a_mask() -> None:
    rng = np.random.default_rng(0)
    for mask in [rng.random((7, 9)) > 0.5, np.zeros((3, 4), bool), np.ones((3, 4), bool), np.eye(3, dtype=bool)]:
        assert (rle.decode(rle.encode(mask)) == mask).all()
    assert rle.encode(np.zeros((3, 4), bool)) == {"size": [3, 4], "counts": [12]}
    assert rle.encode(np.ones((3, 4), bool)) == {"size": [3, 4], "counts": [0, 12]}
