"""LLaVA: an image is one square, its features are those of the tower's patches behind a projector."""

from __future__ import annotations

from typing import Any

from onnxpipe.errors import ExportError
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.vision_language.family import Family
from onnxpipe_export.graphs.vision_language.one_size import describe_encoder, square_of, synthetic_feeds


def describe(checkpoint: Checkpoint) -> Family:
    """Describe the family of a LLaVA checkpoint.

    Raises:
        ExportError: its tower takes images of any size (Pixtral), whose features this graph does not pack.
    """
    if checkpoint.config.vision_config.model_type == "pixtral":
        raise ExportError("LLaVA with a Pixtral tower cannot be exported: its images have no one size")
    size = square_of(checkpoint)
    return Family(describe_encoder(checkpoint, size, project), lambda number: synthetic_feeds(checkpoint, size, number))


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
