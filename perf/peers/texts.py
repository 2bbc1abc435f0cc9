"""Texts for peers that have no pipeline of their own: the tokenizer of the folder, batches by length, the mean."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

LONGEST = 256


def tokenizer(model: str) -> Any:
    """Load the tokenizer of a folder, without padding."""
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_file(str(Path(model, "tokenizer.json")))
    loaded.enable_truncation(LONGEST)
    loaded.no_padding()
    return loaded


def batches(rows: list[list[int]], tokens: int) -> Iterator[tuple[list[int], Any, Any]]:
    """Yield rows of token ids, sorted by length, in batches of at most so many tokens with their padding.

    Yields:
        The places of the rows, their ids and their mask, int64 (n, length).
    """
    import numpy as np

    order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
    at = 0
    while at < len(order):
        end = at + 1
        while end < len(order) and (end + 1 - at) * len(rows[order[end]]) <= tokens:
            end += 1
        places = order[at:end]
        length = len(rows[places[-1]])
        ids = np.zeros((len(places), length), np.int64)
        mask = np.zeros_like(ids)
        for i, place in enumerate(places):
            ids[i, : len(rows[place])] = rows[place]
            mask[i, : len(rows[place])] = 1
        yield places, ids, mask
        at = end


def pooled(states: Any, mask: Any) -> Any:
    """Take the mean over the tokens, (n, length, size) and (n, length) to (n, size), and normalise it."""
    import numpy as np

    weights = mask[..., None].astype(np.float32)
    mean = (states * weights).sum(1) / weights.sum(1)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)
