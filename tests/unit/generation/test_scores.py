"""What saves work between logits and tokens changes no score."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxpipe.generation import numerics
from onnxpipe.generation.numerics import Scratch, log_softmax
from onnxpipe.generation.processors import (
    LogitNormalization,
    LogitsProcessorList,
    MinLengthLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
)
from onnxpipe.generation.sequences import NoBadWordsLogitsProcessor, SequenceBiasLogitsProcessor
from tolerances import LAYER

IDS = np.array([[1, 2, 3], [3, 2, 1]])
LOGITS = np.random.default_rng(0).normal(size=(2, 50)).astype(np.float32) * 5


@pytest.mark.parametrize(
    ("processors", "normalise"),
    [
        ([], False),
        ([LogitNormalization()], True),
        ([NoBadWordsLogitsProcessor([[4], [2, 3, 7]]), MinLengthLogitsProcessor(9, 5), LogitNormalization()], True),
        ([RepetitionPenaltyLogitsProcessor(1.5), LogitNormalization()], False),
        ([NoBadWordsLogitsProcessor([[4]])], False),
        ([lambda ids, scores: scores, LogitNormalization()], False),
    ],
)
def test_a_log_softmax_is_left_out_only_where_another_follows(processors: list[Any], normalise: bool) -> None:
    every = LogitsProcessorList(processors)
    assert every.normalise is normalise
    if normalise:
        np.testing.assert_allclose(every(IDS, LOGITS), every(IDS, log_softmax(LOGITS)), atol=LAYER)


@pytest.mark.parametrize("make", [LogitNormalization, lambda: SequenceBiasLogitsProcessor({(4,): 2.0, (3, 9): -1.0})])
def test_scratch_memory_is_used_again_and_changes_nothing(make: Any) -> None:
    plain, kept = make(), make()
    kept.scratch = Scratch()
    first = kept(IDS, LOGITS)
    np.testing.assert_array_equal(first, plain(IDS, LOGITS))
    second = kept(IDS, LOGITS[::-1])
    assert np.shares_memory(first, second)
    np.testing.assert_array_equal(second, plain(IDS, LOGITS[::-1]))
    np.testing.assert_array_equal(kept(IDS[:1], LOGITS[:1]), plain(IDS[:1], LOGITS[:1]))
    assert not np.shares_memory(plain(IDS, LOGITS), plain(IDS, LOGITS))


@pytest.mark.parametrize("vocab", [5, 300, 4096, 9000])
def test_the_best_of_a_log_softmax(vocab: int) -> None:
    random = np.random.default_rng(vocab)
    scores = (4 * random.standard_normal((6, vocab))).astype(np.float32)
    scores[1, ::2] = -np.inf
    scores[2] = -np.inf  # NaN in all places, as in PyTorch
    scores[3] = 1.5
    for count in (1, 4, vocab + 1):
        values, tokens = numerics.log_softmax_top_k(scores, count)
        expected, places = numerics.top_k(numerics.log_softmax(scores), count)
        np.testing.assert_array_equal(values, expected)
        # of scores whose log-softmax is the same number the larger comes first, so tokens may change places
        np.testing.assert_allclose(
            np.take_along_axis(scores, tokens, -1), np.take_along_axis(scores, places, -1), atol=LAYER
        )
