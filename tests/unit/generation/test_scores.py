"""What saves work between logits and tokens changes no score."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxpipe.generation import numerics
from onnxpipe.generation.numerics import log_softmax
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


def test_processors_overwrite_scores_that_nobody_needs_and_keep_others() -> None:
    bias = SequenceBiasLogitsProcessor(
        {(4,): 2.0, (3, 9): -1.0, (5,): -np.inf, (1,): 0.5, (2, 1): 1.0, (8, 8, 8, 8): 1.0}
    )
    every = LogitsProcessorList([bias, RepetitionPenaltyLogitsProcessor(1.5), bias])
    scores = LOGITS.copy()
    expected = every(IDS, scores)
    np.testing.assert_array_equal(scores, LOGITS)
    np.testing.assert_array_equal(every.overwrite(IDS, scores), expected)
    assert np.isneginf(scores[:, 5]).all() and scores[0, 9] == LOGITS[0, 9] - 1 and scores[1, 1] == LOGITS[1, 1] + 0.5


def test_a_subclass_with_a_call_of_its_own_is_called() -> None:
    class Nothing(SequenceBiasLogitsProcessor):
        def __call__(self, input_ids: Any, scores: Any) -> Any:
            return scores

    scores = LOGITS.copy()
    LogitsProcessorList([Nothing({(4,): 2.0})]).overwrite(IDS, scores)
    np.testing.assert_array_equal(scores, LOGITS)


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
        np.testing.assert_allclose(values, expected, atol=LAYER)
        # of scores whose log-softmax is the same number the larger comes first, so tokens may change places
        np.testing.assert_allclose(
            np.take_along_axis(scores, tokens, -1), np.take_along_axis(scores, places, -1), atol=LAYER
        )


@pytest.mark.parametrize("vocab", [4096, 9001])
def test_large_vocabularies_as_small_ones(vocab: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = (4 * np.random.default_rng(vocab).standard_normal((5, vocab))).astype(np.float32)
    scores[1, ::2] = -np.inf
    scores[2] = 1.5
    scores[3, 7:] = -np.inf
    scores[4] = scores[4].round()
    large = [
        numerics.log_softmax(scores, 2),
        *numerics.top_k(scores, 9, 2),
        numerics.log_softmax_top_k(scores, 9, 2)[0],
    ]
    monkeypatch.setattr(numerics, "_is_large", lambda scores: False)
    small = [numerics.log_softmax(scores), *numerics.top_k(scores, 9), numerics.log_softmax_top_k(scores, 9)[0]]
    for one, other in zip(large, small, strict=True):
        np.testing.assert_allclose(one, other, atol=LAYER)
    assert large[2].dtype == small[2].dtype == np.int64
