"""Round weights to 4 bits with error compensation: GPTQ.

Columns of activations are correlated, so the error that rounding a row of a weight makes in a product can be partly
undone in the rows that are not rounded yet. With H = X^T X of a product's activations X, row i's error is spread over
the later rows by the Cholesky factor of H^-1 (Frantar et al. 2022, GPTQ: Accurate Post-Training Quantization for
Generative Pre-trained Transformers). Scales are chosen when a block of 32 rows is reached.

On stories15M, logits' mean cosine to fp32 over texts is 0.87 by rounding to the nearest, 0.98 by GPTQ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from onnxpipe_export.onnx_graph import OnnxGraph
from onnxpipe_export.precision import inner
from onnxpipe_export.precision.nbits import BLOCK, Blocks, half, pack
from onnxpipe_export.precision.products import constant_products

_DAMPING = 0.1
"""Added to the diagonal of H, as a share of its mean: a few hundred tokens do not span every direction."""
_MIDDLE = 8
_CANDIDATES = tuple(sign * size for sign in (1.0, -1.0) for size in (1.1, 1.05, 1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7))
"""Scales tried, in units of the one that covers a block's largest number."""
_SMALL = 64
"""Triangular matrices of so many rows are inverted as any other."""
_TINY = 1e-20
_COLUMNS_AT_ONCE = 1024
"""Output columns that are rounded together: few enough that a block of them stays in the processor's cache."""
_MEMORY = 1_000_000_000
"""Bytes of H matrices measured in one pass over the feeds."""


def correlations(path: Path, feeds: Sequence[inner.Feeds], scratch: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each activation that is multiplied with a constant weight, with X^T X over the feeds, float32 (K, K).

    Args:
        path: the fp32 graph, saved tidy.
        feeds: what to run it on; without padding.
        scratch: an empty folder.
    """
    graph = OnnxGraph.load(path)
    widths: dict[str, int] = {}
    for product in constant_products(graph):
        weight = graph.constant(product.weight)
        assert weight is not None
        widths[product.activation] = weight.shape[1 if product.transposed else 0]
    for names in _groups(widths):
        yield from _measure(path, names, feeds, scratch).items()


def _groups(widths: Mapping[str, int]) -> Iterator[list[str]]:
    """Group activations whose matrices fit in memory together."""
    group: list[str] = []
    size = 0
    for name, width in widths.items():
        if group and size + 4 * width * width > _MEMORY:
            yield group
            group, size = [], 0
        group.append(name)
        size += 4 * width * width
    if group:
        yield group


def _measure(path: Path, names: list[str], feeds: Iterable[inner.Feeds], scratch: Path) -> dict[str, np.ndarray]:
    products: dict[str, np.ndarray] = {}
    for values in inner.values(path, names, feeds, scratch):
        for name, value in values.items():
            rows = value.reshape(-1, value.shape[-1])
            products[name] = products.get(name, 0) + rows.T @ rows
    return products


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
    left = np.ascontiguousarray(matrix.T, np.float64)
    values = np.zeros((width + -width % BLOCK, count))
    scales = np.empty((len(values) // BLOCK, count))
    for start in range(0, width, BLOCK):
        end = min(start + BLOCK, width)
        scale = scales[start // BLOCK] = _scale(left[start:end], importance[start:end])
        errors = np.empty((end - start, count))
        for row in range(start, end):
            values[row] = np.clip(np.rint(left[row] / scale), -_MIDDLE, _MIDDLE - 1)
            errors[row - start] = (left[row] - values[row] * scale) / factor[row, row]
            left[row:end] -= np.outer(factor[row, row:end], errors[row - start])
        left[end:] -= factor[start:end, end:].T @ errors
    return pack(values.T.reshape(count, -1, BLOCK), np.ascontiguousarray(scales.T), 4)


def factor_of(correlation: np.ndarray) -> np.ndarray:
    """Compute the upper Cholesky factor of the damped inverse of activations' X^T X, (K, K).

    With the axes turned round, the factor of the matrix itself is the inverse of that.
    """
    damped = correlation.astype(np.float64)
    damped[np.diag_indices(len(damped))] += _DAMPING * np.diag(damped).mean() + 1e-12
    return np.ascontiguousarray(_inverse_of_lower(np.linalg.cholesky(damped[::-1, ::-1]))[::-1, ::-1])


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
    whole = np.where(np.abs(largest) < _TINY, _TINY, -largest / _MIDDLE)
    best, scales = np.full(len(whole), np.inf), half(whole)
    for size in _CANDIDATES:
        scale = half(whole * size)
        rounded = block / scale
        np.rint(rounded, out=rounded)
        np.clip(rounded, -_MIDDLE, _MIDDLE - 1, out=rounded)
        rounded *= scale
        rounded -= block
        error = importance @ np.square(rounded, out=rounded)
        better = error < best
        best, scales = np.where(better, error, best), np.where(better, scale, scales)
    return scales
