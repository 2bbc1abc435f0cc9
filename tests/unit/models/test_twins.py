"""Ready-made twins of repositories without graphs, on a server that plays the Hub."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from attacks.graphs import embedding, model, write_folder
from onnxpipe import AutoModel, pipeline
from onnxpipe.bundle.twins import _STAND_INS
from onnxpipe.cli import main
from onnxpipe.errors import ModelNotFoundError, NotExportedError, UnsupportedError
from onnxpipe.tasks.registry import all_tasks
from unit.fakes import tokenizer
from unit.hub_server import CARDS, REPOS, Hub

SST2 = "distilbert/distilbert-base-uncased-finetuned-sst-2-english"
MNLI = "facebook/bart-large-mnli"
LABELS = {"0": "NEGATIVE", "1": "POSITIVE"}


def classifier() -> Any:
    """A graph of two labels, whose second logit is the number of tokens."""
    names = ("input_ids", "attention_mask")
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "s"]) for name in names]
    nodes = [
        helper.make_node("ReduceSum", ["attention_mask", "axis"], ["count"]),
        helper.make_node("Cast", ["count"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "unit"], ["logits"]),
    ]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", 2])
    constants = {"axis": np.array([1]), "unit": np.array([[0, 1]], np.float32)}
    return model(nodes, inputs, [output], [numpy_helper.from_array(value, name) for name, value in constants.items()])


@pytest.fixture
def repos(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    """Repositories of PyTorch weights and of graphs, on a machine without the exporter."""
    made = write_folder(tmp_path / "made", {"onnx/model.onnx": classifier(), "onnx/model_int8.onnx": classifier()})
    tokenizer().save_pretrained(made)
    graphs = {path.relative_to(made).as_posix(): path.read_bytes() for path in made.rglob("*") if path.is_file()}
    config: Mapping[str, Any] = {"model_type": "bert", "architectures": ["BertForSequenceClassification"]}
    graphs["config.json"] = json.dumps({**config, "id2label": {"0": "LABEL_0", "1": "LABEL_1"}}).encode()
    original = {"config.json": json.dumps({**config, "id2label": LABELS}).encode(), "model.safetensors": b"weights"}
    for name, files in {
        SST2: original,
        "Xenova/distilbert-base-uncased-finetuned-sst-2-english": graphs,
        "a/rare": original,
        "onnx-community/rare-ONNX": {"README.md": b"no graph"},
        "onnx-community/rare": graphs,
        "a/namesake": original,
        "Xenova/namesake": graphs,
        "a/alone": original,
        MNLI: original,
        "Xenova/distilbert-base-uncased-mnli": graphs,
    }.items():
        monkeypatch.setitem(REPOS, name, files)
    monkeypatch.setitem(CARDS, "onnx-community/rare", {"base_model": ["a/Rare"]})
    monkeypatch.setitem(CARDS, "Xenova/namesake", {"base_model": "b/another"})
    monkeypatch.setattr("onnxpipe.bundle.exporter._missing", lambda: ["torch"])
    return hub


def asked(hub: Hub) -> list[str]:
    return [path.removeprefix("/api/models/") for method, path, _ in hub.log if path.startswith("/api/models/")]


def test_the_first_line_of_the_tutorials(
    repos: Hub, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = pipeline("sentiment-analysis", revision="main")("good")
    assert answer[0]["label"] == "POSITIVE"  # the original's label
    assert f"{SST2} has no ONNX graph: taking Xenova/distilbert-base-uncased-finetuned-sst-2-english" in caplog.text
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    repos.log.clear()
    assert pipeline("sentiment-analysis", revision="main", dtype="auto")("good") == answer
    assert not repos.log


def test_another_model_stands_in_for_a_default_without_a_twin(
    repos: Hub, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = pipeline("zero-shot-classification", revision="main")
    assert f"{MNLI} has no ONNX graph" in caplog.text
    assert "taking Xenova/distilbert-base-uncased-mnli, another model" in caplog.text
    assert pipe.model.config.id2label[1] == "LABEL_1"  # its own label, not the default's
    with pytest.raises(NotExportedError) as caught:  # a model that was named is never another one
        pipeline("zero-shot-classification", model=MNLI)
    assert "Xenova" not in str(caught.value)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    repos.log.clear()
    assert pipeline("zero-shot-classification", revision="main").model.config.id2label[1] == "LABEL_1"
    assert not repos.log


def test_stand_ins_are_for_defaults() -> None:
    """Each stands in for the default of a task of today."""
    defaults = {
        model[0]
        for spec in all_tasks()
        for model in (spec.default_model.values() if isinstance(spec.default_model, Mapping) else [spec.default_model])
        if model is not None
    }
    assert defaults >= _STAND_INS.keys()


def test_the_default_is_said_on_the_command_line(repos: Hub) -> None:
    done = CliRunner().invoke(main, ["run", "sentiment-analysis", "--revision", "main", "--dtype", "int8", "good"])
    assert "POSITIVE" in done.stdout
    assert "warning: " in done.stderr
    assert "made ready by the community" in done.stderr


def test_any_other_id_names_its_twin_in_the_error(repos: Hub) -> None:
    with pytest.raises(NotExportedError, match=r"onnxpipe export a/rare.*or model='onnx-community/rare'"):
        pipeline("text-classification", model="a/rare")
    names = asked(repos)
    assert len(names) == len(set(names))  # each is asked once
    for name in ("a/namesake", "a/alone"):
        with pytest.raises(NotExportedError) as caught:
            AutoModel.from_pretrained(name)
        assert "ready-made" not in str(caught.value)


def test_the_twin_of_any_id_is_taken_where_that_is_said(repos: Hub, caplog: pytest.LogCaptureFixture) -> None:
    pipe = pipeline("text-classification", model="a/rare", onnx="community", dtype="int8")
    assert Path(pipe.model.session.path).name == "model_int8.onnx"
    assert pipe("good")[0]["label"] == "POSITIVE"
    assert "a/rare has no ONNX graph: taking onnx-community/rare" in caplog.text
    caplog.clear()
    assert pipeline(model="a/rare", onnx="community").task == "text-classification"
    assert len([record for record in caplog.records if "taking" in record.getMessage()]) == 1
    caplog.clear()
    direct = pipeline("text-classification", model="onnx-community/rare", onnx="community")
    assert direct("good")[0]["label"] == "LABEL_1"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    with pytest.raises(NotExportedError, match="onnxpipe export a/alone"):
        pipeline("text-classification", model="a/alone", onnx="community")
    with pytest.raises(UnsupportedError, match="pass 'community'"):
        pipeline("text-classification", model="a/rare", onnx="yes")
    with pytest.raises(ModelNotFoundError, match="no such model"):
        pipeline("text-classification", model="a/typo", onnx="community")


def test_a_folder_has_no_twin(repos: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "rare", {"model.safetensors": b"x", "readme.txt": "x"})
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (folder, "~/rare"):
        with pytest.raises(NotExportedError, match="onnxpipe export"):
            AutoModel.from_pretrained(name, onnx="community")
    assert not repos.log


def test_with_the_exporter_the_original_is_exported(
    repos: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("onnxpipe.bundle.exporter._missing", list)
    made: list[str] = []

    class Exporter:
        def export(self, model: str, target: Path, **_: Any) -> None:
            made.append(model)
            write_folder(target, {"onnx/model.onnx": embedding()})

    monkeypatch.setattr("onnxpipe.models.loading.load_exporter", Exporter)
    monkeypatch.setenv("ONNXPIPE_CACHE", str(tmp_path / "exports"))
    AutoModel.from_pretrained("a/rare")
    assert made == ["a/rare"]
    assert not any("onnx-community" in name for name in asked(repos))
