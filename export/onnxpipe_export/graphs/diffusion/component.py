"""Load a component of a pipeline with its own class, in float32, and check that every weight is there."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from onnxpipe.errors import ExportError, MissingDependencyError
from onnxpipe_export import stored_weights
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.diffusion.folder import PipelineFolder, variant_of
from onnxpipe_export.onnx_graph import SINGLE_FILE_LIMIT
from onnxpipe_export.tasks import IMAGE_GENERATION
from onnxpipe_export.tracing import quiet

_MODULES = {
    "diffusers": "diffusers",
    "transformers": "transformers",
    "stable_diffusion": "diffusers.pipelines.stable_diffusion",
}
"""The libraries that an index names -> the module with their classes."""

_CLASSES = frozenset(
    {
        "AutoencoderKL", "AutoencoderTiny", "CLIPTextModel", "CLIPTextModelWithProjection", "SD3Transformer2DModel",
        "StableDiffusionSafetyChecker", "T5EncoderModel", "UNet2DConditionModel",
    }
)  # fmt: skip


def load(folder: PipelineFolder, component: str, scratch: Path | None = None) -> Checkpoint:
    """Load a component.

    Args:
        folder: the pipeline.
        component: its name.
        scratch: where weights of more than 2 GB are kept in a file of no name, so that they do not stay in memory
            beside the graphs; None to leave them in memory.

    Raises:
        ExportError: it is of a class that cannot be exported, cannot be read, or lacks weights.
        MissingDependencyError: diffusers is not installed.
    """
    import torch

    library, class_name = folder.components[component]
    if library not in _MODULES or class_name not in _CLASSES:
        raise ExportError(
            f"the {component} of {folder.name} is a {library}.{class_name}, which cannot be exported; classes that can "
            f"are {', '.join(sorted(_CLASSES))}"
        )
    options: dict[str, Any] = {"torch_dtype": torch.float32} if library == "diffusers" else {"dtype": torch.float32}
    variant = variant_of(folder.folder / component)
    try:
        kind = getattr(importlib.import_module(_MODULES[library]), class_name)
        with quiet():
            model, info = kind.from_pretrained(
                str(folder.folder), subfolder=component, variant=variant, output_loading_info=True, **options
            )
    except ImportError as error:
        raise MissingDependencyError(
            f'exporting image generation needs diffusers: pip install "onnxpipe[diffusion]" ({error})'
        ) from error
    except Exception as error:  # transformers and diffusers raise nearly every kind here
        raise ExportError(f"the {component} of {folder.name} cannot be loaded as {class_name}: {error}") from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise ExportError(f"the {component} of {folder.name} lacks the weights {', '.join(missing[:6])}")
    model = model.float().eval()
    if scratch is not None and sum(each.nbytes for each in model.parameters()) > SINGLE_FILE_LIMIT:
        stored_weights.keep_in_file(model, scratch)
    config = model.config if library != "diffusers" else SimpleNamespace(**model.config, model_type=class_name)
    return Checkpoint(folder.name, folder.revision, folder.folder / component, config, IMAGE_GENERATION, model)
