"""LLaVA: an image is one square, its features are those of the tower's patches behind a projector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxpipe.errors import ExportError
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.vision import cases as vision_cases
from onnxpipe_export.graphs.vision_language.family import Family
from onnxpipe_export.graphs.wrapped import BATCH, WrappedExport, image_only
from onnxpipe_export.precision import makers


def describe(checkpoint: Checkpoint) -> Family:
    """Describe the family of a LLaVA checkpoint.

    Raises:
        ExportError: its tower takes images of any size (Pixtral), whose features this graph does not pack.
    """
    if checkpoint.config.vision_config.model_type == "pixtral":
        raise ExportError("LLaVA with a Pixtral tower cannot be exported: its images have no one size")
    return Family(square_vision(checkpoint, project), lambda number: square_image(checkpoint, number))


def square_vision(checkpoint: Checkpoint, features: Any, outputs: tuple[str, ...] = ()) -> WrappedExport:
    """Describe `vision_encoder`: pixel_values (images, 3, side, side) to image_features (images, patches, width).

    Args:
        checkpoint: the model; its config says the side.
        features: from (model, pixel_values) to the features.
        outputs: names of further outputs, which `features` then gives in a tuple.
    """
    model, side = checkpoint.model, int(checkpoint.config.vision_config.image_size)
    names = ("image_features", *outputs)

    def forward(tensors: Mapping[str, Any]) -> dict[str, Any]:
        found = features(model, tensors["pixel_values"])
        return dict(zip(names, found if outputs else (found,), strict=True))

    return WrappedExport(
        checkpoint,
        "vision_encoder",
        ("pixel_values",),
        names,
        {name: {0: BATCH} for name in ("pixel_values", *names)},
        forward,
        lambda: {"pixel_values": vision_cases.synthetic_pixels(checkpoint, 2, side, side)},
        lambda tokenizer: vision_cases.cases_per_size(checkpoint, [(side, side)]),
        makers.VISION_ENCODER,
        user_feeds=image_only,
    )


def project(model: Any, pixels: Any) -> Any:
    """Compute the projected features of images, (images, patches, width)."""
    return model.model.multi_modal_projector(selected_states(model, pixels))


def selected_states(model: Any, pixels: Any) -> Any:
    """Compute the tower's hidden states that the config selects: of one layer, or of several side by side."""
    import torch

    config = model.config
    states = model.model.vision_tower(pixels, output_hidden_states=True, return_dict=True).hidden_states
    layers = config.vision_feature_layer
    chosen = [states[layer] for layer in ([layers] if isinstance(layers, int) else layers)]
    if config.vision_feature_select_strategy == "default":
        chosen = [state[:, 1:] for state in chosen]
    return torch.cat(chosen, dim=-1)


def square_image(checkpoint: Checkpoint, number: int) -> dict[str, np.ndarray]:
    """Make a synthetic image of the side that the config says."""
    side = int(checkpoint.config.vision_config.image_size)
    return {"pixel_values": vision_cases.synthetic_pixels(checkpoint, 1, side, side, seed=number)}
