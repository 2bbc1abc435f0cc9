"""Pooling and what a folder's sentence-transformers files declare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxpipe.errors import BundleError, UnsupportedError
from onnxpipe.processing.text.pooling import MODES, PoolingConfig, l2_normalize, pooling_modes, read_pooling_config

TOKENS = np.array([[1.0, 8.0], [2.0, -2.0], [6.0, 3.0]], np.float32)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("cls", [1, 8]),
        ("max", [6, 8]),
        ("mean", [3, 3]),
        ("mean_sqrt_len_tokens", [9 / 3**0.5, 9 / 3**0.5]),
        ("weightedmean", [(1 + 4 + 18) / 6, (8 - 4 + 9) / 6]),
        ("lasttoken", [6, 3]),
    ],
)
def test_modes(mode: str, expected: list[float]) -> None:
    assert MODES[mode](TOKENS).tolist() == pytest.approx(expected)


def test_names() -> None:
    assert pooling_modes("last") == ("lasttoken",)
    assert pooling_modes(("mean", "max")) == ("mean", "max")
    with pytest.raises(UnsupportedError, match="'median'"):
        pooling_modes("median")


def write(folder: Path, file: str, value: Any) -> None:
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def declare(folder: Path, *steps: str, **pooling: Any) -> None:
    modules = [{"idx": i, "name": str(i), "path": f"{i}_{s}", "type": f"sentence_transformers.models.{s}"}
               for i, s in enumerate(steps)]  # fmt: skip
    write(folder, "modules.json", modules)
    write(folder, "1_Pooling/config.json", pooling)


def test_a_folder_without_files_means() -> None:
    assert read_pooling_config(Path(__file__).parent) == PoolingConfig(prompts={})


def test_a_declared_pooling_config(tmp_path: Path) -> None:
    declare(tmp_path, "Transformer", "Pooling", "Normalize", pooling_mode_cls_token=True, pooling_mode_mean_tokens=True,
            include_prompt=False)  # fmt: skip
    write(tmp_path, "sentence_bert_config.json", {"max_seq_length": 256})
    write(tmp_path, "config_sentence_transformers.json", {"prompts": {"query": "query: ", "document": ""},
                                                          "default_prompt_name": "query"})  # fmt: skip
    config = read_pooling_config(tmp_path)
    assert config == PoolingConfig(("cls", "mean"), (), True, 256, False, {"query": "query: "}, "query")
    assert config.embed(TOKENS).tolist() == pytest.approx([1, 8, 3, 3])
    assert config.embed(TOKENS, skip=1).tolist() == pytest.approx([2, -2, 4, 0.5])


def test_newer_spelling(tmp_path: Path) -> None:
    declare(tmp_path, "Transformer", "Pooling", pooling_mode="lasttoken")
    assert read_pooling_config(tmp_path).pooling == ("lasttoken",)


def test_a_dense_layer(tmp_path: Path) -> None:
    declare(tmp_path, "Transformer", "Pooling", "Dense", pooling_mode_mean_tokens=True)
    write(tmp_path, "2_Dense/config.json", {"activation_function": "torch.nn.modules.activation.Tanh"})
    weight, bias = np.array([[1.0, 2.0], [0.5, -1.0], [0.0, 0.1]], np.float32), np.array([0.1, 0.0, 0.2], np.float32)
    header = {
        "linear.weight": {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24]},
        "linear.bias": {"dtype": "F32", "shape": [3], "data_offsets": [24, 36]},
    }
    text = json.dumps(header).encode()
    raw = len(text).to_bytes(8, "little") + text + weight.tobytes() + bias.tobytes()
    (tmp_path / "2_Dense" / "model.safetensors").write_bytes(raw)
    expected = np.tanh(weight @ np.array([3.0, 3.0]) + bias)
    assert read_pooling_config(tmp_path).embed(TOKENS).tolist() == pytest.approx(expected.tolist())
    (tmp_path / "2_Dense" / "model.safetensors").write_bytes(raw[:20])
    with pytest.raises(BundleError, match=r"model\.safetensors could not be read"):
        read_pooling_config(tmp_path)


def test_what_is_not_known_is_refused(tmp_path: Path) -> None:
    declare(tmp_path, "Transformer", "WordWeights")
    with pytest.raises(UnsupportedError, match="'WordWeights'"):
        read_pooling_config(tmp_path)


def test_paths_stay_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write(folder, "modules.json", [{"path": "../elsewhere", "type": "sentence_transformers.models.Pooling"}])
    with pytest.raises(BundleError, match="out of the folder"):
        read_pooling_config(folder)


def test_unit() -> None:
    assert l2_normalize(np.array([3.0, 4.0], np.float32)).tolist() == pytest.approx([0.6, 0.8])
    assert l2_normalize(np.zeros(2, np.float32)).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("file", "value", "why"),
    [
        ("config_sentence_transformers.json", {"prompts": {"q": 3}}, "prompts must map names to texts"),
        ("config_sentence_transformers.json", {"prompts": {"q": None}}, "prompts must map names to texts"),
        (
            "config_sentence_transformers.json",
            {"prompts": {"q": "q: "}, "default_prompt_name": {}},
            "is {}, which is not",
        ),
        (
            "config_sentence_transformers.json",
            {"prompts": {"q": "q: "}, "default_prompt_name": "d"},
            "is 'd', which is not",
        ),
        ("sentence_bert_config.json", {"max_seq_length": True}, "max_seq_length is True, not a length"),
        ("sentence_bert_config.json", {"max_seq_length": "9"}, "max_seq_length is '9', not a length"),
    ],
)
def test_settings_of_a_wrong_kind(tmp_path: Path, file: str, value: Any, why: str) -> None:
    write(tmp_path, file, value)
    with pytest.raises(BundleError, match=why) as caught:
        read_pooling_config(tmp_path)
    assert file in str(caught.value)


def test_an_empty_prompt_may_be_the_default(tmp_path: Path) -> None:
    write(tmp_path, "config_sentence_transformers.json", {"prompts": {"q": "q: ", "d": ""}, "default_prompt_name": "d"})
    config = read_pooling_config(tmp_path)
    assert (config.prompts, config.default_prompt_name) == ({"q": "q: "}, "d")
