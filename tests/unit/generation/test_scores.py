"""What saves work between logits and tokens changes no score."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

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
