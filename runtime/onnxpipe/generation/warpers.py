"""Logits processors of sampling: temperature, and removal of unlikely tokens.

Each keeps at least `min_tokens_to_keep` tokens and works on the scores of those before it.
"""

from __future__ import annotations

import math

import numpy as np

from onnxpipe.generation.numerics import kth_largest, log_softmax, softmax, top_k
from onnxpipe.generation.processors import LogitsProcessor
from onnxpipe.generation.protocols import Array


class TemperatureLogitsWarper(LogitsProcessor):
    """Divides the scores by the temperature: sharper below 1, flatter above 1."""

    any_rows = True

    def __init__(self, temperature: float) -> None:
        if not isinstance(temperature, float) or not temperature > 0:
            message = (
                f"`temperature` (={temperature}) has to be a strictly positive float, otherwise your next token scores "
                "will be invalid."
            )
            if isinstance(temperature, float) and temperature == 0.0:
                message += " If you're looking for greedy decoding strategies, set `do_sample=False`."
            raise ValueError(message)
        self.temperature = temperature

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        return np.asarray(scores / scores.dtype.type(self.temperature))


class TopHLogitsWarper(LogitsProcessor):
    """Keeps, of the 100 best, the first ones up to `top_h` of their entropy (arXiv 2509.02510); always the best."""

    any_rows = True

    def __init__(self, top_h: float, filter_value: float = -math.inf) -> None:
        if not 0 < top_h <= 1:
            raise ValueError("`top_h` must be in the range (0, 1].")
        self.top_h = top_h
        self.filter_value = filter_value

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        best, ids = top_k(scores, 100)
        probabilities = softmax(best)
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = -probabilities * np.log(probabilities)
        # A term of probability 0 is NaN and, as no comparison with NaN holds, ends the selection.
        limit = np.nansum(terms, -1, keepdims=True) * np.float32(self.top_h)
        kept = np.cumsum(terms, -1) <= limit
        kept[:, 0] = True
        out = np.full_like(scores, self.filter_value)
        rows, places = np.nonzero(kept)
        out[rows, ids[rows, places]] = best[rows, places]
        return out


class TopKLogitsWarper(LogitsProcessor):
    """Keeps the k best, and those equal to the k-th."""

    any_rows = True

    def __init__(self, top_k: int, filter_value: float = -math.inf, min_tokens_to_keep: int = 1) -> None:
        if not isinstance(top_k, int) or top_k <= 0:
            raise ValueError(f"`top_k` has to be a strictly positive integer, but is {top_k}")
        self.top_k = max(top_k, min_tokens_to_keep)
        self.filter_value = filter_value

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        bound = kth_largest(scores, min(self.top_k, scores.shape[-1]))
        return np.where(scores < bound, scores.dtype.type(self.filter_value), scores)


class TopPLogitsWarper(LogitsProcessor):
    """Keeps the fewest best whose probabilities add up to `top_p` (Holtzman et al. 2019)."""

    any_rows = True

    def __init__(self, top_p: float, filter_value: float = -math.inf, min_tokens_to_keep: int = 1) -> None:
        top_p = float(top_p)
        if not 0 <= top_p <= 1.0:
            raise ValueError(f"`top_p` has to be a float > 0 and < 1, but is {top_p}")
        self.top_p = top_p
        self.filter_value = filter_value
        self.min_tokens_to_keep = _keep(min_tokens_to_keep)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        out = np.full_like(scores, self.filter_value)
        for row, line in enumerate(scores):
            kept = self._kept(line)
            out[row, kept] = line[kept]
        return out

    def _kept(self, line: Array) -> Array:
        """Choose the ids that stay, from (vocab,)."""
        ids = np.flatnonzero(line > -math.inf)
        exp = np.exp(line[ids] - line[ids].max())
        probabilities = exp / exp.sum()
        # Most of a large vocabulary is far below the cut: sort only values from a bound on that is below the cut, too.
        for count in (1024, 8192):
            if ids.size < 4 * count:
                break
            bound = kth_largest(probabilities[None], count)[0, 0]
            high = probabilities >= bound
            rest = float(probabilities[~high].sum(dtype=np.float64))
            if np.float32(rest) <= np.float32(1 - self.top_p):
                return self._cut(ids[high], probabilities[high], rest)
        return self._cut(ids, probabilities, 0.0)

    def _cut(self, ids: Array, probabilities: Array, below: float) -> Array:
        order = np.argsort(probabilities, kind="stable")
        mass = (np.cumsum(probabilities[order], dtype=np.float64) + below).astype(np.float32)
        kept = ~(mass <= np.float32(1 - self.top_p))
        kept[-self.min_tokens_to_keep :] = True
        return np.asarray(ids[order[kept]])


class MinPLogitsWarper(LogitsProcessor):
    """Keeps tokens with at least `min_p` of the best's probability (arXiv 2407.01082)."""

    any_rows = True

    def __init__(self, min_p: float, filter_value: float = -math.inf, min_tokens_to_keep: int = 1) -> None:
        if not 0 <= min_p <= 1.0:
            raise ValueError(f"`min_p` has to be a float in the [0, 1] interval, but is {min_p}")
        self.min_p = min_p
        self.filter_value = filter_value
        self.min_tokens_to_keep = _keep(min_tokens_to_keep)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        probabilities = softmax(scores)
        removed = probabilities < np.float32(self.min_p) * probabilities.max(-1, keepdims=True)
        if self.min_tokens_to_keep == 1:
            removed[np.arange(len(scores)), probabilities.argmax(-1)] = False
        else:
            np.put_along_axis(removed, top_k(probabilities, self.min_tokens_to_keep)[1], False, -1)
        return np.where(removed, scores.dtype.type(self.filter_value), scores)


class TypicalLogitsWarper(LogitsProcessor):
    """Keeps tokens about as surprising as the next one is expected to be, up to a mass (Meister et al. 2022)."""

    any_rows = True

    def __init__(self, mass: float = 0.9, filter_value: float = -math.inf, min_tokens_to_keep: int = 1) -> None:
        mass = float(mass)
        if not 0 < mass < 1:
            raise ValueError(f"`typical_p` has to be a float > 0 and < 1, but is {mass}")
        self.mass = mass
        self.filter_value = filter_value
        self.min_tokens_to_keep = _keep(min_tokens_to_keep)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        out = np.full_like(scores, self.filter_value)
        for row, line in enumerate(scores):
            kept = self._kept(line)
            out[row, kept] = line[kept]
        return out

    def _kept(self, line: Array) -> Array:
        """Choose the ids that stay, from (vocab,)."""
        ids = np.flatnonzero(line > -math.inf)
        logs = log_softmax(line[ids])
        probabilities = np.exp(logs)
        distance = np.abs(-logs - -np.sum(logs * probabilities))
        order = np.argsort(distance, kind="stable")
        mass = np.cumsum(probabilities[order], dtype=np.float64).astype(np.float32)
        last = min(int((mass < np.float32(self.mass)).sum()), ids.size - 1)
        kept = distance[order] <= distance[order[last]]
        kept[: self.min_tokens_to_keep] = True
        return np.asarray(ids[order[kept]])


class EpsilonLogitsWarper(LogitsProcessor):
    """Keeps tokens with a probability of at least `epsilon` (Hewitt et al. 2022)."""

    any_rows = True

    def __init__(self, epsilon: float, filter_value: float = -math.inf, min_tokens_to_keep: int = 1) -> None:
        self.epsilon = _cutoff("epsilon_cutoff", epsilon)
        self.filter_value = filter_value
        self.min_tokens_to_keep = _keep(min_tokens_to_keep)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        low = softmax(scores) < np.float32(self.epsilon)
        return _cut_low(scores, low, self.min_tokens_to_keep, self.filter_value)


class EtaLogitsWarper(LogitsProcessor):
    """The same with the smaller of epsilon and sqrt(epsilon) * exp(-entropy) (Hewitt et al. 2022)."""

    any_rows = True

    def __init__(self, epsilon: float, filter_value: float = -math.inf, min_tokens_to_keep: int = 1) -> None:
        self.epsilon = np.float32(_cutoff("eta_cutoff", epsilon))
        self.filter_value = filter_value
        self.min_tokens_to_keep = _keep(min_tokens_to_keep)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        logs = log_softmax(scores)
        probabilities = np.exp(logs)
        # Not -inf * 0: a forbidden token adds nothing to the entropy.
        entropy = -np.sum(np.maximum(logs, np.finfo(logs.dtype).min) * probabilities, -1, keepdims=True)
        eta = np.minimum(self.epsilon, np.sqrt(self.epsilon) * np.exp(-entropy))
        return _cut_low(scores, probabilities < eta, self.min_tokens_to_keep, self.filter_value)


def _cut_low(scores: Array, low: Array, keep: int, value: float) -> Array:
    removed = low & (scores < kth_largest(scores, min(keep, scores.shape[-1])))
    return np.where(removed, scores.dtype.type(value), scores)


def _cutoff(name: str, value: float) -> float:
    value = float(value)
    if not 0 < value < 1:
        raise ValueError(f"`{name}` has to be a float > 0 and < 1, but is {value}")
    return value


def _keep(count: int) -> int:
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"`min_tokens_to_keep` has to be a positive integer, but is {count}")
    return count
