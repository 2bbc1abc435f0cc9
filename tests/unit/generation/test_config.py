"""GenerationConfig: files, unknown names, what wins, and which values are refused."""

from __future__ import annotations

import copy
import json
import logging

import pytest

from onnxpipe.bundle import Config
from onnxpipe.errors import BundleError, ModelNotFoundError, UnknownArgumentError, UnsupportedError
from onnxpipe.generation import GenerationConfig, GenerationMode, WatermarkingConfig
from onnxpipe.generation.fields import DEFAULTS, FIELDS
from onnxpipe.generation.logs import warn_once
from onnxpipe.generation.mode import generation_mode


def test_all_fields_are_unset_at_first():
    config = GenerationConfig()
    assert all(getattr(config, name) is None for name in FIELDS)
    assert config.to_diff_dict() == {}
    assert set(FIELDS) == set(GenerationConfig.__annotations__)


def test_fields_are_those_of_transformers():
    transformers = pytest.importorskip("transformers")
    theirs = transformers.GenerationConfig()
    names = {name for name in theirs.to_dict() if not name.startswith("_")} - {"transformers_version"}
    assert names == set(FIELDS)
    defaults = {name: value for name, value in theirs._get_default_generation_params().items() if value is not None}
    assert defaults == DEFAULTS


def test_unknown_names_raise_and_name_the_nearest():
    with pytest.raises(UnknownArgumentError, match="did you mean 'max_new_tokens'"):
        GenerationConfig(max_new_token=3)
    config = GenerationConfig()
    with pytest.raises(UnknownArgumentError, match="temperature"):
        config.temprature = 0.5
    with pytest.raises(UnknownArgumentError, match="top_k"):
        config.update(topk=3)
    with pytest.raises(AttributeError):
        _ = config.alignment_heads


def test_files(tmp_path):
    values = {"max_length": 9, "eos_token_id": [1, 2], "alignment_heads": [[1, 2]], "transformers_version": "4.1"}
    (tmp_path / "generation_config.json").write_text(json.dumps(values))
    (tmp_path / "config.json").write_text("{}")
    config = GenerationConfig.from_pretrained(tmp_path, max_time=3.0)
    assert (config.max_length, config.eos_token_id, config.max_time) == (9, [1, 2], 3.0)
    assert config.alignment_heads == [[1, 2]] and config.has("alignment_heads")
    config.alignment_heads = [[3, 4]]
    config.watermarking_config = {"bias": 3.0}
    assert isinstance(config.watermarking_config, WatermarkingConfig)
    config.save_pretrained(tmp_path / "new" / "folder")
    again = GenerationConfig.from_pretrained(tmp_path / "new" / "folder")
    assert again == config and again.alignment_heads == [[3, 4]] and again.watermarking_config.bias == 3.0
    assert copy.deepcopy(again) == again and "max_length" in repr(again)
    unwise = GenerationConfig.from_dict({"top_k": 3})
    unwise.save_pretrained(tmp_path)
    unwise.top_k = 4
    with pytest.raises(ValueError, match="Fix these issues"):
        unwise.save_pretrained(tmp_path)
    with pytest.raises(ModelNotFoundError):
        GenerationConfig.from_pretrained(tmp_path / "nothing")


@pytest.mark.parametrize(
    "values",
    [
        {"early_stopping": "x"},
        {"max_new_tokens": "many"},
        {"num_beams": "2", "num_return_sequences": 3},
        {"suppress_tokens": 1, "forced_bos_token_id": 1},
    ],
    ids=lambda values: next(iter(values)),
)
def test_impossible_values_of_a_file_are_errors_that_name_it(tmp_path, values):
    for name in ("generation_config.json", "config.json"):
        path = tmp_path / name
        path.write_text(json.dumps(values))
        with pytest.raises(BundleError, match=f"{name} has a value that is not possible"):
            GenerationConfig.from_folder(tmp_path, Config(values))
        path.unlink()
    (tmp_path / "generation_config.json").write_text(json.dumps(values))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BundleError, match=r"generation_config\.json has a value"):
        GenerationConfig.from_pretrained(tmp_path, top_k=1)


def test_impossible_values_of_a_call_are_not_the_files(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "generation_config.json").write_text('{"top_k": 3}')
    with pytest.raises(ValueError, match="max_new_tokens") as caught:
        GenerationConfig.from_pretrained(tmp_path, max_new_tokens=0)
    assert not isinstance(caught.value, BundleError)


def test_legacy_fields_of_config_json(tmp_path):
    config = Config({"max_length": 50, "num_beams": 4, "decoder": {"eos_token_id": 7, "num_beams": 9}, "vocab_size": 3})
    found = GenerationConfig.from_model_config(config)
    assert (found.max_length, found.num_beams, found.eos_token_id) == (50, 4, 7)
    assert GenerationConfig.from_folder(tmp_path, config) == found
    (tmp_path / "generation_config.json").write_text('{"max_length": 8}')
    assert GenerationConfig.from_folder(tmp_path, config).to_diff_dict() == {"max_length": 8}
    assert GenerationConfig.from_model_config({"output_scores": True}).return_dict_in_generate is True


def test_what_wins():
    model = GenerationConfig.from_dict({"top_k": 7, "temperature": 0.5, "lang_to_id": {"a": 1}})
    config = GenerationConfig(temperature=0.9).filled(model)
    assert (config.temperature, config.top_k, config.top_p, config.max_length) == (0.9, 7, 1.0, 20)
    assert config.lang_to_id == {"a": 1}
    assert model.max_length is None  # the model's own stays as it was


@pytest.mark.parametrize(
    "fields, match",
    [
        ({"early_stopping": "always"}, "early_stopping"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"num_return_sequences": 2}, "Greedy methods"),
        ({"num_return_sequences": 3, "num_beams": 2}, "smaller or equal"),
        ({"cache_implementation": "magic"}, "cache_implementation"),
        ({"forced_eos_token_id": 3, "suppress_tokens": [3]}, "forced_eos_token_id"),
        ({"assistant_ensemble_weight": 1.0}, "assistant_ensemble_weight"),
        ({"watermarking_config": {"seeding_scheme": "x"}}, "seeding_scheme"),
    ],
)
def test_refused_values(fields, match):
    with pytest.raises(ValueError, match=match):
        GenerationConfig(**fields)


def test_watermarks_of_another_kind_are_refused_by_name():
    with pytest.raises(UnsupportedError, match="SynthID"):
        GenerationConfig(watermarking_config={"ngram_len": 5, "keys": [1]})
    with pytest.raises(UnknownArgumentError, match="bias"):
        GenerationConfig(watermarking_config={"bais": 5.0})


def test_what_is_not_read_is_said_once(caplog):
    warn_once.cache_clear()
    with caplog.at_level(logging.WARNING, logger="onnxpipe"):
        GenerationConfig(temperature=0.5)
        GenerationConfig(temperature=0.6)
    assert [record.message for record in caplog.records] == [
        "The following generation flags are not valid and may be ignored: ['temperature']."
    ]
    with pytest.raises(ValueError, match="length_penalty"):
        GenerationConfig(length_penalty=2.0).validate(strict=True)


@pytest.mark.parametrize(
    "fields, assistant, mode",
    [
        ({}, False, GenerationMode.GREEDY_SEARCH),
        ({"do_sample": True}, False, GenerationMode.SAMPLE),
        ({"num_beams": 2}, False, GenerationMode.BEAM_SEARCH),
        ({"num_beams": 2, "do_sample": True}, False, GenerationMode.BEAM_SAMPLE),
        ({"num_beams": 2, "num_beam_groups": 2}, False, GenerationMode.GROUP_BEAM_SEARCH),
        ({"num_beams": 2, "force_words_ids": [[1]]}, False, GenerationMode.CONSTRAINED_BEAM_SEARCH),
        ({"penalty_alpha": 0.6, "top_k": 4}, False, GenerationMode.CONTRASTIVE_SEARCH),
        ({"prompt_lookup_num_tokens": 3}, False, GenerationMode.ASSISTED_GENERATION),
        ({}, True, GenerationMode.ASSISTED_GENERATION),
        ({"num_beams": 2}, True, GenerationMode.BEAM_SEARCH),
        ({"dola_layers": "low"}, False, GenerationMode.DOLA_GENERATION),
    ],
)
def test_modes(fields, assistant, mode):
    assert generation_mode(GenerationConfig(**fields), assistant=assistant) is mode


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("max_new_tokens", 1.5), ("max_new_tokens", "3"), ("max_new_tokens", True), ("min_length", -1),
        ("min_length", "x"), ("num_beams", 0), ("num_beams", 1.5), ("num_beams", "2"), ("num_return_sequences", 0),
        ("top_p", "x"), ("length_penalty", "x"), ("max_time", "x"), ("top_p", 2.0), ("top_p", float("nan")),
        ("typical_p", 2), ("epsilon_cutoff", -0.1), ("eta_cutoff", 2), ("min_p", -1), ("max_time", -1),
        ("penalty_alpha", -1), ("diversity_penalty", "x"), ("guidance_scale", "x"), ("no_repeat_ngram_size", -1),
        ("encoder_no_repeat_ngram_size", 1.5), ("num_beam_groups", 0), ("renormalize_logits", "x"), ("do_sample", "no"),
        ("exponential_decay_length_penalty", (1,)), ("exponential_decay_length_penalty", (1, "x")),
    ],
)  # fmt: skip
def test_numbers_are_refused_by_name(name: str, wrong: object) -> None:
    with pytest.raises(ValueError, match=f"^{name}="):
        GenerationConfig(**{name: wrong}).validate()
