"""Each logits processor, value by value, against transformers' on random scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers.generation import logits_process as theirs

from onnxpipe.generation import processors as p
from onnxpipe.generation import sequences as s
from onnxpipe.generation import warpers as w
from onnxpipe.generation.green_list import WatermarkLogitsProcessor, _permutation
from onnxpipe.generation.numerics import kth_largest, log_softmax, softmax, top_k
from tolerances import LAYER, SUM

VOCAB = 50
SOURCE = np.array([[3, 4, 5, 3, 4, 9], [8, 8, 7, 8, 8, 1]])
RNG_SEEDS = range(4)


def _t(value):
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


#: Our class, whose name is theirs, and its arguments.
CASES = [
    (p.MinLengthLogitsProcessor, {"min_length": 6, "eos_token_id": [2, 7]}),
    (p.MinLengthLogitsProcessor, {"min_length": 20, "eos_token_id": [2, 7]}),
    (p.MinNewTokensLengthLogitsProcessor, {"prompt_length_to_skip": 3, "min_new_tokens": 5, "eos_token_id": 2}),
    (p.MinNewTokensLengthLogitsProcessor, {"prompt_length_to_skip": 3, "min_new_tokens": 50, "eos_token_id": 2}),
    (p.RepetitionPenaltyLogitsProcessor, {"penalty": 1.7}),
    (p.RepetitionPenaltyLogitsProcessor, {"penalty": 0.6}),
    (p.RepetitionPenaltyLogitsProcessor, {"penalty": 1.7, "prompt_ignore_length": 3}),
    (p.RepetitionPenaltyLogitsProcessor, {"penalty": 1.7, "prompt_ignore_length": np.array([0, 3, 5, 1])}),
    (p.EncoderRepetitionPenaltyLogitsProcessor, {"penalty": 2.0, "encoder_input_ids": SOURCE}),
    (p.ForcedBOSTokenLogitsProcessor, {"bos_token_id": 4}),
    (p.ForcedEOSTokenLogitsProcessor, {"max_length": 13, "eos_token_id": [4, 9]}),
    (p.ForcedEOSTokenLogitsProcessor, {"max_length": 14, "eos_token_id": 4}),
    (p.InfNanRemoveLogitsProcessor, {}),
    (
        p.ExponentialDecayLengthPenalty,
        {"exponential_decay_length_penalty": (2, 1.3), "eos_token_id": [2, 3], "input_ids_seq_length": 4},
    ),
    (p.SuppressTokensLogitsProcessor, {"suppress_tokens": [1, 5, 49]}),
    (p.SuppressTokensAtBeginLogitsProcessor, {"begin_suppress_tokens": [1, 5], "begin_index": 12}),
    (p.SuppressTokensAtBeginLogitsProcessor, {"begin_suppress_tokens": [1, 5], "begin_index": 11}),
    (p.LogitNormalization, {}),
    (s.NoRepeatNGramLogitsProcessor, {"ngram_size": 1}),
    (s.NoRepeatNGramLogitsProcessor, {"ngram_size": 2}),
    (s.NoRepeatNGramLogitsProcessor, {"ngram_size": 3}),
    (s.NoRepeatNGramLogitsProcessor, {"ngram_size": 30}),
    (s.EncoderNoRepeatNGramLogitsProcessor, {"encoder_ngram_size": 1, "encoder_input_ids": SOURCE}),
    (s.EncoderNoRepeatNGramLogitsProcessor, {"encoder_ngram_size": 2, "encoder_input_ids": SOURCE}),
    (s.EncoderNoRepeatNGramLogitsProcessor, {"encoder_ngram_size": 3, "encoder_input_ids": SOURCE}),
    (s.SequenceBiasLogitsProcessor, {"sequence_bias": {(3,): 2.0, (4, 5): -1.5, (4, 6): 1.0, (1, 2, 3): 7.0}}),
    (s.SequenceBiasLogitsProcessor, {"sequence_bias": {(3, 5): 2.0, (4, 5): -1.5, (5, 5): 1.0, (6, 7, 5): 7.0}}),
    (s.SequenceBiasLogitsProcessor, {"sequence_bias": [[[3], 2.0], [[4, 5], -1.5], [[5], -float("inf")]]}),
    (s.SequenceBiasLogitsProcessor, {"sequence_bias": {tuple(range(20)): 2.0, (0,): 1.0}}),
    (s.NoBadWordsLogitsProcessor, {"bad_words_ids": [[3], [4, 5], [1, 2, 6], [9]], "eos_token_id": 9}),
    (s.NoBadWordsLogitsProcessor, {"bad_words_ids": [[9]], "eos_token_id": [9]}),
    (w.TemperatureLogitsWarper, {"temperature": 0.7}),
    (w.TemperatureLogitsWarper, {"temperature": 3.0}),
    (w.TopKLogitsWarper, {"top_k": 1}),
    (w.TopKLogitsWarper, {"top_k": 7}),
    (w.TopKLogitsWarper, {"top_k": 2, "min_tokens_to_keep": 5}),
    (w.TopKLogitsWarper, {"top_k": 500, "filter_value": -5.0}),
    (w.TopPLogitsWarper, {"top_p": 0.0}),
    (w.TopPLogitsWarper, {"top_p": 0.5}),
    (w.TopPLogitsWarper, {"top_p": 0.95, "min_tokens_to_keep": 3}),
    (w.TopPLogitsWarper, {"top_p": 0.3, "min_tokens_to_keep": 3}),
    (w.TopHLogitsWarper, {"top_h": 0.4}),
    (w.TopHLogitsWarper, {"top_h": 0.9}),
    (w.MinPLogitsWarper, {"min_p": 0.1}),
    (w.MinPLogitsWarper, {"min_p": 0.9, "min_tokens_to_keep": 3}),
    (w.TypicalLogitsWarper, {"mass": 0.3}),
    (w.TypicalLogitsWarper, {"mass": 0.9, "min_tokens_to_keep": 4}),
    (w.EpsilonLogitsWarper, {"epsilon": 0.02}),
    (w.EpsilonLogitsWarper, {"epsilon": 0.5, "min_tokens_to_keep": 3}),
    (w.EtaLogitsWarper, {"epsilon": 0.02}),
    (w.EtaLogitsWarper, {"epsilon": 0.5, "min_tokens_to_keep": 2}),
]


def _inputs(seed: int, length: int = 12, forbidden: bool = False):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 10, (4, length))
    scores = (rng.standard_normal((4, VOCAB)) * 3).astype(np.float32)
    if forbidden:
        scores[rng.random(scores.shape) < 0.4] = -np.inf
        scores[:, 11] = 0.5  # something is left
    return ids, scores


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda n: f"{n}-{CASES[n][0].__name__}")
@pytest.mark.parametrize("forbidden", [False, True], ids=["all", "masked"])
def test_as_transformers(number, forbidden):
    kind, options = CASES[number]
    for seed in RNG_SEEDS:
        ids, scores = _inputs(seed, forbidden=forbidden)
        other = getattr(theirs, kind.__name__)(**{name: _t(value) for name, value in options.items()})
        expected = other(torch.from_numpy(ids), torch.from_numpy(scores.copy())).numpy()
        before = scores.copy()
        got = kind(**options)(ids, scores)
        assert got.dtype == np.float32 and got.shape == scores.shape
        assert np.array_equal(scores, before), "the scores given were changed"
        assert np.array_equal(np.isneginf(got), np.isneginf(expected))
        np.testing.assert_allclose(got, expected, rtol=SUM, atol=SUM)


@pytest.mark.parametrize("kind, options", [(k, o) for k, o in CASES if "Forced" in k.__name__ or "NGram" in k.__name__])
@pytest.mark.parametrize("length", [1, 2, 13])
def test_other_lengths(kind, options, length):
    ids, scores = _inputs(7, length)
    other = getattr(theirs, kind.__name__)(**{name: _t(value) for name, value in options.items()})
    expected = other(torch.from_numpy(ids), torch.from_numpy(scores.copy())).numpy()
    assert np.array_equal(kind(**options)(ids, scores), expected)


def test_invalid_values():
    scores = np.array([[np.nan, np.inf, -np.inf, 1.0]], np.float32)
    expected = theirs.InfNanRemoveLogitsProcessor()(None, torch.from_numpy(scores)).numpy()
    assert np.array_equal(p.InfNanRemoveLogitsProcessor()(np.zeros((1, 1), int), scores), expected)


def test_ids_beyond_the_vocabulary_are_passed_over():
    ids, scores = _inputs(0)
    ids[:, 2] = VOCAB + 3
    for kind, options in (
        (p.RepetitionPenaltyLogitsProcessor, {"penalty": 1.5}),
        (s.NoRepeatNGramLogitsProcessor, {"ngram_size": 1}),
    ):
        expected = getattr(theirs, kind.__name__)(**options)(torch.from_numpy(ids), torch.from_numpy(scores.copy()))
        np.testing.assert_allclose(kind(**options)(ids, scores), expected.numpy(), rtol=1e-6)


def test_allowed_tokens():
    def allowed(prompt, ids):
        return [int(ids[-1]), 20 + prompt]

    for seed in RNG_SEEDS:
        ids, scores = _inputs(seed, forbidden=True)
        scores[0] = -np.inf
        scores[1] = -np.inf  # nothing is left in any beam of the first prompt
        other = theirs.PrefixConstrainedLogitsProcessor(allowed, 2)
        expected = other(torch.from_numpy(ids), torch.from_numpy(scores)).numpy()
        assert np.array_equal(p.PrefixConstrainedLogitsProcessor(allowed, 2)(ids, scores), expected)
    with pytest.raises(ValueError, match="empty list for batch ID 0"):
        p.PrefixConstrainedLogitsProcessor(lambda prompt, ids: [], 2)(ids, scores)


def test_warpers_in_a_large_vocabulary():
    rng = np.random.default_rng(0)
    for scale in (0.5, 3.0, 8.0):
        scores = (rng.standard_normal((3, 50000)) * scale).astype(np.float32)
        ids = np.zeros((3, 1), np.int64)
        for kind, options in (
            (w.TopKLogitsWarper, {"top_k": 50}),
            (w.TopKLogitsWarper, {"top_k": 20000}),
            (w.TopPLogitsWarper, {"top_p": 0.9}),
            (w.TopPLogitsWarper, {"top_p": 0.1}),
            (w.TypicalLogitsWarper, {"mass": 0.5}),
            (w.MinPLogitsWarper, {"min_p": 0.05}),
        ):
            expected = getattr(theirs, kind.__name__)(**options)(None, torch.from_numpy(scores)).numpy()
            got = kind(**options)(ids, scores)
            # Sums over 50,000 float32 numbers differ in their last digits: a token at the edge may fall either way.
            assert (np.isneginf(got) != np.isneginf(expected)).sum() <= 3 * (1 if scale > 1 else 20)


def test_top_k_against_a_sort():
    rng = np.random.default_rng(1)
    for count in (5, 100, 4096, 5000, 50001):
        for k in (1, 2, 7, 50, 300):
            scores = np.round(rng.standard_normal((2, count)) * 50).astype(np.float32)  # many ties
            scores[0, rng.random(count) < 0.5] = -np.inf
            order = np.argsort(-scores, axis=-1, kind="stable")[:, :k]
            values, indices = top_k(scores, k)
            assert np.array_equal(indices, order) and np.array_equal(values, np.take_along_axis(scores, order, -1))
            if k <= count:
                assert np.array_equal(kth_largest(scores, k), np.take_along_axis(scores, order[:, -1:], -1))


def test_softmax():
    _, scores = _inputs(3, forbidden=True)
    tensor = torch.from_numpy(scores)
    np.testing.assert_allclose(softmax(scores), tensor.softmax(-1).numpy(), rtol=LAYER, atol=0)
    np.testing.assert_allclose(log_softmax(scores), tensor.log_softmax(-1).numpy(), rtol=SUM, atol=SUM)


@pytest.mark.parametrize("seed", [0, 5, 15485863 * 31, 2**40 + 7, 2**63])
def test_permutations_are_those_of_torch(seed):
    generator = torch.Generator().manual_seed(seed % (2**64 - 1))
    expected = torch.randperm(1000, generator=generator).numpy()
    assert np.array_equal(_permutation(seed, 1000, 1000), expected)
    assert np.array_equal(_permutation(seed, 1000, 250), expected[:250])


@pytest.mark.parametrize("scheme", ["lefthash", "selfhash"])
@pytest.mark.parametrize("width", [1, 3])
def test_watermark(scheme, width):
    options = {"greenlist_ratio": 0.4, "bias": 1.5, "seeding_scheme": scheme, "context_width": width}
    for seed in range(2):
        ids, scores = _inputs(seed)
        other = theirs.WatermarkLogitsProcessor(VOCAB, "cpu", **options)
        expected = other(torch.from_numpy(ids), torch.from_numpy(scores)).numpy()
        np.testing.assert_allclose(WatermarkLogitsProcessor(VOCAB, **options)(ids, scores), expected, rtol=1e-6)


WRONG = [
    ("TemperatureLogitsWarper", {"temperature": 0.0}),
    ("TemperatureLogitsWarper", {"temperature": 2}),
    ("TemperatureLogitsWarper", {"temperature": -1.0}),
    ("TopKLogitsWarper", {"top_k": -1}),
    ("TopKLogitsWarper", {"top_k": 1.5}),
    ("TopPLogitsWarper", {"top_p": -0.1}),
    ("TopPLogitsWarper", {"top_p": 1.1}),
    ("TopPLogitsWarper", {"top_p": 0.5, "min_tokens_to_keep": 0}),
    ("TopHLogitsWarper", {"top_h": 0.0}),
    ("MinPLogitsWarper", {"min_p": 1.5}),
    ("TypicalLogitsWarper", {"mass": 0.0}),
    ("EpsilonLogitsWarper", {"epsilon": 1.0}),
    ("EtaLogitsWarper", {"epsilon": 0.0}),
    ("RepetitionPenaltyLogitsProcessor", {"penalty": 2}),
    ("RepetitionPenaltyLogitsProcessor", {"penalty": -1.0}),
    ("EncoderRepetitionPenaltyLogitsProcessor", {"penalty": 0.0, "encoder_input_ids": SOURCE}),
    ("NoRepeatNGramLogitsProcessor", {"ngram_size": 0}),
    ("EncoderNoRepeatNGramLogitsProcessor", {"encoder_ngram_size": 1.0, "encoder_input_ids": SOURCE}),
    ("NoBadWordsLogitsProcessor", {"bad_words_ids": []}),
    ("NoBadWordsLogitsProcessor", {"bad_words_ids": [3]}),
    ("NoBadWordsLogitsProcessor", {"bad_words_ids": [[-3]]}),
    ("SequenceBiasLogitsProcessor", {"sequence_bias": {}}),
    ("SequenceBiasLogitsProcessor", {"sequence_bias": {3: 1.0}}),
    ("SequenceBiasLogitsProcessor", {"sequence_bias": {(3,): 1}}),
    ("SequenceBiasLogitsProcessor", {"sequence_bias": {(-3,): 1.0}}),
    ("SequenceBiasLogitsProcessor", {"sequence_bias": [[[3], 1]]}),
    ("MinLengthLogitsProcessor", {"min_length": -1, "eos_token_id": 1}),
    ("MinNewTokensLengthLogitsProcessor", {"prompt_length_to_skip": -1, "min_new_tokens": 1, "eos_token_id": 1}),
    ("ForcedEOSTokenLogitsProcessor", {"max_length": 3, "eos_token_id": [1, -1]}),
]


@pytest.mark.parametrize("name, options", WRONG, ids=[f"{n}-{name}" for n, (name, _) in enumerate(WRONG)])
def test_wrong_values_raise_the_same(name, options):
    kind = next(getattr(module, name) for module in (p, s, w) if hasattr(module, name))
    with pytest.raises(ValueError) as other:
        getattr(theirs, name)(**{key: _t(value) for key, value in options.items()})
    with pytest.raises(ValueError) as own:
        kind(**options)
    if "tensor" not in str(other.value):
        assert str(own.value) == str(other.value)
