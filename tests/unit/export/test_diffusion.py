"""The export of diffusers' pipelines: what is refused, which weights are read, and how large activations become."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnx")
pytest.importorskip("diffusers")

from onnxpipe.errors import ExportError  # noqa: E402
from onnxpipe_export import export  # noqa: E402
from onnxpipe_export.graphs.diffusion.folder import variant_of, weight_files  # noqa: E402
from onnxpipe_export.graphs.diffusion.peaks import watched  # noqa: E402
from zoo.diffusion import HEAD  # noqa: E402

Models = Callable[[str, str], Path]


def test_peak_is_the_largest_activation() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.ReLU())
    torch.nn.init.constant_(model[0].weight, 30000.0)
    with watched(model) as peak:
        model(torch.tensor([[1.0, 0.2]]))
    assert peak.value == 36000.0
    assert peak.module == "0"
    assert peak.overflows
    model(torch.tensor([[100.0, 0.0]]))
    assert peak.value == 36000.0


def changed(models: Models, family: str, folder: Path, **index: Any) -> Path:
    """Copy a pipeline, with other values in its index."""
    shutil.copytree(models(family, HEAD), folder)
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | index))
    return folder


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"_class_name": "FluxPipeline"}, "FluxPipeline, which cannot be exported: its attention"),
        ({"_class_name": "StableDiffusionControlNetPipeline"}, "the control image's network"),
        ({"_class_name": "WonderPipeline"}, "onnxpipe has none like it"),
        ({"image_encoder": ["transformers", "CLIPVisionModelWithProjection"]}, "components image_encoder"),
        ({"unet": [None, None]}, "has no unet"),
        ({"unet": ["diffusers", "UNetMotionModel"]}, "is a diffusers.UNetMotionModel"),
        ({"unet": 3}, "has no unet"),
    ],
)
def test_refused_by_its_index(index: dict[str, Any], message: str, models: Models, tmp_path: Path) -> None:
    folder = changed(models, "sd2", tmp_path / "model", **index)
    with pytest.raises(ExportError, match=message):
        export(folder, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_refused_options(models: Models, tmp_path: Path) -> None:
    folder = models("sd-inpaint", HEAD)
    for options, message in (
        ({"task": "text-to-image"}, "is for inpainting, not for text-to-image"),
        ({"precision": "q4"}, "precisions \\['q4'\\]; it is made in fp32, fp16, int8"),
        ({"attention": "gqa"}, "attention="),
        ({"calibration": tmp_path}, "calibration="),
    ):
        with pytest.raises(ExportError, match=message):
            export(folder, tmp_path / "bundle", **options)


def test_missing_weights_are_named(models: Models, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = changed(models, "turbo", tmp_path / "model")
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    kept = {name: value for name, value in load_file(weights).items() if name != "decoder.layers.0.weight"}
    save_file(kept, weights, {"format": "pt"})
    with pytest.raises(ExportError, match=r"the vae of .* lacks the weights decoder\.layers\.0\.weight"):
        export(folder, tmp_path / "bundle")


def test_weights_of_one_form() -> None:
    names = [
        "unet/config.json",
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "text_encoder/model-00001-of-00002.fp16.safetensors",
        "text_encoder/model.fp16-00002-of-00002.safetensors",
        "text_encoder/pytorch_model.bin",
        "vae/diffusion_pytorch_model.bin",
    ]
    assert weight_files("unet", names) == ["unet/diffusion_pytorch_model.safetensors"]
    assert weight_files("text_encoder", names) == names[5:7]
    assert weight_files("vae", names) == ["vae/diffusion_pytorch_model.bin"]
    assert weight_files("transformer", names) == []


def test_variant(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.fp16.safetensors").touch()
    (tmp_path / "two" / "model.safetensors").touch()
    assert variant_of(tmp_path / "one") == "fp16"
    assert variant_of(tmp_path / "two") is None
