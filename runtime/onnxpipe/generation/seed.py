"""Random numbers for sampling: every row has a stream of its own, so its text does not depend on the batch."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import numpy as np

from onnxpipe.errors import UnsupportedError
from onnxpipe.generation.protocols import Array

_source: np.random.Generator | None = None


def set_seed(seed: int) -> None:
    """Make the calls to `generate` that follow, in this process and without a seed of their own, repeatable.

    Each of them draws its seed from one generator that this starts.
    """
    global _source
    _source = np.random.Generator(np.random.Philox(np.random.SeedSequence(_checked(seed))))


def next_seed() -> int:
    """Draw the seed of one call: from `set_seed`'s generator, or fresh entropy if that was never called."""
    return secrets.randbits(63) if _source is None else int(_source.integers(1 << 63))


def row_streams(seed: int | Sequence[int] | None, prompts: int, copies: int) -> RowStreams:
    """Make the streams of `prompts` x `copies` rows, rows of a prompt adjacent.

    Args:
        seed: one for the call (a row's stream then depends on it, its prompt's number and its copy's number), or one
            per prompt (its place in the batch then does not matter), or None: `next_seed()`.
        prompts: number of prompts.
        copies: rows per prompt.

    Raises:
        ValueError: another count of seeds than prompts, or a negative one.
    """
    return RowStreams([(*key, copy) for key in _keys(seed, prompts) for copy in range(copies)])


def derived_seeds(
    seed: int | Sequence[int] | None, prompts: int, parts: int = 1, purpose: Sequence[int] = ()
) -> list[int]:
    """Derive a seed for each part of each prompt, parts of a prompt adjacent, for a call of several rows or runs.

    Args:
        seed, prompts: as for `row_streams`.
        parts: rows that form a prompt's answer together.
        purpose: numbers that tell the runs of a call apart.
    """
    keys = [(*key, *purpose, part) for key in _keys(seed, prompts) for part in range(parts)]
    return [int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1) for key in keys]


def _keys(seed: int | Sequence[int] | None, prompts: int) -> list[tuple[int, int]]:
    """(seed, number) for each prompt; see `row_streams`."""
    if seed is None:
        seed = next_seed()
    if isinstance(seed, (int, np.integer)):
        return [(_checked(int(seed)), prompt) for prompt in range(prompts)]
    keys = [(_checked(int(one)), 0) for one in seed]
    if len(keys) != prompts:
        raise UnsupportedError(f"seed has {len(keys)} numbers for {prompts} prompts: pass one int, or one per prompt")
    return keys


class RowStreams:
    """One Philox stream per row (Salmon et al. 2011), keyed by (seed, prompt, copy)."""

    def __init__(self, keys: list[tuple[int, int, int]]) -> None:
        self._streams = [np.random.Generator(np.random.Philox(np.random.SeedSequence(key))) for key in keys]

    def __len__(self) -> int:
        return len(self._streams)

    def of(self, rows: Sequence[int]) -> RowStreams:
        """Select the streams of some of the rows; they are shared, so numbers drawn there are drawn here, too."""
        some = RowStreams([])
        some._streams = [self._streams[row] for row in rows]
        return some

    def uniform(self, row: int, size: int = 1) -> Array:
        """Draw the next numbers of a row's stream: float64 (size,) in [0, 1)."""
        return self._streams[row].random(size)

    def draw(self, row: int, scores: Array) -> int:
        """Draw a token from the softmax of its scores, float32 (vocab,); takes one number of the row's stream.

        Raises:
            ValueError: all tokens are forbidden, or a score is NaN or +inf.
        """
        return self.draw_weighted(row, *weights(scores))

    def draw_weighted(self, row: int, ids: Array, mass: Array) -> int:
        """Draw one of `ids` by weights whose running sum is `mass`, float64 (n,)."""
        place = np.searchsorted(mass, self.uniform(row)[0] * mass[-1], side="right")
        return int(ids[min(int(place), ids.size - 1)])

    def draw_several(self, row: int, scores: Array, count: int) -> Array:
        """Draw `count` different tokens one after the other from the softmax of float32 (vocab,): int64 (count,).

        By the exponential race (the order of -log(u) / weight), which is equivalent to drawing without replacement.
        """
        ids, mass = weights(scores)
        share = np.diff(mass, prepend=0.0)
        ids, share = ids[share > 0], share[share > 0]
        with np.errstate(divide="ignore"):
            times = -np.log1p(-self.uniform(row, ids.size)) / share
        chosen = ids[np.argsort(times, kind="stable")[:count]]
        if len(chosen) < count:  # too few can be drawn: add the best of the rest, which have probability 0
            rest = np.argsort(-scores, kind="stable")
            chosen = np.concatenate((chosen, rest[~np.isin(rest, chosen)][: count - len(chosen)]))
        return chosen


def weights(scores: Array) -> tuple[Array, Array]:
    """Give the ids of tokens that are not forbidden, and the running sum of exp(score - best): int64, float64 (n,)."""
    best = scores.max()
    if not np.isfinite(best):
        if np.isneginf(best):
            raise UnsupportedError("no token is left to sample from: the logits processors forbid all of them")
        raise UnsupportedError(
            "the scores to sample from hold NaN or infinity; pass `remove_invalid_values=True` to replace them"
        )
    ids = np.flatnonzero(scores > -np.inf)
    return ids, np.cumsum(np.exp(scores[ids] - best), dtype=np.float64)


def _checked(seed: int) -> int:
    if seed < 0:
        raise UnsupportedError(f"seed must not be negative, but is {seed}")
    return seed
