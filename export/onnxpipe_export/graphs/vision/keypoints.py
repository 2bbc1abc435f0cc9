"""Export models that detect keypoints in an image (SuperPoint) or match them in two (SuperGlue, LightGlue).

The number of keypoints depends on the images. Outputs have as many columns as the image with the most, and a mask; the
answer to an image, or a pair, is the same in a batch as alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe.errors import ExportError
from onnxpipe_export.cases import images as image_cases
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.graph import Case, Feeds, Maker
from onnxpipe_export.graphs.vision import cases as vision_cases
from onnxpipe_export.graphs.vision import lightglue as lightglue_module
from onnxpipe_export.graphs.vision import superglue as superglue_module
from onnxpipe_export.graphs.vision import superpoint as superpoint_module
from onnxpipe_export.graphs.wrapped import BATCH, WrappedExport, image_only, largest_difference
from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.precision import makers

_POINTS = "num_keypoints"
_DETECTED = ("keypoints", "scores", "descriptors", "mask")
_MATCHED = ("matches", "matching_scores", "keypoints", "mask")


def _partly_fp16(*kinds: str) -> Maker:
    """Make a maker of fp16 in which only operators of these kinds with weights compute in float16.

    A pixel is a keypoint where two scores are equal, and a match comes from sums over many rounds of normalisation; in
    half precision the former finds other keypoints and the latter nothing.
    """

    def make(full: Path, path: Path, calibration: Sequence[Feeds]) -> None:
        graph = OnnxGraph.load(full)
        replacements = {
            index: _in_fp16(graph, node)
            for index, node in enumerate(graph.graph.node)
            if node.op_type in kinds and graph.constant(node.input[1]) is not None
        }
        graph.replace_nodes(replacements)
        graph.save(path)

    return make


def _in_fp16(graph: OnnxGraph, node: Any) -> list[Any]:
    """Give `node` float16 weights, and casts around it."""
    import onnx

    before = []
    for place, name in enumerate(node.input):
        value = graph.constant(name)
        if value is not None:
            node.input[place] = graph.add_constant(f"{name}_fp16", value.astype(np.float16))
        else:
            node.input[place] = graph.fresh(f"{name}_fp16")
            before.append(graph.node("Cast", [name], node.input[place], to=onnx.TensorProto.FLOAT16))
    output, node.output[0] = node.output[0], graph.fresh(f"{node.output[0]}_fp16")
    return [*before, node, graph.node("Cast", [node.output[0]], output, to=onnx.TensorProto.FLOAT)]


_DETECTOR: Mapping[str, Maker] = {**makers.VISION, "fp16": _partly_fp16("Conv")}
"""For models that detect keypoints only."""
_MATCHER: Mapping[str, Maker] = {**makers.ENCODER, "fp16": _partly_fp16("MatMul", "Gemm")}
"""For models that match pairs: the detector stays float32, as other keypoints would be another answer."""


def describe(checkpoint: Checkpoint) -> list[WrappedExport]:
    """Describe the graph `model`.

    Raises:
        ExportError: the model is not one of those named above, or its config is one that the original cannot run with.
    """
    kind = checkpoint.config.model_type
    if checkpoint.calibration is not None and kind != "superpoint":
        raise ExportError("calibration= is a folder of images, and this model takes pairs of them; leave it out")
    if kind == "superpoint":
        return [_graph(checkpoint, _DETECTED, 1, _detect(checkpoint.model))]
    if kind == "superglue":
        return [_graph(checkpoint, _MATCHED, 2, lambda tensors: superglue_module.match(checkpoint.model, tensors))]
    if kind == "lightglue":
        _check_lightglue(checkpoint)
        return [_graph(checkpoint, _MATCHED, 2, lambda tensors: lightglue_module.match(checkpoint.model, tensors))]
    raise ExportError(f"{checkpoint.folder.name}: keypoint models of the type '{kind}' cannot be exported; those that "
                      "can are superpoint, superglue and lightglue")  # fmt: skip


def _check_lightglue(checkpoint: Checkpoint) -> None:
    config = checkpoint.config
    if (config.depth_confidence > 0) != (config.width_confidence > 0):
        raise ExportError(
            f"{checkpoint.folder.name}: depth_confidence is {config.depth_confidence} and width_confidence "
            f"{config.width_confidence}; transformers matches nothing unless both are above 0, or neither is. Set both "
            "in config.json"
        )


def _graph(
    checkpoint: Checkpoint, outputs: tuple[str, ...], images: int, traced: Callable[[Mapping[str, Any]], Any]
) -> WrappedExport:
    """Describe the graph of pixel_values (batch, 3, height, width), or of pairs (batch, 2, 3, height, width)."""
    side = {3: "height", 4: "width"} if images == 2 else {2: "height", 3: "width"}
    points = {0: BATCH, 2 if images == 2 else 1: _POINTS}
    return WrappedExport(
        checkpoint,
        "model",
        ("pixel_values",),
        outputs,
        {"pixel_values": {0: BATCH, **side}, **dict.fromkeys(outputs, points)},
        lambda tensors: _one_by_one(checkpoint.model, tensors, outputs, images),
        lambda: {"pixel_values": synthetic_views(checkpoint, [1, 2, 3], (72, 104), images)},
        lambda tokenizer: _cases(checkpoint, images),
        _MATCHER if images == 2 else _DETECTOR,
        traced=traced,
        max_difference=_same_points,
        eager=False,
        user_feeds=image_only if images == 1 else None,
    )


def _detect(model: Any) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    import torch

    def forward(tensors: Mapping[str, Any]) -> dict[str, Any]:
        points = superpoint_module.detect(model, tensors["pixel_values"])
        size = torch.arange(points.most).shape[0]
        outputs = (points.keypoints, points.scores, points.descriptors, points.mask.to(torch.int32))
        return {name: one[:, :size] for name, one in zip(_DETECTED, outputs, strict=True)}

    return forward


def _one_by_one(model: Any, tensors: Mapping[str, Any], outputs: tuple[str, ...], images: int) -> dict[str, Any]:
    """Run the original on one row after the other, and pad the answers as it pads a batch.

    In a batch a pair's matches depend on its neighbours (SuperGlue), or the original fails (LightGlue).
    """
    import torch

    answers = [model(pixel_values=row[None]) for row in tensors["pixel_values"]]
    axis = 2 if images == 2 else 1
    most = max(answer["mask"].shape[axis] for answer in answers)
    padded: dict[str, Any] = {}
    for name in outputs:
        rows = []
        for answer in answers:
            # Without any keypoint the original returns matches of another integer type.
            value = answer[name].to(torch.int64) if name == "matches" else answer[name]
            shape = (*value.shape[:axis], most - value.shape[axis], *value.shape[axis + 1 :])
            rows.append(torch.cat([value, value.new_full(shape, -1 if name == "matches" else 0)], axis))
        padded[name] = torch.cat(rows)
    return padded


def _same_points(alone: Feeds, together: Feeds) -> float:
    """Compute the difference at the keypoints of a row; infinite if it has others in the batch."""
    axis = 1 if "matches" in alone else 0
    size = alone["mask"].shape[axis]
    cut = {name: np.take(array, range(min(size, array.shape[axis])), axis) for name, array in together.items()}
    rest = np.take(together["mask"], range(size, together["mask"].shape[axis]), axis)
    if rest.any() or any(cut[name].shape != array.shape for name, array in alone.items()):
        return float("inf")
    return largest_difference(alone, cut)


def synthetic_views(checkpoint: Checkpoint, numbers: list[int], size: tuple[int, int], images: int) -> np.ndarray:
    """Make synthetic images, or pairs of an image and the same scene moved a little to the right and down."""
    height, width = size
    pairs = []
    for number in numbers:
        step = 4 + 3 * number if images == 2 else 0
        whole = image_cases.synthetic_image(number, (height + step, width + step))
        grey = np.repeat(whole.mean(axis=2, keepdims=True), 3, axis=2).round().astype(np.uint8)
        views = [grey[:height, :width], grey[step:, step:]][:images]
        pairs.append(np.stack(views))
    values = image_cases.pixels(np.stack(pairs), checkpoint.preprocessor)
    return values if images == 2 else values[:, 0]


def _cases(checkpoint: Checkpoint, images: int) -> list[Case]:
    """Make cases of the processor's size and others, alone and in a batch."""
    size = checkpoint.preprocessor.get("size", {})
    usual = (int(size.get("height", 480)), int(size.get("width", 640)))
    cases = []
    for number, shape in enumerate(vision_cases.sizes(*usual, multiple=8)):
        values = [synthetic_views(checkpoint, [seed], shape, images) for seed in range(4 if number == 0 else 2)]
        cases += [
            Case({"pixel_values": one}, golden=number == 3 and place == 0, calibrates=True)
            for place, one in enumerate(values)
        ]
        cases.append(Case({"pixel_values": synthetic_views(checkpoint, [5, 6, 7], shape, images)}))
    return cases
