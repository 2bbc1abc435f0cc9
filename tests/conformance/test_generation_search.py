"""Whole searches against transformers' generate(), through torch: the same tokens, scores and lengths."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import transformers

from conformance import tiny_models
from conformance.torch_decoder import TorchModel

MODELS = {"gpt2": tiny_models.gpt2, "bart": tiny_models.bart, "t5": tiny_models.t5}


@pytest.fixture(autouse=True)
def _quiet():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _prompts(rng, rows: int, width: int, *, padded: bool = False):
    """int64 (rows, width) without special tokens, and its mask; padding to the left."""
    ids = rng.integers(4, tiny_models.VOCAB, (rows, width))
    mask = np.ones_like(ids)
    if padded:
        for row in range(1, rows):
            mask[row, : rng.integers(0, width)] = 0
    return ids, mask


def both(name: str, seed: int, ids, mask, ours=None, theirs=None, **options):
    """(transformers' answer, ours)."""
    model = MODELS[name](seed)
    expected = model.generate(
        torch.from_numpy(ids), attention_mask=torch.from_numpy(mask), **{**options, **(theirs or {})}
    )
    return expected, TorchModel(model).generate(ids, attention_mask=mask, **{**options, **(ours or {})})


def same(expected, got) -> None:
    """The same sequences, and where there is more, the same scores."""
    if isinstance(expected, torch.Tensor):
        assert got.dtype == np.int64
        assert got.tolist() == expected.tolist()
        return
    assert set(got) == set(expected) - {"past_key_values"}
    assert got.sequences.tolist() == expected.sequences.tolist()
    for name in ("scores", "logits"):
        for one, other in zip(got.get(name) or (), expected.get(name) or (), strict=True):
            np.testing.assert_allclose(one, other.numpy(), rtol=1e-4, atol=1e-4)
    if "sequences_scores" in got:
        np.testing.assert_allclose(got.sequences_scores, expected.sequences_scores.numpy(), rtol=1e-4, atol=1e-4)
    if "beam_indices" in got:
        assert got.beam_indices.tolist() == expected.beam_indices.tolist()


def _processors(rng) -> dict:
    """A few processors that can be combined."""
    some = {
        "repetition_penalty": float(rng.choice([0.7, 1.3, 2.0])),
        "encoder_repetition_penalty": float(rng.choice([0.8, 1.5])),
        "no_repeat_ngram_size": int(rng.integers(1, 4)),
        "encoder_no_repeat_ngram_size": int(rng.integers(1, 3)),
        "bad_words_ids": [[7], [9, 10], [1]],
        "sequence_bias": [[[8], 2.0], [[11, 12], -4.0], [[13], 1.0]],
        "min_length": int(rng.integers(1, 12)),
        "min_new_tokens": int(rng.integers(1, 8)),
        "forced_bos_token_id": 6,
        "forced_eos_token_id": [[1], 1, [1, 5]][int(rng.integers(3))],
        "remove_invalid_values": True,
        "exponential_decay_length_penalty": (3, 1.2),
        "suppress_tokens": [14, 15],
        "begin_suppress_tokens": [16, 17, 18, 19],
        "renormalize_logits": True,
        "watermarking_config": {"bias": 2.5, "seeding_scheme": "lefthash"},
    }
    return {name: value for name, value in some.items() if rng.random() < 0.25}


END_TOKENS = [1, [1, 5], [1, 5, 7, 9], None]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("start", range(4))
def test_beam_search(name, start):
    for number in range(start * 10, start * 10 + 10):
        rng = np.random.default_rng(number)
        ids, mask = _prompts(rng, int(rng.integers(1, 4)), int(rng.integers(2, 7)), padded=number % 3 == 0)
        beams = int(rng.integers(2, 6))
        options = {
            "num_beams": beams,
            "num_return_sequences": int(rng.integers(1, beams + 1)),
            "max_new_tokens": int(rng.integers(3, 20)),
            "early_stopping": [True, False, "never"][int(rng.integers(3))],
            "length_penalty": float(rng.choice([-1.0, 0.0, 0.6, 1.0, 2.0])),
            "eos_token_id": END_TOKENS[int(rng.integers(4))],
            "pad_token_id": [2, 0][int(rng.integers(2))],
            **(_processors(rng) if number % 2 else {}),
        }
        record = {"return_dict_in_generate": True, "output_scores": True, "output_logits": True} if number % 4 else {}
        expected, got = both(name, number % 5, ids, mask, **options, **record)
        try:
            same(expected, got)
        except AssertionError as error:
            raise AssertionError(f"{number}: {options}") from error


@pytest.mark.parametrize("name", MODELS)
def test_closed_prompts_leave_the_decoder(name):
    less = 0
    for number in range(12):
        model = MODELS[name](number % 5)
        ids, mask = _prompts(np.random.default_rng(number), 8, 4, padded=number % 2 == 0)
        options = {
            "num_beams": 3,
            "num_return_sequences": 1 + number % 3,
            "max_new_tokens": 25,
            "early_stopping": [True, False][number % 2],
            "eos_token_id": [1, 5, 6, 7],
            "pad_token_id": 2,
            **([{}, {"no_repeat_ngram_size": 2, "bad_words_ids": [[9]]}][number // 2 % 2]),
        }
        ours = TorchModel(model)
        got = ours.generate(ids, attention_mask=mask, **options)
        same(model.generate(torch.from_numpy(ids), attention_mask=torch.from_numpy(mask), **options), got)
        less += ours.row_steps < 24 * ours.calls
    assert less >= 6


@pytest.mark.parametrize("name", MODELS)
def test_greedy(name):
    for number in range(20):
        rng = np.random.default_rng(number)
        ids, mask = _prompts(rng, int(rng.integers(1, 7)), int(rng.integers(1, 7)), padded=number % 2 == 0)
        options = {
            "max_new_tokens": int(rng.integers(1, 25)),
            "eos_token_id": END_TOKENS[int(rng.integers(4))],
            "pad_token_id": 2,
            **(_processors(rng) if number % 3 else {}),
        }
        record = {"return_dict_in_generate": True, "output_scores": True, "output_logits": True} if number % 4 else {}
        same(*both(name, number % 5, ids, mask, **options, **record))


def test_guidance():
    ids, mask = _prompts(np.random.default_rng(0), 2, 5)
    negative = np.array([[5, 6, 7], [8, 9, 10]])
    for options in (
        {"guidance_scale": 1.7},
        {"guidance_scale": 1.7, "num_beams": 3},
        {"guidance_scale": 0.4, "repetition_penalty": 1.2},
    ):
        same(*both("gpt2", 1, ids, mask, max_new_tokens=10, pad_token_id=2, **options))
    expected, got = both(
        "gpt2",
        1,
        ids,
        mask,
        ours={"negative_prompt_ids": negative},
        theirs={"negative_prompt_ids": torch.from_numpy(negative)},
        guidance_scale=2.0,
        max_new_tokens=10,
        pad_token_id=2,
    )
    same(expected, got)


def test_allowed_tokens():
    ids, mask = _prompts(np.random.default_rng(0), 2, 5)

    def allowed(prompt, row):
        return [int(row[-1]) % 30 + 4, 20 + prompt, 1]

    for beams in (1, 3):
        options = {"max_new_tokens": 10, "num_beams": beams, "prefix_allowed_tokens_fn": allowed, "pad_token_id": 2}
        same(*both("gpt2", 1, ids, mask, **options))


@pytest.mark.parametrize("name", MODELS)
def test_lengths(name):
    ids, mask = _prompts(np.random.default_rng(3), 2, 4)
    for options in (
        {},
        {"max_length": 9},
        {"max_length": 9, "max_new_tokens": 3},
        {"min_length": 8, "max_length": 12},
        {"min_new_tokens": 30, "max_new_tokens": 6},
        {"eos_token_id": -1, "max_new_tokens": 6},
    ):
        same(*both(name, 0, ids, mask, pad_token_id=2, **options))


def test_inferred_mask_and_empty_prompts():
    model = tiny_models.gpt2(0)
    ours = TorchModel(model)
    ids = np.array([[2, 2, 7, 8], [5, 6, 7, 8]])
    same(model.generate(torch.from_numpy(ids), max_new_tokens=8), ours.generate(ids, max_new_tokens=8))
    same(model.generate(max_new_tokens=8), ours.generate(max_new_tokens=8))
    same(model.generate(torch.from_numpy(ids)), ours.generate(inputs=ids))
    same(model.generate(input_ids=torch.from_numpy(ids)), ours.generate(input_ids=ids.tolist()))
    same(model.generate(input_ids=torch.from_numpy(ids)), ours.generate(torch.from_numpy(ids)))


def test_decoder_prompts():
    model = tiny_models.bart(0)
    ours = TorchModel(model)
    ids, _ = _prompts(np.random.default_rng(3), 2, 4)
    for start in ([[3, 9], [3, 8]], [[9], [8]], [[9, 10], [3, 8]]):
        for beams in (1, 3):
            options = {"max_new_tokens": 8, "num_beams": beams}
            expected = model.generate(torch.from_numpy(ids), decoder_input_ids=torch.tensor(start), **options)
            same(expected, ours.generate(ids, decoder_input_ids=np.array(start), **options))
    states = model.get_encoder()(torch.from_numpy(ids))
    given = states.last_hidden_state.detach().numpy()  # before transformers repeats it in place
    expected = model.generate(encoder_outputs=states, max_new_tokens=8, num_beams=2)
    same(expected, ours.generate(encoder_outputs=given, max_new_tokens=8, num_beams=2))


def test_stopping_rules():
    model, (ids, mask) = tiny_models.gpt2(0), _prompts(np.random.default_rng(5), 4, 4)
    plain = TorchModel(model).generate(ids, attention_mask=mask, max_new_tokens=12, eos_token_id=None, pad_token_id=2)
    third = int(plain[0, 7])

    def mine(rows, scores):
        return rows[:, -1] == third

    def other(rows, scores, **kwargs):
        return rows[:, -1] == third

    for eos in (None, 1, [1, int(plain[1, 6])]):
        expected, got = both(
            "gpt2",
            0,
            ids,
            mask,
            ours={"stopping_criteria": [mine]},
            theirs={"stopping_criteria": transformers.StoppingCriteriaList([other])},
            max_new_tokens=12,
            eos_token_id=eos,
            pad_token_id=2,
        )
        same(expected, got)
    got = TorchModel(model).generate(ids, attention_mask=mask, max_new_tokens=100, max_time=0.0, eos_token_id=None)
    assert got.shape == (4, 5)


def test_finished_rows_leave_the_decoder():
    """The answers stay; the work shrinks."""
    model, (ids, mask) = tiny_models.gpt2(0), _prompts(np.random.default_rng(2), 12, 4)
    ours = TorchModel(model)
    for options in ({}, {"repetition_penalty": 1.3, "encoder_no_repeat_ngram_size": 2}):
        ours.row_steps = 0
        options |= {"max_new_tokens": 40, "eos_token_id": [1, 5, 6], "pad_token_id": 2}
        got = ours.generate(ids, attention_mask=mask, **options)
        same(model.generate(torch.from_numpy(ids), attention_mask=torch.from_numpy(mask), **options), got)
        assert ours.row_steps < 0.8 * 12 * (got.shape[1] - 4)


@pytest.mark.parametrize("name", ["gpt2", "bart"])
def test_assisted_is_greedy(name):
    model = MODELS[name](0)
    ours = TorchModel(model)
    for number in range(6):
        rng = np.random.default_rng(number)
        ids, mask = _prompts(rng, 1, 5)
        options = {"attention_mask": mask, "max_new_tokens": 25, "pad_token_id": 2}
        options["eos_token_id"] = END_TOKENS[number % 4]
        if number % 2:
            options |= {"repetition_penalty": 1.3, "no_repeat_ngram_size": 3, "min_new_tokens": 10}
        plain = ours.generate(ids, **options)
        for assistant in (TorchModel(model), TorchModel(MODELS[name](number % 3 + 1))):
            for schedule in ("constant", "heuristic"):
                assistant.generation_config.num_assistant_tokens = int(rng.integers(1, 7))
                assistant.generation_config.num_assistant_tokens_schedule = schedule
                assistant.generation_config.assistant_confidence_threshold = float(rng.choice([0.0, 0.4]))
                assert ours.generate(ids, assistant_model=assistant, **options).tolist() == plain.tolist()
        ids = np.tile(ids, (1, 3))
        options["attention_mask"] = np.ones_like(ids)
        plain = ours.generate(ids, return_dict_in_generate=True, output_scores=True, output_logits=True, **options)
        for count, size in ((1, 1), (4, 2), (10, 3)):
            got = ours.generate(
                ids,
                prompt_lookup_num_tokens=count,
                max_matching_ngram_size=size,
                return_dict_in_generate=True,
                output_scores=True,
                output_logits=True,
                **options,
            )
            assert got.sequences.tolist() == plain.sequences.tolist()
            for one, other in zip(got.scores + got.logits, plain.scores + plain.logits, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_an_assistant_saves_runs():
    model = TorchModel(tiny_models.gpt2(0))
    ids, mask = _prompts(np.random.default_rng(0), 1, 5)
    twin = TorchModel(tiny_models.gpt2(0))
    twin.generation_config.assistant_confidence_threshold = 0.0
    twin.generation_config.num_assistant_tokens = 5
    model.generate(ids, attention_mask=mask, max_new_tokens=30, eos_token_id=None, assistant_model=twin)
    assert model.calls <= 7


def test_lookup_sampling_is_plain_sampling():
    model = TorchModel(tiny_models.gpt2(0))
    ids = np.tile(_prompts(np.random.default_rng(0), 1, 5)[0], (1, 3))
    for seed in range(5):
        options = {"max_new_tokens": 20, "do_sample": True, "seed": seed, "pad_token_id": 2, "temperature": 0.6}
        plain = model.generate(ids, **options)
        assert model.generate(ids, prompt_lookup_num_tokens=3, **options).tolist() == plain.tolist()


def test_assisted_sampling_has_the_models_distribution():
    model, assistant = TorchModel(tiny_models.gpt2(0, 8)), TorchModel(tiny_models.gpt2(1, 8))
    assistant.generation_config.num_assistant_tokens = 2
    assistant.generation_config.assistant_confidence_threshold = 0.0
    ids = np.array([[4, 5, 6]])
    options = {"do_sample": True, "max_new_tokens": 3, "eos_token_id": None, "pad_token_id": 2, "top_k": 0}
    counts = np.zeros((2, 2, 8))
    for seed in range(400):
        for kind, more in enumerate(({}, {"assistant_model": assistant})):
            row = model.generate(ids, seed=seed, **options, **more)[0, 3:]
            counts[kind, 0, row[0]] += 1
            counts[kind, 1, row[1]] += 1
    distance = np.abs(counts[0] - counts[1]).sum(-1) / 800
    assert (distance < 0.1).all(), distance


def test_sampling_support_and_seeds():
    model = TorchModel(tiny_models.gpt2(0))
    ids, mask = _prompts(np.random.default_rng(0), 3, 5, padded=True)
    options = {"attention_mask": mask, "do_sample": True, "max_new_tokens": 8, "eos_token_id": None, "pad_token_id": 2}
    one = model.generate(ids, seed=3, **options)
    assert one.tolist() == model.generate(ids, seed=3, **options).tolist()
    assert one.tolist() != model.generate(ids, seed=4, **options).tolist()
    # Alone or in a batch: with a seed for each prompt its place does not matter.
    seeds = [11, 12, 13]
    together = model.generate(ids, seed=seeds, num_return_sequences=2, **options)
    for row in range(3):
        real = mask[row] == 1
        alone = model.generate(
            ids[row : row + 1, real],
            seed=seeds[row : row + 1],
            num_return_sequences=2,
            **{**options, "attention_mask": mask[row : row + 1, real]},
        )
        assert alone[:, real.sum() :].tolist() == together[2 * row : 2 * row + 2, 5:].tolist()
    # Each drawn token is one of the two best.
    found = model.generate(ids, seed=1, top_k=2, return_dict_in_generate=True, output_scores=True, **options)
    for step, scores in enumerate(found.scores):
        assert (np.isfinite(scores).sum(-1) == 2).all()
        assert np.isfinite(scores[np.arange(3), found.sequences[:, 5 + step]]).all()


def test_sampling_distribution():
    model = TorchModel(tiny_models.gpt2(0, 8))
    ids = np.array([[4, 5, 6]])
    options = {"max_new_tokens": 1, "pad_token_id": 2, "temperature": 1.5, "top_p": 0.9, "do_sample": True}
    record = {"return_dict_in_generate": True, "output_scores": True}
    found = model.generate(ids, num_return_sequences=4000, seed=0, **record, **options)
    shares = np.bincount(found.sequences[:, -1], minlength=8) / 4000
    wanted = torch.from_numpy(found.scores[0][0]).softmax(-1).numpy()
    assert np.abs(shares - wanted).max() < 0.03
    assert (shares[wanted == 0] == 0).all()


def test_beam_sampling():
    model = TorchModel(tiny_models.gpt2(0))
    ids, mask = _prompts(np.random.default_rng(0), 2, 5)
    options = {"attention_mask": mask, "do_sample": True, "num_beams": 3, "max_new_tokens": 8, "pad_token_id": 2}
    found = model.generate(
        ids, seed=3, num_return_sequences=2, return_dict_in_generate=True, output_scores=True, **options
    )
    again = model.generate(ids, seed=3, num_return_sequences=2, **options)
    assert found.sequences.tolist() == again.tolist() and found.sequences.shape[0] == 4
    assert (np.diff(found.sequences_scores.reshape(2, 2)) <= 0).all()
    # With one token left to draw from, drawing is choosing.
    expected = model.generate(ids, **{**options, "do_sample": False})
    cold = model.generate(ids, seed=0, **{**options, "temperature": 1e-4, "top_k": 0})
    assert cold.shape == expected.shape


def test_return_sequences_of_sampling():
    model = TorchModel(tiny_models.bart(0))
    ids, mask = _prompts(np.random.default_rng(0), 2, 5)
    got = model.generate(
        ids, attention_mask=mask, do_sample=True, num_return_sequences=3, max_new_tokens=6, seed=0, eos_token_id=None
    )
    assert got.shape == (6, 7) and len({tuple(row) for row in got.tolist()}) > 3
