"""Softmax, log-softmax and the k best, over the last axis, in float32 as PyTorch computes them."""

from __future__ import annotations

import numpy as np

from onnxpipe.generation.protocols import Array

#: From this many scores on, the k best are searched block by block.
_BLOCKWISE = 4096


class Scratch:
    """Memory for a result that is used up before the next one of its kind is computed.

    The scores of 64 rows are 15 MB at 60,000 tokens: allocating new memory each time costs as much as computing
    them.
    """

    def __init__(self) -> None:
        self._memory = np.empty(0, np.float32)

    def like(self, array: Array) -> Array:
        """Give an array of the same shape and type, with arbitrary content; it invalidates the one given before."""
        if self._memory.shape != array.shape or self._memory.dtype != array.dtype:
            self._memory = np.empty_like(array)
        return self._memory


def log_softmax(scores: Array, scratch: Scratch | None = None) -> Array:
    """Compute log(softmax), float32 (..., vocab). A row of nothing but -inf gives NaN, as in PyTorch."""
    out = np.empty_like(scores) if scratch is None else scratch.like(scores)
    powers = np.empty(scores.shape[-1], scores.dtype)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Row by row: a row stays in the processor's cache, a batch's scores (60 rows of 60,000) do not.
        for row, shifted in zip(scores.reshape(-1, scores.shape[-1]), out.reshape(-1, out.shape[-1]), strict=True):
            np.subtract(row, row.max(), out=shifted)
            shifted -= np.log(np.exp(shifted, out=powers).sum())
    return out


def log_softmax_top_k(scores: Array, k: int) -> tuple[Array, Array]:
    """Find the k largest of the log-softmax of each row of (rows, vocab), as `top_k` does, and compute no others.

    The order of the scores is that of their log-softmax; only of those whose log-softmax rounds to the same number the
    larger score comes first.
    """
    values, indices = top_k(scores, k)
    shifted = np.empty(scores.shape[-1], scores.dtype)
    with np.errstate(invalid="ignore", divide="ignore"):
        for row, best in zip(scores, values, strict=True):
            largest = best[0].copy()
            np.subtract(row, largest, out=shifted)
            np.subtract(best, largest, out=best)
            best -= np.log(np.exp(shifted, out=shifted).sum())
    return values, indices


def softmax(scores: Array) -> Array:
    """Compute float32 (..., vocab) that adds up to 1 along the last axis.

    `processing.scores.softmax` is for logits of models; here processors have set scores to -inf. A row of nothing else
    gives NaN without a warning, as in PyTorch, and the division needs no second array of the vocabulary's size.
    """
    with np.errstate(invalid="ignore"):
        exp: Array = np.exp(scores - scores.max(-1, keepdims=True))
        exp /= exp.sum(-1, keepdims=True)
        return exp


def kth_largest(scores: Array, k: int) -> Array:
    """Find the k-th largest of each row of (rows, vocab), shape (rows, 1); 1 <= k <= vocab."""
    rows, count = scores.shape
    if k == 1:
        return np.asarray(scores.max(-1, keepdims=True))
    if count < _BLOCKWISE or k * 16 > count:
        return np.partition(scores, count - k, axis=-1)[:, count - k : count - k + 1]
    out = np.empty((rows, 1), scores.dtype)
    for row in range(rows):
        line = scores[row]
        some = line[_above_bound(line, k)]
        out[row, 0] = np.partition(some, some.size - k)[some.size - k]
    return out


def top_k(scores: Array, k: int) -> tuple[Array, Array]:
    """Find the k largest of each row of (rows, vocab), largest first, of equals the first: values and int64 indices."""
    rows, count = scores.shape
    k = min(k, count)
    indices = np.empty((rows, k), np.int64)
    for row in range(rows):
        line = scores[row]
        if count < _BLOCKWISE or k * 16 > count:
            bound = np.partition(line, count - k)[count - k]
            # Not "line >= bound", which leaves nothing of a row of NaN.
            some = np.flatnonzero(~(line < bound))
        else:
            some = _above_bound(line, k)
        order = np.argsort(-line[some], kind="stable")[:k]
        indices[row] = some[order]
    return np.take_along_axis(scores, indices, -1), indices


def _above_bound(line: Array, k: int) -> Array:
    """Find the indices, ascending, of at least k values that include the k largest.

    The k-th largest of the maxima of blocks is not larger than the k-th largest of all, so values below it are out.
    This takes a few passes over the line, where a partition of it would take many.
    """
    blocks = max(4 * k, 256)
    width = -(-line.size // blocks)
    whole = line.size // width * width
    lines, rest = line[:whole].reshape(-1, width), line[whole:]
    maxima = lines.max(-1)
    every = np.append(maxima, rest.max()) if rest.size else maxima
    if every.size < k:
        return np.arange(line.size)
    bound = np.partition(every, every.size - k)[every.size - k]
    chosen = np.flatnonzero(~(maxima < bound))  # only these blocks have anything
    found = np.flatnonzero(~(lines[chosen] < bound))
    places: Array = chosen[found // width] * width + found % width
    return np.append(places, whole + np.flatnonzero(~(rest < bound))) if rest.size else places
