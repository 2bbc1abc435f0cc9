"""Softmax, log-softmax and the k best, over the last axis, in float32 as PyTorch computes them."""

from __future__ import annotations

import numpy as np

from onnxpipe.engine import score_kernels
from onnxpipe.generation.protocols import Array

#: From this many scores on, kernels of ONNX Runtime compute, and numpy searches block by block.
_BLOCKWISE = 4096
#: Up to this many of the best, those kernels find them faster than numpy.
_FEW = 32
#: Up to this many scores, all of them are sorted: a call for all rows takes less time than one for each row.
_SORTED = 256


def log_softmax(scores: Array, threads: int = 1) -> Array:
    """Compute log(softmax), float32 (..., vocab). A row of nothing but -inf gives NaN, as in PyTorch."""
    if _is_large(scores):
        return score_kernels.log_softmax(scores, threads)
    with np.errstate(invalid="ignore", divide="ignore"):
        shifted: Array = scores - scores.max(-1, keepdims=True)
        shifted -= np.log(np.exp(shifted).sum(-1, keepdims=True))
        return shifted


def log_softmax_top_k(scores: Array, k: int, threads: int = 1) -> tuple[Array, Array]:
    """Find the k largest of the log-softmax of each row of (rows, vocab), as `top_k` does."""
    if _is_large(scores):
        return score_kernels.top_k(scores, min(k, scores.shape[-1]), threads, normalise=True)
    return top_k(log_softmax(scores), k)


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


def top_k(scores: Array, k: int, threads: int = 1) -> tuple[Array, Array]:
    """Find the k largest of each row of (rows, vocab), largest first, of equals the first: values and int64 indices."""
    rows, count = scores.shape
    k = min(k, count)
    if k <= _FEW and _is_large(scores):
        return score_kernels.top_k(scores, k, threads, normalise=False)
    if count <= _SORTED and not np.isnan(scores).any():
        indices = np.argsort(-scores, axis=-1, kind="stable")[:, :k]
        return np.take_along_axis(scores, indices, -1), indices
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


def _is_large(scores: Array) -> bool:
    """Whether kernels of ONNX Runtime take less time, though each call of them costs a little."""
    return scores.dtype == np.float32 and scores.shape[-1] >= _BLOCKWISE


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
