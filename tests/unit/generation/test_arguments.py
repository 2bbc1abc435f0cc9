"""The arguments of `generate`: names, prompts, lengths, special tokens, what wins, and what is refused."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest

from onnxpipe.errors import UnsupportedError
from onnxpipe.generation import (
    GenerationConfig,
    LogitsProcessorList,
    MaxLengthCriteria,
    StoppingCriteriaList,
    generate,
    set_seed,
)
from onnxpipe.generation.outputs import GenerateDecoderOnlyOutput
from onnxpipe.generation.processors import MinLengthLogitsProcessor
from onnxpipe.generation.seed import row_streams, weights
from unit.generation.models import VOCAB, Script


def test_greedy():
    got = generate(Script(), [[3, 4], [12, 13]], max_new_tokens=6)
    assert got.dtype == np.int64
    assert got.tolist() == [[3, 4, 5, 6, 7, 8, 9, 10], [12, 13, 14, 15, 1, 2, 2, 2]]


def test_unknown_arguments():
    with pytest.raises(ValueError) as error:
        generate(Script(), [[3]], max_new_tokens=2, max_new_token=3, foo=1, bar=None)
    assert str(error.value) == (
        "The following `model_kwargs` are not used by the model: ['max_new_token', 'foo'] (note: typos in the generate "
        "arguments will also show up in this list)"
    )


def test_prompts():
    model = Script()
    assert generate(model, input_ids=[[3]], max_length=3).tolist() == [[3, 4, 5]]
    assert generate(model, max_length=3).tolist() == [[0, 1]]
    assert generate(model, np.zeros((2, 0), int), max_length=3).tolist() == [[0, 1], [0, 1]]
    with pytest.raises(ValueError, match="were passed alongside input_ids"):
        generate(model, [[3]], input_ids=[[3]])
    with pytest.raises(ValueError, match="`bos_token_id` has to be defined"):
        generate(Script(bos_token_id=None), max_length=3)
    with pytest.raises(ValueError, match="integers of shape"):
        generate(model, [3.0])
    with pytest.raises(ValueError, match="must be 2D"):
        generate(model, [[3]], attention_mask=np.ones((1, 1, 1)), max_length=3)


def test_masks():
    model = Script()
    generate(model, [[2, 3], [3, 4]], max_length=3)
    assert model.inputs["attention_mask"].tolist() == [[0, 1], [1, 1]]
    generate(model, [[2, 3], [3, 4]], max_length=3, eos_token_id=[1, 2])
    assert model.inputs["attention_mask"].tolist() == [[1, 1], [1, 1]]
    generate(model, [[2, 3]], attention_mask=[[1, 1]], max_length=3)
    assert model.inputs["attention_mask"].tolist() == [[1, 1]]


def test_lengths():
    with pytest.warns(UserWarning, match="model-agnostic default"):
        assert generate(Script(eos_token_id=None, pad_token_id=2), [[3, 4]]).shape == (1, 22)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert generate(Script(max_length=5), [[3, 4]]).shape == (1, 5)
        assert generate(Script(max_length=5), [[3, 4]], max_new_tokens=2).shape == (1, 4)
        assert generate(Script(), [[3, 4]], GenerationConfig(max_length=6)).shape == (1, 6)
    with pytest.raises(ValueError, match="Input length of input_ids is 2, but `max_length` is set to 2"):
        generate(Script(), [[3, 4]], max_length=2)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        generate(Script(), [[3, 4]], max_new_tokens=2, min_new_tokens=9)
    assert any("Unfeasible length constraints: `min_new_tokens` (9)" in str(one.message) for one in seen)
    assert generate(Script(), [[14]], max_new_tokens=4, min_new_tokens=3)[0].tolist()[:4] != [14, 15, 1, 2]


def test_both_lengths_are_in_the_message(caplog):
    with caplog.at_level(logging.WARNING, logger="onnxpipe"):
        generate(Script(), [[3]], max_length=9, max_new_tokens=2)
    assert any("`max_new_tokens` will take precedence" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    ("model", "passed", "said"),
    [
        ({"max_length": 9}, {"max_new_tokens": 2}, None),
        ({"min_length": 1, "max_length": 9}, {"min_new_tokens": 1}, None),
        ({"max_new_tokens": 2}, {"max_length": 9}, "`max_length` (=9) has no effect, as the model's generation config"),
        ({"max_new_tokens": 2, "max_length": 9}, {}, None),
        ({}, {"max_new_tokens": 2, "max_length": 9}, "Both `max_new_tokens` (=2) and `max_length`(=9)"),
        (
            {},
            {"max_new_tokens": 5, "min_new_tokens": 1, "min_length": 2},
            "Both `min_new_tokens` (=1)",
        ),
    ],
)
def test_what_is_said_of_lengths_that_have_no_effect(caplog, model, passed, said):
    for config in (False, True):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="onnxpipe"):
            if config:
                generate(Script(**model), [[3]], GenerationConfig(**passed))
            else:
                generate(Script(**model), [[3]], **passed)
        messages = [record.getMessage() for record in caplog.records]
        assert len(messages) == (said is not None) and all(said in message for message in messages)


def test_what_wins():
    model = Script(max_length=4)
    assert generate(model, [[3]]).shape == (1, 4)
    assert generate(model, [[3]], GenerationConfig(max_length=5)).shape == (1, 5)
    assert generate(model, [[3]], GenerationConfig(max_length=5), max_length=6).shape == (1, 6)
    assert generate(model, [[14]], GenerationConfig(max_length=5), use_model_defaults=False)[0].tolist() == [
        14, 15, 1, 2, 3,
    ]  # fmt: skip
    assert model.generation_config.max_length == 4


def test_stops_are_padded_with_the_first_end_token_where_there_is_no_pad():
    got = generate(Script(pad_token_id=None, eos_token_id=[1, 9]), [[3], [7]], max_length=8)
    assert got.tolist() == [[3, 4, 5, 6, 7, 8, 9], [7, 8, 9, 1, 1, 1, 1]]


def test_return_dict():
    got = generate(Script(), [[3]], max_length=5, return_dict_in_generate=True, output_scores=True, output_logits=True)
    assert isinstance(got, GenerateDecoderOnlyOutput)
    assert list(got) == ["sequences", "scores", "logits"]
    assert got.sequences.shape == (1, 5) and len(got.scores) == len(got.logits) == 4
    assert got.scores[0].shape == (1, VOCAB) and got.scores[0].dtype == np.float32
    assert got.attentions is None and got[0] is got.sequences and got["scores"] is got.scores
    with pytest.raises(AttributeError):
        _ = got.sequences_scores
    bare = generate(Script(), [[3]], max_length=5, return_dict_in_generate=True)
    assert list(bare) == ["sequences"] and bare.scores is None


def test_own_processors_and_criteria(caplog):
    def nothing_but_nine(ids, scores):
        out = np.full_like(scores, -np.inf)
        out[:, 9] = 0
        return out

    got = generate(Script(), [[3]], max_length=5, logits_processor=LogitsProcessorList([nothing_but_nine]))
    assert got.tolist() == [[3, 9, 9, 9, 9]]
    with caplog.at_level(logging.WARNING, logger="onnxpipe"):
        got = generate(
            Script(), [[14]], max_length=9, min_length=9, logits_processor=[MinLengthLogitsProcessor(2, [1])]
        )
    assert got.tolist() == [[14, 15, 1]]
    assert any("A custom logits processor" in record.getMessage() for record in caplog.records)
    longer = StoppingCriteriaList([MaxLengthCriteria(7)])
    assert generate(Script(), [[3]], max_length=4, stopping_criteria=longer).shape == (1, 7)
    stop = generate(Script(), [[3]], max_length=9, stopping_criteria=[lambda ids, scores: ids.shape[1] >= 4])
    assert stop.shape == (1, 4)


def test_custom_generate():
    def echo(model, input_ids, *, logits_processor, stopping_criteria, generation_config, depth=0, **inputs):
        assert list(inputs) == ["attention_mask"] and generation_config.max_length == 7
        return input_ids.tolist(), depth

    assert generate(Script(), [[3]], max_length=7, custom_generate=echo, depth=4) == ([[3]], 4)
    with pytest.raises(UnsupportedError, match="custom_generate"):
        generate(Script(), [[3]], custom_generate="someone/code")


def test_refused_by_name():
    for options, name in (
        ({"synced_gpus": True}, "synced_gpus"),
        ({"output_hidden_states": True}, "output_hidden_states"),
        ({"speculation_type": "dflash"}, "speculation_type"),
        ({"cache_implementation": "paged"}, "paged"),
    ):
        with pytest.raises(UnsupportedError, match=name):
            generate(Script(), [[3]], max_length=5, **options)
    with pytest.raises(ValueError, match="low_memory"):
        generate(Script(), [[3]], max_length=5, num_beams=2, low_memory=True)
    with pytest.raises(ValueError, match="tokenizer"):
        generate(Script(), [[3]], max_length=5, stop_strings="x")
    with pytest.raises(ValueError, match="tokenizer"):
        generate(Script(), [[3]], max_length=5, token_healing=True)
    with pytest.raises(ValueError, match="tokenizer"):
        generate(Script(), [[3]], max_length=5, response_format={"type": "json_object"})
    with pytest.raises(ValueError, match="batch_size = 1"):
        generate(Script(), [[3], [4]], max_length=5, prompt_lookup_num_tokens=2)
    for name in ("static", "dynamic", "hybrid"):
        assert generate(Script(), [[3]], max_length=4, cache_implementation=name, use_cache=False).shape == (1, 4)


def test_seeds():
    options = {"max_new_tokens": 8, "do_sample": True, "temperature": 3.0, "eos_token_id": None, "pad_token_id": 2}
    model = Script()
    set_seed(5)
    first, second = (generate(model, [[3]], **options).tolist() for _ in range(2))
    set_seed(5)
    assert generate(model, [[3]], **options).tolist() == first != second
    assert generate(model, [[3]], **options).tolist() == second
    many = generate(model, [[3], [3]], seed=1, num_return_sequences=2, **options).tolist()
    assert len({tuple(row) for row in many}) == 4
    same_seed = generate(model, [[3], [3]], seed=[1, 1], **options).tolist()
    assert same_seed[0] == same_seed[1]
    for seed, match in (([1], "1 numbers for 2 prompts"), (-1, "negative")):
        with pytest.raises(ValueError, match=match):
            generate(model, [[3], [3]], seed=seed, **options)


def test_streams_do_not_depend_on_the_batch():
    together, alone = row_streams(9, 3, 2), row_streams(9, 1, 2)
    assert together.uniform(0, 4).tolist() == alone.uniform(0, 4).tolist()
    assert together.uniform(2, 4).tolist() != alone.uniform(1, 4).tolist()
    assert row_streams([7, 8], 2, 1).uniform(1, 3).tolist() == row_streams([8], 1, 1).uniform(0, 3).tolist()


def test_draws():
    streams = row_streams(0, 1, 1)
    scores = np.log(np.array([0.5, 0.0, 0.25, 0.25], np.float32), where=[True, False, True, True], out=None)
    scores[1] = -np.inf
    counts = np.bincount([streams.draw(0, scores) for _ in range(4000)], minlength=4) / 4000
    assert counts[1] == 0 and np.abs(counts - [0.5, 0, 0.25, 0.25]).max() < 0.03
    several = np.array([streams.draw_several(0, scores, 2) for _ in range(4000)])
    assert (several[:, 0] != several[:, 1]).all() and not (several == 1).any()
    assert abs((several[:, 0] == 0).mean() - 0.5) < 0.03
    assert abs((several[several[:, 0] == 0, 1] == 2).mean() - 0.5) < 0.05
    assert sorted(streams.draw_several(0, scores, 4).tolist()) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="no token is left"):
        weights(np.full(3, -np.inf, np.float32))
    with pytest.raises(ValueError, match="NaN or infinity"):
        weights(np.array([1.0, np.nan], np.float32))


def test_tokens_of_a_bias_are_of_the_vocabulary():
    """Found while the model runs, as the scores tell the size: the argument's fault nevertheless."""
    for arguments in ({"sequence_bias": [[[VOCAB], 1.0]]}, {"bad_words_ids": [[3, VOCAB]]}):
        with pytest.raises(UnsupportedError, match=f"vocabulary size is {VOCAB}, but"):
            generate(Script(), [[3]], max_new_tokens=2, **arguments)
