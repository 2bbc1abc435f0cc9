"""Depth maps, as from `post_process_depth_estimation` of transformers' image processors."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxpipe.processing.images.interpolate import interpolate
from onnxpipe.processing.images.postprocess.outputs import Array, Outputs, Size, each_size, field

#: ZoeDepth pads each side with this times the root of half its length.
_ZOE_PADDING = 3


def depth(outputs: Outputs, target_sizes: Any = None) -> list[dict[str, Array]]:
    """DPT, Depth Anything, GLPN: resize `predicted_depth` (B, h, w) bicubically to the target sizes.

    Args:
        outputs: the model's outputs.
        target_sizes: (height, width) of each image; None for the model's own size.

    Returns:
        For each image {"predicted_depth": (height, width) float32}.
    """
    depths = field(outputs, "predicted_depth")
    targets = each_size(target_sizes, len(depths), "predicted depth")
    return [{"predicted_depth": _resized(one, target)} for one, target in zip(depths, targets)]


def zoedepth(
    outputs: Outputs,
    source_sizes: Any = None,
    target_sizes: Any = None,
    outputs_flipped: Outputs | None = None,
    do_remove_padding: bool | None = None,
) -> list[dict[str, Array]]:
    """ZoeDepth: as `depth`, and remove the border that its image processor adds.

    Args:
        outputs: the model's outputs: `predicted_depth` (B, h, w).
        source_sizes: (height, width) of each image before preprocessing; needed to remove the border.
        target_sizes: (height, width) of each result; None for the size of the source.
        outputs_flipped: the outputs for the mirrored images; the mean of both is taken.
        do_remove_padding: whether there is a border; None means yes, the image processor's default (`do_pad`).

    Returns:
        For each image {"predicted_depth": (height, width) float32}.

    Raises:
        ValueError: a border without `source_sizes`, or outputs of different shapes.
    """
    depths = field(outputs, "predicted_depth")
    bordered = do_remove_padding is None or do_remove_padding
    if outputs_flipped is not None:
        mirrored = field(outputs_flipped, "predicted_depth")
        if mirrored.shape != depths.shape:
            raise ValueError("Make sure that `outputs` and `outputs_flipped` have the same shape")
        depths = (depths + mirrored[..., ::-1]) / 2
    if source_sizes is None and bordered:
        raise ValueError("Either `source_sizes` should be passed in, or `do_remove_padding` should be set to False")
    targets = each_size(target_sizes, len(depths), "predicted depth")
    sources = each_size(source_sizes, len(depths), "predicted depth")
    return [
        {"predicted_depth": _resized(_without_border(one, source, bordered), target)}
        for one, source, target in zip(depths, sources, targets)
    ]


def _without_border(plane: Array, source: Size | None, bordered: bool) -> Array:
    if source is None:
        return plane
    rows, columns = (int(np.sqrt(side / 2) * _ZOE_PADDING) if bordered else 0 for side in source)
    whole = _resized(plane, (source[0] + 2 * rows, source[1] + 2 * columns))
    return whole[rows : rows + source[0], columns : columns + source[1]]


def _resized(plane: Array, size: Size | None) -> Array:
    return plane if size is None else interpolate(plane, size, "bicubic")
