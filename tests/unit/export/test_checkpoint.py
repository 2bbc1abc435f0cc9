"""What is refused when a checkpoint is loaded, by sentences that say what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnxpipe.errors import ExportError, ModelNotFoundError
from onnxpipe_export import checkpoint
from zoo.cache import cached_model

transformers = pytest.importorskip("transformers")


def test_a_class_that_a_task_has_not(tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "image_size": [32, 24]}
    backbone = transformers.VitPoseBackboneConfig(**sizes, patch_size=[8, 8], out_indices=[1])
    transformers.VitPoseConfig(backbone_config=backbone, architectures=["VitPoseForPoseEstimation"]).save_pretrained(
        tmp_path
    )
    with pytest.raises(ExportError, match=r"no model of the type 'vitpose' for keypoint-detection.*Choose a task="):
        checkpoint.load(str(tmp_path), "keypoint-detection", checkpoint.HubOptions())


def test_an_adapter_alone(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelNotFoundError, match="adapter of PEFT, not a whole model: merge it"):
        checkpoint.load(str(tmp_path), None, checkpoint.HubOptions())


def test_quantized_weights(tmp_path: Path) -> None:
    config = json.loads((cached_model("bert", "classify") / "config.json").read_text("utf-8"))
    quantized = {**config, "quantization_config": {"quant_method": "awq", "bits": 4}}
    (tmp_path / "config.json").write_text(json.dumps(quantized))
    with pytest.raises(ExportError, match="weights are quantized, by awq: export the model from which they were made"):
        checkpoint.load(str(tmp_path), None, checkpoint.HubOptions())
