"""Round weights to 4 bits with error compensation: GPTQ.

Columns of activations are correlated, so the error that rounding a row of a weight makes in a product can be partly
undone in the rows that are not rounded yet. With H = X^T X of a product's activations X, row i's error is spread over
the later rows by the Cholesky factor of H^-1 (Frantar et al. 2022, GPTQ: Accurate Post-Training Quantization for
Generative Pre-trained Transformers). Scales are chosen when a block of 32 rows is reached.

On stories15M, logits' mean cosine to fp32 over texts is 0.87 by rounding to the nearest, 0.98 by GPTQ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.precision import inner
from onnxpipe_export.precision.nbits import BLOCK, Blocks, half, pack
from onnxpipe_export.precision.products import constant_products

_DAMPING = 0.1
"""Added to the diagonal of H, as a share of its mean: a few hundred tokens do not span every direction."""
_MIDDLE = 8
_CANDIDATES = (1.1, 1.05, 1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
"""Scales tried, of either sign, in units of the one that covers a block's largest number."""
_SMALL = 64
"""Triangular matrices of so many rows are inverted as any other."""
_TINY = np.float32(1e-20)
_COLUMNS_AT_ONCE = 1024
"""Output columns that are rounded together: few enough that a block of them stays in the processor's cache."""
_ROWS_AT_ONCE = 8
"""Rows after which their errors are spread over the rest of a block in one product."""
_MEMORY = 1_000_000_000
"""Bytes of the activations that are kept in one pass over the feeds."""


def correlations(path: Path, feeds: Sequence[inner.Feeds]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each activation that is multiplied with a constant weight, with X^T X over the feeds, float32 (K, K).

    Args:
        path: the fp32 graph, saved tidy.
        feeds: what to run it on; without padding.
    """
    widths: dict[str, int] = {}
    for product in constant_products(OnnxGraph.load(path)):
        widths[product.activation] = product.shape[1 if product.transposed else 0]
    tokens = sum(max((array.size for array in feed.values() if array.dtype == np.int64), default=1) for feed in feeds)
    for names in _groups(widths, tokens) if feeds else ():
        rows: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for values in inner.values(path, names, feeds):
            for name, value in values.items():
                rows[name].append(value.reshape(-1, value.shape[-1]))
        while rows:
            name, each = rows.popitem()
            every = np.concatenate(each)
            yield name, every.T @ every


def _groups(widths: Mapping[str, int], tokens: int) -> Iterator[list[str]]:
    """Group activations whose rows, about one a token, fit in memory together."""
    group: list[str] = []
    size = 0
    for name, width in widths.items():
        if group and size + 4 * tokens * width > _MEMORY:
            yield group
            group, size = [], 0
        group.append(name)
        size += 4 * tokens * width
    if group:
        yield group


def quantise_blocks(matrix: np.ndarray, factor: np.ndarray) -> Blocks:
    """Round a weight to 4-bit blocks so that its product with the activations changes little.

    Args:
        matrix: float32 (N, K), one row an output column.
        factor: that of the activations' correlation.
    """
    importance = 1 / np.square(np.diag(factor))
    parts = [
        _round(matrix[at : at + _COLUMNS_AT_ONCE], factor, importance) for at in range(0, len(matrix), _COLUMNS_AT_ONCE)
    ]
    return Blocks(np.concatenate([part.values for part in parts]), np.concatenate([part.scales for part in parts]))


def _round(matrix: np.ndarray, factor: np.ndarray, importance: np.ndarray) -> Blocks:
    """Round some output columns. They lie side by side, so that each step reads neighbouring numbers."""
    count, width = matrix.shape
    left = np.array(matrix.T, np.float32, order="C")
    values = np.zeros((width + -width % BLOCK, count), np.float32)
    scales = np.empty((len(values) // BLOCK, count), np.float32)
    for start in range(0, width, BLOCK):
        end = min(start + BLOCK, width)
        scale = scales[start // BLOCK] = _scale(left[start:end], importance[start:end])
        errors = np.empty((end - start, count), np.float32)
        for first in range(start, end, _ROWS_AT_ONCE):
            last = min(first + _ROWS_AT_ONCE, end)
            for row in range(first, last):
                values[row] = np.clip(np.rint(left[row] / scale), -_MIDDLE, _MIDDLE - 1)
                errors[row - start] = (left[row] - values[row] * scale) / factor[row, row]
                left[row + 1 : last] -= factor[row, row + 1 : last, None] * errors[row - start]
            left[last:end] -= factor[first:last, last:end].T @ errors[first - start : last - start]
        left[end:] -= factor[start:end, end:].T @ errors
    return pack(values.T.reshape(count, -1, BLOCK), np.ascontiguousarray(scales.T), 4)


def factor_of(correlation: np.ndarray) -> np.ndarray:
    """Compute the upper Cholesky factor of the damped inverse of activations' X^T X, float32 (K, K).

    With the axes turned round, the factor of the matrix itself is the inverse of that. It is found in float64, as one
    token whose activations are a hundred times the others' leaves float32 too few digits for the rest.
    """
    damped = correlation.astype(np.float64)
    damped[np.diag_indices(len(damped))] += _DAMPING * np.diag(damped).mean() + 1e-12
    lower = np.linalg.cholesky(damped[::-1, ::-1]).astype(np.float32)
    return np.ascontiguousarray(_inverse_of_lower(lower)[::-1, ::-1])


def _inverse_of_lower(matrix: np.ndarray) -> np.ndarray:
    """Invert a lower triangular matrix by halves: a sixth of the work of inverting any matrix."""
    if len(matrix) <= _SMALL:
        return np.tril(np.linalg.inv(matrix))
    half = len(matrix) // 2
    first, last = _inverse_of_lower(matrix[:half, :half]), _inverse_of_lower(matrix[half:, half:])
    inverse = np.zeros_like(matrix)
    inverse[:half, :half], inverse[half:, half:] = first, last
    inverse[half:, :half] = -last @ (matrix[half:, :half] @ first)
    return inverse


def _scale(block: np.ndarray, importance: np.ndarray) -> np.ndarray:
    """Find the scale (N,) of a block (32, N) with the least squared error, weighted by each row's importance."""
    at = np.abs(block).argmax(axis=0)
    largest = np.take_along_axis(block, at[None], axis=0)[0]
    whole = np.where(np.abs(largest) < _TINY, _TINY, -largest / np.float32(_MIDDLE))
    best, scales = np.full(len(whole), np.inf, np.float32), half(whole)
    exact, whole_numbers, off = (np.empty_like(block) for _ in range(3))
    for size in _CANDIDATES:
        scale = half(whole * np.float32(size))
        np.rint(np.multiply(block, 1 / scale, out=exact), out=whole_numbers)
        for sign, low, high in ((1, -_MIDDLE, _MIDDLE - 1), (-1, 1 - _MIDDLE, _MIDDLE)):
            np.clip(whole_numbers, low, high, out=off)
            off -= exact
            error = (importance @ np.square(off, out=off)) * np.square(scale)
            better = error < best
            best, scales = np.where(better, error, best), np.where(better, sign * scale, scales)
    return scales
