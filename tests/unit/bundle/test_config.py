"""Configs: transformers' defaults and names."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest

from onnxpipe.bundle import AutoConfig, Config
from onnxpipe.errors import BundleError, ModelNotFoundError


def test_defaults() -> None:
    config = Config.from_dict({"model_type": "bert", "hidden_size": 8})
    assert config.hidden_size == 8
    assert config.architectures is None
    assert config.problem_type is None
    assert config.pad_token_id is None
    assert config.num_labels == 2
    assert config.id2label == {0: "LABEL_0", 1: "LABEL_1"}
    assert config.label2id == {"LABEL_0": 0, "LABEL_1": 1}
    assert config.to_dict() == {"model_type": "bert", "hidden_size": 8}
    assert config.get("nothing") is None
    assert config.get("nothing", 3) == 3
    with pytest.raises(AttributeError, match="no 'hiden_size'"):
        _ = config.hiden_size
    assert not hasattr(config, "nothing")


def test_labels() -> None:
    config = Config.from_dict({"id2label": {"0": "a", "1": "b", "2": "c"}})
    assert config.id2label == {0: "a", 1: "b", 2: "c"}
    assert config.label2id == {"a": 0, "b": 1, "c": 2}
    assert config.num_labels == 3
    assert Config.from_dict({"num_labels": 4}).id2label[3] == "LABEL_3"
    given = Config.from_dict({"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}, "num_labels": 5})
    assert given.num_labels == 2  # the map wins, as in transformers
    config.num_labels = 3
    assert config.id2label[0] == "a"
    config.num_labels = 1
    assert config.id2label == {0: "LABEL_0"}
    config.id2label = {0: "x", 1: "y"}
    assert (config.label2id, config.num_labels) == ({"x": 0, "y": 1}, 2)
    assert config.to_dict()["id2label"] == {0: "x", 1: "y"}


def test_other_names_and_nested_configs() -> None:
    config = Config.from_dict({"model_type": "distilbert", "dim": 16, "n_heads": 2, "text_config": {"hidden_size": 4}})
    assert config.hidden_size == 16
    assert config.num_attention_heads == 2
    assert config.dim == 16
    assert "hidden_size" in config
    assert "num_hidden_layers" not in config
    assert config.text_config.hidden_size == 4
    config.hidden_size = 32
    assert config.dim == 32
    with pytest.raises(AttributeError):
        _ = config.num_hidden_layers


def test_setting_copying_comparing() -> None:
    config = Config.from_dict({"a": [1]}, "here")
    config.problem_type = "regression"
    assert config.problem_type == "regression"
    for other in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):  # noqa: S301 - our own
        assert other == config
        assert other.name_or_path == "here"
    other.a.append(2)
    assert other != config
    assert set(config) >= {"a", "problem_type"}
    assert "Config({" in repr(config)


def test_auto_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "bert", "num_labels": 3, "limit": [0, float("inf")]})
    )
    config = AutoConfig.from_pretrained(tmp_path, num_labels=4, hidden_size=5)
    assert (config.num_labels, config.hidden_size, config.name_or_path) == (4, 5, str(tmp_path))
    assert config.limit == [0, float("inf")]
    assert Config.from_folder(tmp_path).num_labels == 3
    with pytest.raises(ModelNotFoundError):
        AutoConfig.from_pretrained(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelNotFoundError, match=r"config\.json"):
        AutoConfig.from_pretrained(tmp_path / "empty")


def test_the_same_as_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    for value in (
        {"model_type": "bert", "num_labels": 3},
        {"model_type": "bert", "id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"a": 0, "b": 1, "c": 2}},
        {"model_type": "distilbert", "dim": 16, "n_heads": 2, "n_layers": 1, "problem_type": "regression"},
        {"model_type": "gpt2", "n_positions": 12, "n_embd": 8, "n_head": 2, "n_layer": 1},
        {"model_type": "bert"},
    ):
        (tmp_path / "config.json").write_text(json.dumps(value))
        theirs, ours = transformers.AutoConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)
        for name in ("id2label", "label2id", "num_labels", "problem_type", "architectures", "model_type",
                     "is_encoder_decoder", "return_dict"):  # fmt: skip
            assert getattr(ours, name) == getattr(theirs, name), name
        for name in ("hidden_size", "num_attention_heads", "num_hidden_layers", "max_position_embeddings"):
            if name in ours:
                assert getattr(ours, name) == getattr(theirs, name), name


def test_labels_of_a_config_without_any() -> None:
    labels = Config.from_dict({"model_type": "bert"}).id2label
    assert (len(labels), labels[2]) == (2, "LABEL_2")
    assert pickle.loads(pickle.dumps(labels))[7] == copy.deepcopy(labels)[7] == "LABEL_7"  # noqa: S301 - our own


@pytest.mark.parametrize("labels", [{}, {"0": "a", "1": "b"}])
def test_labels_that_are_too_few(labels: dict[str, str]) -> None:
    config = Config.from_dict({"id2label": labels}, "folder")
    with pytest.raises(BundleError, match=r"config\.json of folder: id2label has no label for 2"):
        _ = config.id2label[2]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("id2label", {"0": 0, "1": 1}),
        ("id2label", {"0": None}),
        ("id2label", ["a"]),
        ("id2label", "a"),
        ("num_labels", "2"),
        ("model_type", ["bert"]),
        ("model_type", 3),
        ("architectures", "BertModel"),
        ("architectures", [3]),
        ("label2id", ["a"]),
        ("problem_type", ["regression"]),
        ("task_specific_params", [1]),
        ("task_specific_params", {"translation": "x"}),
        ("prefix", 3),
        ("label2id", {"a": "0"}),
        ("function_to_apply", 3),
        ("sentence_transformers", ["x"]),
        ("num_frames", "8"),
        ("pad_token_id", "0"),
        ("eos_token_id", {"a": 1}),
        ("vocab_size", "many"),
    ],
)
def test_values_of_another_kind(tmp_path: Path, key: str, value: object) -> None:
    (tmp_path / "config.json").write_text(json.dumps({key: value}))
    with pytest.raises(BundleError, match=rf"config\.json.*{key}"):
        Config.from_folder(tmp_path)


def test_a_value_that_is_one_of_some_names() -> None:
    config = Config.from_dict({"function_to_apply": "Sigmoid", "other": "cubic"}, "folder")
    assert config.choice("function_to_apply", ["sigmoid", "none"]) == "sigmoid"
    assert config.choice("missing", ["sigmoid"]) is None
    with pytest.raises(BundleError, match=r"config\.json of folder: other is 'cubic', which is not one of"):
        config.choice("other", ["sigmoid", "none"])
