"""SuperPoint without loops over images: keypoints of a batch, as many columns as the image with the most has.

The original loops over the batch in Python and copies each image's points into tensors whose size it reads from their
values. It also calls `max_pool2d` with an image without a channel, which ONNX takes for a batch of sequences.

Source: DeTone, Malisiewicz, Rabinovich 2018, "SuperPoint: Self-Supervised Interest Point Detection and Description";
what is computed is transformers' SuperPointForKeypointDetection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_CELL = 8
"""Side, in pixels, of the area that one place of the encoded image covers."""


@dataclass(frozen=True)
class Points:
    """Keypoints of a batch of images, zeros where there are none.

    Attributes:
        keypoints: x and y as shares of the width and height, float32 (images, columns, 2).
        scores: float32 (images, columns).
        descriptors: float32 (images, columns, width).
        mask: bool (images, columns), True at keypoints.
        most: the largest number of keypoints, int64 (); `columns` is that and at least one.
    """

    keypoints: Any
    scores: Any
    descriptors: Any
    mask: Any
    most: Any


def detect(detector: Any, pixel_values: Any) -> Points:
    """Detect the keypoints of pixel_values (images, 3, height, width) with a SuperPointForKeypointDetection."""
    import torch

    decoder = detector.keypoint_decoder
    encoded = detector.encoder(pixel_values[:, :1])[0]
    scores = _suppressed(pixel_scores(decoder, encoded), decoder.nms_radius)
    height, width = scores.shape[1], scores.shape[2]
    kept = scores > decoder.keypoint_threshold
    border = decoder.border_removal_distance
    # As in the original, whose far borders lie at eight times the image's size.
    kept = kept & _inside(height, border)[:, None] & _inside(width, border)
    counts = kept.flatten(1).sum(1)
    image, row, column = torch.nonzero(kept).unbind(1)
    values = scores.flatten().index_select(0, (image * height + row) * width + column)

    slots = torch.arange(counts.max().clamp(min=1))
    mask = slots < counts[:, None]
    # One more place, for the columns of images that have fewer keypoints.
    index = torch.where(mask, (counts.cumsum(0) - counts)[:, None] + slots, torch.as_tensor(row.shape[0]))
    index = index.flatten()
    scores, x, y = (
        torch.nn.functional.pad(one, (0, 1)).index_select(0, index).reshape(mask.shape) for one in (values, column, row)
    )
    if decoder.max_keypoints >= 0:
        best = _best(scores, mask, counts, decoder.max_keypoints)
        counts = counts.clamp(max=decoder.max_keypoints)
        mask = torch.arange(best.shape[1]) < counts[:, None]
        scores, x, y = (torch.where(mask, one.gather(1, best), 0) for one in (scores, x, y))
    places = torch.stack([x, y], dim=-1).to(pixel_values.dtype)
    descriptors = _descriptors(detector.descriptor_decoder, encoded, places) * mask[..., None]
    return Points(places / _pair(width, height, places), scores, descriptors, mask, counts.max())


def pixel_scores(decoder: Any, encoded: Any) -> Any:
    """Compute how likely each pixel is a keypoint, (images, height, width)."""
    import torch

    cells = decoder.conv_score_b(torch.relu(decoder.conv_score_a(encoded))).softmax(1)[:, :-1]
    return torch.pixel_shuffle(cells, _CELL)[:, 0]


def _suppressed(scores: Any, radius: int) -> Any:
    """Keep scores that are the largest in a square of this radius, or are once those are removed; the others are 0."""
    import torch

    def largest(one: Any) -> Any:
        return torch.nn.functional.max_pool2d(one[:, None], 2 * radius + 1, stride=1, padding=radius)[:, 0]

    peaks = scores == largest(scores)
    for _ in range(2):
        near = largest(peaks.to(scores.dtype)) > 0
        rest = torch.where(near, 0.0, scores)
        peaks = peaks | ((rest == largest(rest)) & ~near)
    return torch.where(peaks, scores, 0.0)


def _inside(side: Any, border: int) -> Any:
    import torch

    place = torch.arange(side)
    return (place >= border) & (place < torch.as_tensor(side) * _CELL - border)


def _best(scores: Any, mask: Any, counts: Any, most: int) -> Any:
    """Find the columns of the `most` highest scores in falling order, for images with more; others keep theirs."""
    import torch

    slots = torch.arange(torch.as_tensor(scores.shape[1]).clamp(max=max(most, 1)))
    ranked = torch.where(mask, scores, -1.0).sort(dim=1, descending=True).indices[:, : slots.shape[0]]
    return torch.where((counts > most)[:, None], ranked, slots)


def _descriptors(decoder: Any, encoded: Any, places: Any) -> Any:
    """Sample descriptors at `places` (images, columns, 2) in pixels, each of length 1: (images, columns, width)."""
    import torch

    dense = decoder.conv_descriptor_b(torch.relu(decoder.conv_descriptor_a(encoded)))
    dense = torch.nn.functional.normalize(dense, dim=1)
    height, width = dense.shape[2], dense.shape[3]
    half = _CELL / 2
    size = _pair(width, height, places) * _CELL - half - 0.5
    grid = ((places - half + 0.5) / size) * 2 - 1
    sampled = torch.nn.functional.grid_sample(dense, grid[:, None], mode="bilinear", align_corners=True)
    return torch.nn.functional.normalize(sampled[:, :, 0], dim=1).transpose(1, 2)


def _pair(x: Any, y: Any, like: Any) -> Any:
    """Join two sizes to a tensor (2,) that stays variable."""
    import torch

    return torch.stack([torch.as_tensor(x), torch.as_tensor(y)]).to(like.dtype)
