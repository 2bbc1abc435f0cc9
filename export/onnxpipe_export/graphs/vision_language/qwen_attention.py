"""The attention of Qwen-VL's towers without loops over images and windows, for one image in a run.

The towers compute positions, and where attention is cut, from the grid by Python loops, which tracing would freeze.
They take all of that precomputed as keyword arguments; here it is computed by operators on the grid.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Frames:
    """Attention within each frame.

    Attributes:
        count: how many there are, int64 ().
    """

    count: Any


@dataclass(frozen=True)
class Windows:
    """Attention within square windows of each frame; windows at the edges have fewer patches than others.

    Attributes:
        patches: int64 (windows, places): the patch at each place of a window, 0 where there is none.
        inside: bool (windows, places): whether there is one.
        places: int64 (patches,): the place of each patch, counted over all windows.
    """

    patches: Any
    inside: Any
    places: Any


def precomputed(tower: Any, pixels: Any, grid: Any) -> dict[str, Any]:
    """Compute the keyword arguments that a tower's forward takes instead of computing them itself.

    Args:
        tower: the tower.
        pixels: (patches, values of a patch), whose number is that of the grid.
        grid: int64 (1, 3): patches in time, height and width.
    """
    merge = tower.spatial_merge_size
    time, height, width = grid[0, 0], grid[0, 1], grid[0, 2]
    count = torch._shape_as_tensor(pixels)[0]
    within = torch.arange(count) % (height * width)
    block, inner = within // merge**2, within % merge**2
    across = width // merge
    rows = block // across * merge + inner // merge
    columns = block % across * merge + inner % merge
    given = {"position_ids": torch.stack([rows, columns], dim=-1), "cu_seqlens": Frames(time)}
    if hasattr(tower, "window_size"):
        side = tower.window_size // merge // tower.patch_size
        given["window_index"] = torch.arange(count // merge**2)  # the tower's own order: tokens stay where they are
        given["cu_window_seqlens"] = _windows(time, height // merge, across, side, merge**2)
    if hasattr(tower, "pos_embed"):
        side = tower.num_grid_per_side
        given["interp_indices"], given["interp_weights"] = _interpolated(rows, columns, height, width, side)
    return given


def _windows(time: Any, height: Any, width: Any, side: int, unit: int) -> Windows:
    """Lay a grid of tokens (each of `unit` patches) out in windows of `side` by `side` tokens, frame by frame."""
    down, along = (height + side - 1) // side, (width + side - 1) // side
    window = torch.arange(time * down * along)
    frame, first_row, first_column = window // (down * along), window // along % down * side, window % along * side
    place = torch.arange(side * side)
    rows = first_row[:, None] + place // side
    columns = first_column[:, None] + place % side
    inside = (rows < height) & (columns < width)
    tokens = torch.where(inside, (frame[:, None] * height + rows) * width + columns, 0)
    units = torch.arange(unit)
    patches = (tokens[:, :, None] * unit + units).flatten(1)
    every = inside[:, :, None].expand(-1, -1, unit).flatten(1)

    token = torch.arange(time * height * width)
    row, column = token // width % height, token % width
    home = (token // (height * width) * down + row // side) * along + column // side
    there = (home * side + row % side) * side + column % side
    return Windows(patches, every, (there[:, None] * unit + units).flatten())


def _interpolated(rows: Any, columns: Any, height: Any, width: Any, side: int) -> tuple[Any, Any]:
    """Compute which four entries of a square table of positions a patch gets, and how much of each.

    Bilinear, with the corners of the image on those of the table.
    """
    taps = [_taps(places, size, side) for places, size in ((rows, height), (columns, width))]
    (top, below), (left, right) = taps
    pairs = [(row, column) for row in (top, below) for column in (left, right)]
    indices = torch.stack([row[0] * side + column[0] for row, column in pairs], dim=-1)
    return indices, torch.stack([row[1] * column[1] for row, column in pairs], dim=-1)


def _taps(places: Any, size: Any, side: int) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Return the two entries of an axis between which places lie, each with its weight."""
    where = places.float() * ((side - 1) / torch.clamp(size - 1, min=1).float())
    first = torch.clamp(where.floor(), max=side - 1)
    rest = where - first
    low = first.long()
    return (low, 1 - rest), (torch.clamp(low + 1, max=side - 1), rest)


def attend(self: Any, hidden_states: Any, cu_seqlens: Any, position_embeddings: Any, **others: Any) -> Any:
    """Attend as the towers' attention does, with `Frames` or `Windows` instead of the ends of segments.

    It takes the place of `forward` while a tower is traced.
    """
    length, heads = hidden_states.shape[0], self.num_heads
    states = self.qkv(hidden_states).reshape(length, 3, heads, -1)
    rotate = sys.modules[type(self).__module__].apply_rotary_pos_emb_vision
    query, key = rotate(states[:, 0], states[:, 1], *position_embeddings)
    value = states[:, 2]
    if isinstance(cu_seqlens, Windows):
        grouped = [part[cu_seqlens.patches] for part in (query, key, value)]
        bias = torch.where(cu_seqlens.inside, 0.0, float("-inf"))[:, None, None]
        output = _products(grouped, self.scaling, bias).flatten(0, 1)[cu_seqlens.places]
    else:
        grouped = [_by_frame(part, cu_seqlens.count) for part in (query, key, value)]
        output = _products(grouped, self.scaling).flatten(0, 1)
    return self.proj(output.flatten(1))


def _by_frame(part: Any, count: Any) -> Any:
    """Reshape (patches, heads, width) to (frames, patches of a frame, heads, width)."""
    length = torch._shape_as_tensor(part)[0]
    return part.reshape(count, length // count, *part.shape[1:])


def _products(parts: Sequence[Any], scale: float, bias: Any = None) -> Any:
    """Compute attention with queries, keys and values (groups, places, heads, width)."""
    query, key, value = (part.transpose(1, 2) for part in parts)
    scores = query @ key.transpose(2, 3) * scale
    weights = torch.softmax(scores if bias is None else scores + bias, dim=-1)
    return (weights @ value).transpose(1, 2)
