"""From a loaded model to its graphs: one file a kind of graph."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from onnxpipe.errors import ExportError
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.graph import Attention, Graph


def describe(checkpoint: Checkpoint, attention: Attention = "auto") -> list[Graph]:
    """The graphs that `checkpoint` becomes for its task.

    Args:
        checkpoint: the loaded model.
        attention: for text-generation only.

    Raises:
        ExportError: the model is of a kind that cannot be exported, or not with this attention.
    """
    if checkpoint.task.name == "text-generation":
        from onnxpipe_export.graphs.causal_lm import describe as describe_causal

        return [describe_causal(checkpoint, attention)]
    if attention != "auto":
        raise ExportError(f"attention={attention!r} is for text-generation, not {checkpoint.task.name}; leave it out")
    if checkpoint.task.modality != "text":
        return list(_file_of_images(checkpoint).describe(checkpoint))
    if checkpoint.task.name == "text2text-generation":
        from onnxpipe_export.graphs.seq2seq import describe as describe_seq2seq

        return list(describe_seq2seq(checkpoint))
    from onnxpipe_export.graphs.encoder import describe as describe_encoder

    return [describe_encoder(checkpoint)]


# Task of images -> the file in this folder that describes its graphs; what is not named here is one graph of pixels.
_IMAGE_FILES: Mapping[str, str] = {
    "zero-shot-image-classification": "dual_encoder",
    "zero-shot-object-detection": "owl",
    "mask-generation": "sam",
    "keypoint-matching": "keypoints",
    "keypoint-detection": "keypoints",
}
# The same for families that are unlike the others of their task.
_FAMILY_FILES: Mapping[str, str] = {
    "grounding-dino": "grounding_dino",
    "mm-grounding-dino": "grounding_dino",
    "oneformer": "oneformer",
}


def _file_of_images(checkpoint: Checkpoint) -> Any:
    """The module with the `describe` for a model of images."""
    by_task = _IMAGE_FILES.get(checkpoint.task.name, "vision")
    name = _FAMILY_FILES.get(checkpoint.config.model_type, by_task)
    return importlib.import_module(f"onnxpipe_export.graphs.{name}")
