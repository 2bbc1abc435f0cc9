"""LightGlue without branches on data: pruned keypoints are masked, not removed, and a pair that stops early keeps its
state, while the others go on.

The original removes points and pairs from its tensors, and fails on a batch in which pairs stop at different layers.

Source: Lindenberger, Sarlin, Pollefeys 2023, "LightGlue: Local Feature Matching at Light Speed"; what is computed is
transformers' LightGlueForKeypointMatching.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnxpipe_export.graphs.vision.superglue import by_pairs, cut, mutual_matches
from onnxpipe_export.graphs.vision.superpoint import detect


@dataclass(frozen=True)
class _Stopped:
    """The state of each pair at the layer where it stopped.

    Attributes:
        descriptors: (pairs, 2, keypoints, width).
        alive: the keypoints that are not pruned, bool (pairs, 2, keypoints).
        layer: the layer after which they stopped, int64 (pairs,).
    """

    descriptors: Any
    alive: Any
    layer: Any


def match(model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Compute matches, matching_scores, keypoints and mask of pixel_values (pairs, 2, 3, height, width)."""
    import torch

    pixel_values = inputs["pixel_values"]
    height, width = pixel_values.shape[-2], pixel_values.shape[-1]
    points = detect(model.keypoint_detector, pixel_values.flatten(0, 1))
    size = torch.stack([torch.as_tensor(width), torch.as_tensor(height)]).to(pixel_values.dtype)
    places = (points.keypoints * size - size / 2) / (size.max() / 2)
    descriptors = model.input_projection(points.descriptors)
    stopped = _run_layers(model, descriptors, _rotations(model, places), by_pairs(points.mask))
    ranks = _assignment(model, stopped)
    matches, scores = mutual_matches(ranks.exp(), ranks, model.filter_threshold, strict_scores=False)
    kept = stopped.alive & ~_overwritten(stopped, by_pairs(points.mask))
    return cut(points, torch.where(kept, matches, -1), torch.where(kept, scores, 0.0))


def _rotations(model: Any, places: Any) -> tuple[Any, Any]:
    """Compute cosines and sines of the places' angles, each angle twice.

    By a stack, since tracing `repeat_interleave` along the axis -1 changes every other -1 of the graph (torch 2.13).
    """
    import torch

    angles = model.positional_encoder.projector(places)
    angles = torch.stack([angles, angles], dim=-1).flatten(-2)
    return angles.cos(), angles.sin()


def _run_layers(model: Any, descriptors: Any, rotations: Any, alive: Any) -> _Stopped:
    """Run every layer; a pair's state is kept where it stops."""
    import torch

    lowest = torch.finfo(descriptors.dtype).min
    points = alive.flatten(1).sum(1)
    running = torch.ones_like(points, dtype=torch.bool)
    stopped = None
    for number in range(model.num_layers):
        bias = torch.where(alive, 0.0, lowest).flatten(0, 1)[:, None, None, :]
        descriptors = model.transformer_layers[number](descriptors, rotations, attention_mask=bias)[0]
        now = _Stopped(by_pairs(descriptors), alive, torch.full_like(points, number))
        stopped = now if stopped is None else _chosen(running, now, stopped)
        if model.depth_confidence > 0 and number < model.num_layers - 1:
            confidences = by_pairs(model.token_confidence[number](descriptors))
            threshold = float(model._get_confidence_threshold(number))
            doubtful = ((confidences < threshold) & alive).flatten(1).sum(1)
            running = running & ~(1.0 - doubtful / points > model.depth_confidence)
            useful = by_pairs(model.match_assignment_layers[number].get_matchability(descriptors))
            kept = (useful > 1 - model.width_confidence) | (confidences <= threshold)
            alive = alive & (kept | ~running[:, None, None])
    assert stopped is not None
    return stopped


def _chosen(which: Any, new: _Stopped, old: _Stopped) -> _Stopped:
    """Take `new` for the pairs of `which`, `old` for the others."""
    import torch

    pairs = which[:, None, None]
    return _Stopped(
        torch.where(pairs[..., None], new.descriptors, old.descriptors),
        (pairs & new.alive) | (~pairs & old.alive),  # ONNX Runtime has no Where of booleans
        torch.where(which, new.layer, old.layer),
    )


def _assignment(model: Any, stopped: _Stopped) -> Any:
    """Compute the log score of each match, (pairs, keypoints, keypoints), with the layer at which a pair stopped."""
    import torch

    heads = model.match_assignment_layers

    def linear(name: str) -> Any:
        modules = [getattr(head, name) for head in heads]
        weight = torch.stack([module.weight for module in modules])[stopped.layer]
        bias = torch.stack([module.bias for module in modules])[stopped.layer]
        return stopped.descriptors @ weight.transpose(1, 2)[:, None] + bias[:, None, None]

    projected = linear("final_projection") / model.descriptor_dim**0.25
    matchable = torch.nn.functional.logsigmoid(linear("matchability"))
    similarity = projected[:, 0] @ projected[:, 1].transpose(1, 2)
    both = stopped.alive[:, 0, :, None] & stopped.alive[:, 1, None, :]
    similarity = similarity.masked_fill(~both, torch.finfo(similarity.dtype).min)
    certain = matchable[:, 0] + matchable[:, 1].transpose(1, 2)
    return similarity.log_softmax(2) + similarity.log_softmax(1) + certain


def _overwritten(stopped: _Stopped, present: Any) -> Any:
    """Mark the last keypoint of the image that has fewer left than its partner, bool (pairs, 2, keypoints).

    The original, once it has pruned points, overwrites it with the padding's answer.
    """
    import torch

    left = stopped.alive.sum(2)
    fewer = (left < left.flip(1)) & (stopped.layer > 0)[:, None]
    last = present.sum(2).max(1).values - 1
    return fewer[:, :, None] & (torch.arange(present.shape[2]) == last[:, None, None])
