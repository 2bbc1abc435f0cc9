"""Folders of diffusion pipelines: model_index.json, and beside it a folder for each component.

Source: the layout of diffusers' `save_pretrained` and of optimum's ONNX exports.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from onnxpipe.bundle.files import read_json
from onnxpipe.bundle.precision import split_stem

#: The file that names the pipeline's class and its components.
INDEX = "model_index.json"
#: The graphs that denoise; a folder has one of them.
DENOISERS = ("unet", "transformer")
#: What libraries put before the name of diffusers' class in the index of an ONNX folder.
_PREFIXES = ("ORT", "Onnx")
_WEIGHTS = re.compile(
    r"[^/]+/(diffusion_pytorch_model|model|pytorch_model)[^/]*\.(safetensors|bin|msgpack)(\.index\.json)?"
)
#: The files of components that are no graphs: configs, schedulers, tokenizers, feature extractors.
_SIDE = re.compile(r"[^/.][^/]*/([^/]+\.(json|txt)|[^/]+\.model|chat_template\.jinja)")
_WEIGHT_INDEX = ".index.json"


def is_diffusion_folder(names: Iterable[str]) -> bool:
    """Whether files of these names are a folder of components."""
    return INDEX in names


def component_graphs(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Map components to precisions to graphs, e.g. {"unet": {"fp32": "unet/model.onnx"}}.

    Args:
        names: relative paths with "/".
    """
    graphs: dict[str, dict[str, str]] = {}
    for path in (PurePosixPath(name) for name in sorted(names) if name.endswith(".onnx")):
        stem, precision = split_stem(path.stem)
        if stem == "model" and len(path.parts) == 2:
            graphs.setdefault(path.parts[0], {})[precision] = str(path)
    return graphs


def component_weights(names: Iterable[str]) -> bool:
    """Whether components have weights of PyTorch or Flax, from which graphs could be exported."""
    return any(_WEIGHTS.fullmatch(name) for name in names)


def component_side_files(names: Iterable[str]) -> list[str]:
    """Choose the index and the components' files that are no graphs."""
    chosen = [name for name in names if _SIDE.fullmatch(name) and not name.endswith(_WEIGHT_INDEX)]
    return [INDEX, *chosen]


def denoiser_of(graphs: Iterable[str]) -> str | None:
    """Find the graph that denoises; None if there is none."""
    return next((name for name in DENOISERS if name in set(graphs)), None)


def pipeline_class(index: Mapping[str, Any]) -> str:
    """Read the name of diffusers' class from an index: "ORTStableDiffusionPipeline" is "StableDiffusionPipeline"."""
    name = str(index.get("_class_name", ""))
    return next((name.removeprefix(prefix) for prefix in _PREFIXES if name.startswith(prefix)), name)


def index_config(folder: Path) -> dict[str, Any]:
    """Read the index in the form of a config.json: the pipeline's class is its architecture.

    Raises:
        BundleError: the file is not an index.
    """
    index = read_json(folder, INDEX)
    return {**index, "architectures": [pipeline_class(index)]}
