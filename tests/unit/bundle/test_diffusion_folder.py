"""Folders of diffusion pipelines: their graphs, precisions, side files and tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from onnxpipe.bundle import AutoConfig, open_bundle
from onnxpipe.bundle.layout import has_weights, side_files
from onnxpipe.bundle.places import locate
from onnxpipe.errors import BundleError, NotExportedError, PrecisionError

INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "safety_checker": [None, None],
}
GRAPHS = ("text_encoder/model.onnx", "unet/model.onnx", "unet/model_fp16.onnx", "vae_decoder/model.onnx")


def write(folder: Path, files: tuple[str, ...] = GRAPHS, index: Mapping[str, object] = INDEX) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"a graph; it is not read")
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def test_each_component_is_a_graph(tmp_path: Path) -> None:
    bundle = open_bundle(write(tmp_path))
    assert {name: sorted(files) for name, files in bundle.graphs.items()} == {
        "text_encoder": ["fp32"], "unet": ["fp16", "fp32"], "vae_decoder": ["fp32"],
    }  # fmt: skip
    assert bundle.config.architectures == ["StableDiffusionPipeline"]
    assert bundle.tasks == ("text-to-image", "image-to-image", "inpainting")


@pytest.mark.parametrize("prefix", ["ORT", "Onnx", ""])
def test_the_class_of_other_libraries(tmp_path: Path, prefix: str) -> None:
    write(tmp_path, index={**INDEX, "_class_name": f"{prefix}StableDiffusionXLImg2ImgPipeline"})
    assert AutoConfig.from_pretrained(tmp_path).architectures == ["StableDiffusionXLImg2ImgPipeline"]
    assert open_bundle(tmp_path).tasks == ("image-to-image", "inpainting")


def test_a_precision_is_that_of_the_graph_that_denoises(tmp_path: Path) -> None:
    bundle = open_bundle(write(tmp_path))
    assert bundle.choose("unet", "fp16")[0] == "fp16"
    assert bundle.choose("vae_decoder", "fp16")[0] == "fp32"
    with pytest.raises(PrecisionError, match=r"unet.*int8.*fp32, fp16"):
        bundle.choose("unet", "int8")
    with pytest.raises(PrecisionError, match="vae_decoder"):
        bundle.choose("vae_decoder", {"vae_decoder": "fp16"})


def test_files_beside_the_graphs() -> None:
    names = [*GRAPHS, "model_index.json", "README.md", "bundle.json", "golden.npz", "unet/config.json",
             "unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.safetensors.index.json",
             "scheduler/scheduler_config.json", "tokenizer/vocab.json", "tokenizer/merges.txt",
             "tokenizer_3/spiece.model", ".git/config.json"]  # fmt: skip
    chosen = ["model_index.json", "scheduler/scheduler_config.json", "tokenizer/merges.txt", "tokenizer/vocab.json",
              "tokenizer_3/spiece.model", "unet/config.json"]  # fmt: skip
    assert side_files(names, "config") == chosen
    assert side_files(names, "model") == [*chosen, "bundle.json", "golden.npz"]
    assert locate(names).graphs["unet"] == {"fp16": "unet/model_fp16.onnx", "fp32": "unet/model.onnx"}


def test_weights_of_components_are_to_be_exported(tmp_path: Path) -> None:
    write(tmp_path, ("unet/diffusion_pytorch_model.fp16.safetensors", "text_encoder/model.safetensors"))
    with pytest.raises(NotExportedError, match="onnxpipe export"):
        open_bundle(tmp_path)
    assert has_weights(["model_index.json", "vae/diffusion_pytorch_model.bin"])
    assert not has_weights(["unet/diffusion_pytorch_model.bin"])


def test_an_index_that_is_no_object(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "model_index.json").write_text("[]")
    with pytest.raises(BundleError, match="object"):
        open_bundle(tmp_path)
