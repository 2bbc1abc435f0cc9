"""SuperGlue on a batch of pairs, each pair as if it were alone.

The original pads the pairs of a batch to one number of keypoints and includes the padding in the optimal transport, so
that a pair's matches depend on its neighbours. Here everything beyond a pair's own keypoints has no weight.

Source: Sarlin, DeTone, Malisiewicz, Rabinovich 2020, "SuperGlue: Learning Feature Matching with Graph Neural Networks";
what is computed is transformers' SuperGlueForKeypointMatching.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxpipe_export.graphs.vision.superpoint import detect

_NOTHING = -1e9
"""The logarithm of the coupling of padding."""
_NEVER = -1e30
"""The logarithm of the mass of padding, small beside `_NOTHING`."""


def match(model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Compute matches, matching_scores, keypoints and mask of pixel_values (pairs, 2, 3, height, width)."""
    import torch

    pixel_values = inputs["pixel_values"]
    height, width = pixel_values.shape[-2], pixel_values.shape[-1]
    points = detect(model.keypoint_detector, pixel_values.flatten(0, 1))
    size = torch.stack([torch.as_tensor(width), torch.as_tensor(height)]).to(pixel_values.dtype)
    places = (points.keypoints * size - size / 2) / (size.max() * 0.7)
    hidden = points.descriptors + model.keypoint_encoder(places, points.scores)[0]
    lowest = torch.finfo(hidden.dtype).min
    mask = torch.where(points.mask, 0.0, lowest)[:, None, None, :]
    final = by_pairs(model.final_projection(model.gnn(hidden, mask=mask)[0]))

    present = by_pairs(points.mask)
    both = present[:, 0, :, None] & present[:, 1, None, :]
    scores = final[:, 0] @ final[:, 1].transpose(1, 2) / model.config.hidden_size**0.5
    scores = transported(
        scores.masked_fill(~both, lowest),
        model.bin_score,
        present.sum(2).max(1).values,
        model.config.sinkhorn_iterations,
    )
    return cut(points, *mutual_matches(scores.exp(), scores, model.config.matching_threshold, strict_scores=True))


def transported(scores: Any, bin_score: Any, counts: Any, iterations: int) -> Any:
    """Compute the logarithm of the optimal transport between keypoints, without the dustbins.

    Args:
        scores: (pairs, keypoints, keypoints).
        bin_score: the score of a keypoint and the dustbin, ().
        counts: how many rows and columns a pair has of its own, int64 (pairs,).
        iterations: of Sinkhorn's normalisation.
    """
    import torch

    pairs, columns = scores.shape[0], scores.shape[1]
    slots = torch.arange(columns)
    own = torch.nn.functional.pad(slots < counts[:, None], (0, 1), value=True)
    edge = bin_score.expand(pairs, columns, 1)
    corner = bin_score.expand(pairs, 1, 1)
    couplings = torch.cat([torch.cat([scores, edge], 2), torch.cat([edge.transpose(1, 2), corner], 2)], 1)
    couplings = torch.where(own[:, :, None] & own[:, None, :], couplings, _NOTHING)
    count = counts.to(scores.dtype)[:, None]
    norm = -(count + count).log()
    masses = torch.cat([norm.expand(-1, columns), count.log() + norm], 1)
    masses = torch.where(own, masses, _NEVER)
    rows = across = torch.zeros_like(masses)
    for _ in range(iterations):
        rows = masses - torch.logsumexp(couplings + across[:, None, :], 2)
        across = masses - torch.logsumexp(couplings + rows[:, :, None], 1)
    return (couplings + rows[:, :, None] + across[:, None, :] - norm[:, None])[:, :-1, :-1]


def mutual_matches(values: Any, ranks: Any, threshold: float, *, strict_scores: bool) -> tuple[Any, Any]:
    """Find keypoints that are each other's best match.

    Args:
        values: the score of each match, (pairs, keypoints, keypoints).
        ranks: the same in any order-preserving form, by which the best are found.
        threshold: a match's score must be above it.
        strict_scores: whether a score that is not above it is 0 (SuperGlue), or kept without a match (LightGlue).

    Returns:
        matches int64 (pairs, 2, keypoints), -1 for none, and their scores.
    """
    import torch

    first, second = ranks.argmax(2), ranks.argmax(1)
    best = values.gather(2, first[:, :, None])[:, :, 0]
    slots = torch.arange(first.shape[1])
    mutual0 = slots == second.gather(1, first)
    mutual1 = slots == first.gather(1, second)
    scores0 = torch.where(mutual0, best, 0.0)
    if strict_scores:
        scores0 = torch.where(scores0 > threshold, scores0, 0.0)
    scores1 = torch.where(mutual1, scores0.gather(1, second), 0.0)
    valid0 = mutual0 & (scores0 > max(threshold, 0.0))
    valid1 = mutual1 & valid0.gather(1, second)
    matches = torch.stack([torch.where(valid0, first, -1), torch.where(valid1, second, -1)], 1)
    return matches, torch.stack([scores0, scores1], 1)


def by_pairs(tensor: Any) -> Any:
    """Reshape (pairs * 2, ...) to (pairs, 2, ...); `unflatten` would be traced with the sizes of the example."""
    return tensor.reshape(-1, 2, *tensor.shape[1:])


def cut(points: Any, matches: Any, scores: Any) -> dict[str, Any]:
    """Name the outputs; drop the column that only keeps tensors from being empty, and set padding to -1 or 0."""
    import torch

    present = by_pairs(points.mask)
    size = torch.arange(points.most).shape[0]
    return {
        "matches": torch.where(present, matches, -1)[:, :, :size],
        "matching_scores": torch.where(present, scores, 0.0)[:, :, :size],
        "keypoints": by_pairs(points.keypoints)[:, :, :size],
        "mask": present[:, :, :size].to(torch.int32),
    }
