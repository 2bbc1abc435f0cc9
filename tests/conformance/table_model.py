"""A language model that is a table of random numbers: the same in every environment, and with nothing to install."""

from __future__ import annotations

import numpy as np

VOCAB = 30


class Table:
    """Logits and states by a hash of all tokens of a row."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._logits = (rng.standard_normal((257, VOCAB)) * 2).astype(np.float32)
        self._logits[:, 1] += 1  # the end token
        self._states = rng.standard_normal((257, 8)).astype(np.float32)

    def logits(self, ids) -> np.ndarray:
        """float32 (rows, vocab) after int (rows, length)."""
        return self._logits[[_key(row) for row in ids]]

    def states(self, ids) -> np.ndarray:
        """float32 (rows, length, 8): one of each prefix."""
        return np.stack([self._states[[_key(row[: n + 1]) for n in range(len(row))]] for row in ids])


def _key(row) -> int:
    key = 7
    for token in row:
        key = (key * 31 + int(token) + 1) % 257
    return key


#: What is generated, in tests and by transformers 4.57: prompts and options.
GROUP_CASES = [
    {
        "seed": seed,
        "prompts": [[4, 5, 6 + seed], [7, 8, 9]][: 1 + seed % 2],
        "num_beams": beams,
        "num_beam_groups": groups,
        "diversity_penalty": [0.5, 2.0, 10.0][seed % 3],
        "num_return_sequences": [1, beams, 2][seed % 3],
        "length_penalty": [1.0, 0.0, -0.5, 2.0][seed % 4],
        "early_stopping": [False, True, "never"][seed // 2 % 3],
        "eos_token_id": [[1], [1, 5]][seed % 2],
        "max_length": 5 + seed % 9,
    }
    for seed in range(24)
    for beams, groups in [((4, 2), (6, 3), (4, 4), (6, 2))[seed % 4]]
]
_WORDS = ([[10, 11]], [[10], [12, 13, 14]], [[[15, 16], [17]], [18]], [[[10, 11], [12, 13]]])
CONSTRAINED_CASES = [
    {
        "seed": seed,
        "prompts": [[4, 5, 6 + seed], [7, 8, 9]][: 1 + seed % 2],
        "num_beams": [2, 3, 5][seed % 3],
        "force_words_ids": _WORDS[seed % 4],
        "num_return_sequences": 1 + seed % 2,
        "length_penalty": [1.0, 0.0, 2.0][seed % 3],
        "early_stopping": [False, True, "never"][seed // 2 % 3],
        "eos_token_id": [[1], [1, 5]][seed % 2],
        "max_length": 7 + seed % 9,
    }
    for seed in range(24)
]
