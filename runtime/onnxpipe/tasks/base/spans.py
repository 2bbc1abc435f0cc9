"""Find the likeliest spans of tokens for an answer, as the tasks do that answer with a part of a text or a page."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnxpipe.engine.batching import Array


def probabilities(logits: Array, allowed: Array) -> Array:
    """Compute the softmax over one window without the tokens that cannot answer, as transformers does."""
    kept = np.where(allowed, logits, -10000.0)
    shifted = np.exp(kept - kept.max())
    return np.asarray(shifted / shifted.sum())


def spans(
    start: Array, end: Array, allowed: Array, count: int, max_answer_len: int
) -> Iterator[tuple[int, int, float]]:
    """Find the `count` likeliest (start, end, score), both ends allowed; ties in the order of numpy's sort."""
    scores = np.tril(np.triu(np.outer(start, end)), max_answer_len - 1)
    flat = scores.ravel()
    if count == 1:
        order = np.array([flat.argmax()])
    elif len(flat) < count:
        order = np.argsort(-flat)
    else:
        likely = np.argpartition(-flat, count)[:count] if count < len(flat) else np.arange(len(flat))
        order = likely[np.argsort(-flat[likely])]
    for at in order.tolist():
        s, e = divmod(at, len(start))
        if allowed[s] and allowed[e]:
            yield s, e, float(scores[s, e])
