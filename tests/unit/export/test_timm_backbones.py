"""Detectors with a backbone of timm, which is not installed: their checkpoints, rebuilt here, give the same answers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from onnxpipe.errors import ExportError  # noqa: E402
from onnxpipe_export import checkpoint  # noqa: E402
from onnxpipe_export.timm_backbones import own_backbone  # noqa: E402

DETR = {
    "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "num_queries": 5, "num_labels": 3,
}  # fmt: skip
#: transformers' names -> timm's, in this order.
TIMM = (
    (r"embedder\.embedder\.convolution", "conv1"),
    (r"embedder\.embedder\.normalization", "bn1"),
    (r"encoder\.stages\.(\d)\.layers", lambda match: f"layer{int(match[1]) + 1}"),
    (r"shortcut\.convolution", "downsample.0"),
    (r"shortcut\.normalization", "downsample.1"),
    (r"layer\.(\d)\.convolution", lambda match: f"conv{int(match[1]) + 1}"),
    (r"layer\.(\d)\.normalization", lambda match: f"bn{int(match[1]) + 1}"),
)


def as_timm(folder: Path, model: object, backbone: str) -> None:
    """Write the model's folder as the Hub has it: names of timm's layers, and a config that names timm."""
    from safetensors.torch import load_file, save_file

    model.save_pretrained(folder)  # type: ignore[attr-defined]
    tensors = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        head, dot, tail = name.partition("conv_encoder.model.")
        for pattern, new in TIMM if dot else ():
            tail = re.sub(pattern, new, tail)
        tensors[head + dot + tail] = tensor
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    del config["backbone_config"]
    (folder / "config.json").write_text(json.dumps({**config, "use_timm_backbone": True, "backbone": backbone}))


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_the_same_answers_as_with_the_layers_own_names(backbone: str, tmp_path: Path) -> None:
    deep = {"layer_type": "basic", "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2]}
    own = transformers.ResNetConfig(**(deep if backbone == "resnet18" else {}), out_indices=[1, 2, 3, 4])
    torch.manual_seed(0)
    model = transformers.DetrForObjectDetection(transformers.DetrConfig(backbone_config=own, **DETR)).eval()
    for name, buffer in model.named_buffers():  # statistics of a norm that was never trained would hide a swap
        if "running" in name:
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    as_timm(tmp_path, model, backbone)
    loaded = checkpoint.load(str(tmp_path), None, checkpoint.HubOptions())
    assert (
        loaded.config.backbone_config.model_type == "timm_backbone"
    )  # what is written beside the graph stays as it was
    pixels = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        expected, got = model(pixels), loaded.model(pixels)
    assert torch.equal(expected.logits, got.logits) and torch.equal(expected.pred_boxes, got.pred_boxes)


@pytest.mark.parametrize(
    "settings", [{"backbone": "resnet50d"}, {"output_stride": 16}, {"out_indices": [0, 4]}, {"model_type": "resnet"}]
)
def test_what_is_not_known_stays_timms(settings: dict[str, object]) -> None:
    given = {"model_type": "timm_backbone", "backbone": "resnet50", "output_stride": None, "out_indices": [4]}
    config = SimpleNamespace(backbone_config=SimpleNamespace(num_channels=3, **{**given, **settings}))
    before = config.backbone_config
    assert own_backbone(config) == {} and config.backbone_config is before


def test_without_timm_the_error_names_it(tmp_path: Path) -> None:
    own = transformers.ResNetConfig(depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 8, 8], out_indices=[4])
    model = transformers.DetrForObjectDetection(transformers.DetrConfig(backbone_config=own, **DETR))
    as_timm(tmp_path, model, "resnet50d")
    with pytest.raises(ExportError, match="timm"):
        checkpoint.load(str(tmp_path), None, checkpoint.HubOptions())


def test_a_model_of_timm_needs_its_package(tmp_path: Path) -> None:
    config = {"architecture": "resnet18", "num_classes": 3, "pretrained_cfg": {"input_size": [3, 32, 32]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ExportError, match=r"a model of timm \(resnet18\).*pip install timm.*onnx-community"):
        checkpoint.load(str(tmp_path), None, checkpoint.HubOptions())
