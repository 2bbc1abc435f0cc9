"""Find the time of each token: a path through the decoder's cross-attention weights."""

from __future__ import annotations

import numpy as np

from onnxpipe.generation.protocols import Array

#: Seconds per state of the encoder.
_STEP = 0.02


def token_times(weights: Array, width: int) -> Array:
    """Find the second at which each token begins: float32 (tokens,), never decreasing.

    Args:
        weights: float32 (heads, tokens, states): the attention of the heads that follow the speech.
        width: of the median filter along the states; odd.
    """
    tokens, states = weights.shape[1:]
    if not tokens or not states:
        return np.zeros(tokens, np.float32)
    spread = weights.std(-2, keepdims=True)
    # The spread of a single token is 0: it begins at 0.
    weights = (weights - weights.mean(-2, keepdims=True)) / np.where(spread > 0, spread, 1)
    matrix = median_filter(weights, width).mean(0)
    rows, columns = warp(-matrix.astype(np.float64))
    begins = np.r_[True, rows[1:] != rows[:-1]]
    return (columns[begins] * _STEP).astype(np.float32)


def median_filter(values: Array, width: int) -> Array:
    """Take the median of `width` neighbours along the last axis, mirrored at its ends; a shorter axis is unchanged."""
    if width <= 0 or width % 2 != 1:
        raise ValueError(f"the median filter's width must be an odd number, not {width} (config.median_filter_width)")
    half = width // 2
    if values.shape[-1] <= half or not half:
        return values
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(half, half)], mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=-1)
    return np.asarray(np.partition(windows, half, axis=-1)[..., half])


def warp(costs: Array) -> tuple[Array, Array]:
    """Find the cheapest monotone path from the first entry of float64 (rows, columns) to the last: rows and columns.

    Dynamic time warping as transformers does it: sums in float32, a diagonal step only where it is strictly cheapest,
    then a step down only where that is, else one to the right. Entries of one anti-diagonal do not depend on each other
    and are computed together.
    """
    rows, columns = costs.shape
    steps = _steps(costs)
    row, column = rows, columns
    path = []
    while row > 0 or column > 0:
        path.append((row - 1, column - 1))
        step = 2 if row == 0 else 1 if column == 0 else steps[row + column, row]
        row -= step != 2
        column -= step != 1
    places = np.array(path[::-1], np.int64)
    return places[:, 0], places[:, 1]


def _steps(costs: Array) -> Array:
    """Compute the step by which the cheapest path reaches each entry: int8 (rows + columns + 1, rows + 1), indexed by
    row + column, row; 0 diagonal, 1 down, 2 right."""
    rows, columns = costs.shape
    total = np.full((3, rows + 1), np.inf, np.float32)  # of this anti-diagonal and the two before it, by row
    total[0, 0] = 0
    steps = np.full((rows + columns + 1, rows + 1), 2, np.int8)
    skewed = _skewed(costs)
    for diagonal in range(1, rows + columns + 1):
        here, last, older = total[diagonal % 3], total[(diagonal - 1) % 3], total[(diagonal - 2) % 3]
        first, end = max(1, diagonal - columns), min(rows, diagonal - 1) + 1
        here[:] = np.inf
        if first >= end:
            continue
        slanted, down, right = older[first - 1 : end - 1], last[first - 1 : end - 1], last[first:end]
        is_slanted = (slanted < down) & (slanted < right)
        is_down = ~is_slanted & (down < slanted) & (down < right)
        cheapest = np.where(is_slanted, slanted, np.where(is_down, down, right))
        here[first:end] = skewed[diagonal, first:end] + cheapest
        steps[diagonal, first:end] = np.where(is_slanted, 0, np.where(is_down, 1, 2))
    return steps


def _skewed(costs: Array) -> Array:
    """Skew the costs, float64 (rows + columns + 1, rows + 1): entry (row - 1, column - 1) at [row + column, row]."""
    rows, columns = costs.shape
    out = np.zeros((rows + columns + 1, rows + 1))
    for row in range(rows):
        out[row + 2 : row + 2 + columns, row + 1] = costs[row]
    return out
