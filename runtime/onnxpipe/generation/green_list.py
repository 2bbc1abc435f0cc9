"""The watermark's green lists, token for token as transformers draws them with PyTorch's generator on a CPU."""

from __future__ import annotations

import functools

import numpy as np

from onnxpipe.generation.logs import logger
from onnxpipe.generation.processors import LogitsProcessor
from onnxpipe.generation.protocols import Array

_TABLE_SIZE = 1_000_003
#: The number of best candidates that "selfhash" tries.
_TRIED = 40


class WatermarkLogitsProcessor(LogitsProcessor):
    """Adds `bias` to the green tokens (arXiv 2306.04634; "lefthash" is its algorithm 2, "selfhash" its algorithm 3).

    Args: see `WatermarkingConfig`; vocab_size: the number of tokens.
    """

    any_rows = True

    def __init__(
        self,
        vocab_size: int,
        greenlist_ratio: float = 0.25,
        bias: float = 2.0,
        hashing_key: int = 15485863,
        seeding_scheme: str = "lefthash",
        context_width: int = 1,
    ) -> None:
        if seeding_scheme not in ("selfhash", "lefthash"):
            raise ValueError(f"seeding_scheme has to be one of [`selfhash`, `lefthash`], but found {seeding_scheme}")
        if not 0.0 < greenlist_ratio < 1.0:
            raise ValueError(
                f"greenlist_ratio has be in range between 0.0 and 1.0, exclusively. but found {greenlist_ratio}"
            )
        self.vocab_size = vocab_size
        self.greenlist_size = int(vocab_size * greenlist_ratio)
        self.bias = bias
        self.hash_key = hashing_key
        self.seeding_scheme = seeding_scheme
        self.context_width = context_width

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        if input_ids.shape[-1] < self.context_width:
            logger.warning(
                "`input_ids` should have at least `%s` tokens but has %s. The seeding will be skipped for this "
                "generation step!",
                self.context_width,
                input_ids.shape[-1],
            )
            return scores
        out = scores.copy()
        for row, ids in enumerate(input_ids):
            green = self._own_green(ids, scores[row]) if self.seeding_scheme == "selfhash" else self._green(ids)
            out[row, green] += scores.dtype.type(self.bias)
        return out

    def _green(self, ids: Array) -> Array:
        """Compute the green tokens after `ids`: int64 (greenlist_size,)."""
        return _permutation(self._seed(ids), self.vocab_size, self.greenlist_size)

    def _own_green(self, ids: Array, scores: Array) -> Array:
        """Find the best candidates that are green in the list that they seed themselves."""
        best = np.argsort(-scores, kind="stable")[:_TRIED]
        return np.array([one for one in best if one in self._green(np.append(ids, one))], np.int64)

    def _seed(self, ids: Array) -> int:
        if self.seeding_scheme == "lefthash":
            return (self.hash_key * int(ids[-1])) % (2**64 - 1)
        table = _permutation(self.hash_key % (2**64 - 1), _TABLE_SIZE, _TABLE_SIZE)
        ids = ids[-self.context_width :]
        a, b = table[ids % _TABLE_SIZE] + 1, table[ids[-1] % _TABLE_SIZE] + 1
        with np.errstate(over="ignore"):  # PyTorch's int64 wraps around, too
            product = np.int64(_wrapped(self.hash_key)) * a * b
        return int(product.min()) % (2**64 - 1)


def _wrapped(value: int) -> int:
    """Wrap a Python int around as int64 does."""
    return (value + 2**63) % 2**64 - 2**63


@functools.lru_cache(maxsize=64)
def _permutation(seed: int, size: int, count: int) -> Array:
    """Compute the first `count` entries of torch.randperm(size) after torch.manual_seed(seed) on a CPU: int64 (count,).

    PyTorch seeds mt19937 with the low 32 bits and shuffles by Fisher and Yates, one 32-bit number per place
    (ATen/native/TensorFactories.cpp).
    """
    source = np.random.RandomState(0)  # PyTorch's engine does the same legacy seeding
    source.seed(seed & 0xFFFFFFFF)
    places = min(count, size - 1)
    # tomaxint and randint would consume the stream otherwise; bytes are the raw 32-bit numbers.
    raw = np.frombuffer(source.bytes(4 * places), "<u4").astype(np.int64)
    jumps = (raw % (size - np.arange(places))).tolist()
    order = list(range(size))
    for place, jump in enumerate(jumps):
        order[place], order[place + jump] = order[place + jump], order[place]
    result = np.array(order[:count], np.int64)
    result.flags.writeable = False
    return result
