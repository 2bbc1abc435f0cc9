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
        from onnxpipe_export.graphs.causal_lm.graph import describe as describe_causal

        return [describe_causal(checkpoint, attention)]
    if attention != "auto":
        raise ExportError(f"attention={attention!r} is for text-generation, not {checkpoint.task.name}; leave it out")
    if checkpoint.task.modality in ("image", "image-text"):
        return list(_file_of_images(checkpoint).describe(checkpoint))
    if checkpoint.task.modality != "text":
        return list(_file_of_audio(checkpoint).describe(checkpoint))
    if checkpoint.task.name == "text2text-generation":
        from onnxpipe_export.graphs.seq2seq.graph import describe as describe_seq2seq

        return list(describe_seq2seq(checkpoint))
    from onnxpipe_export.graphs.encoder import describe as describe_encoder

    return [describe_encoder(checkpoint)]


# Task of images -> the file in this folder that describes its graphs; what is not named here is one graph of pixels.
_IMAGE_FILES: Mapping[str, str] = {
    "zero-shot-image-classification": "vision.dual_encoder",
    "zero-shot-object-detection": "vision.owl",
    "mask-generation": "vision.sam",
    "keypoint-matching": "vision.keypoints",
    "keypoint-detection": "vision.keypoints",
}
# The same for families that are unlike the others of their task.
_FAMILY_FILES: Mapping[str, str] = {
    "grounding-dino": "vision.grounding_dino",
    "mm-grounding-dino": "vision.grounding_dino",
    "oneformer": "vision.oneformer",
}


def _file_of_images(checkpoint: Checkpoint) -> Any:
    """The module with the `describe` for a model of images."""
    by_task = _IMAGE_FILES.get(checkpoint.task.name, "vision.graph")
    name = _FAMILY_FILES.get(checkpoint.config.model_type, by_task)
    return importlib.import_module(f"onnxpipe_export.graphs.{name}")


# Task of audio -> the file in this folder that describes its graphs.
_AUDIO_FILES: Mapping[str, str] = {
    "automatic-speech-recognition": "audio.graph",
    "audio-classification": "audio.graph",
    "zero-shot-audio-classification": "audio.clap",
    "vocoder": "text_to_audio.vocoder",
}
_CALIBRATED = frozenset({"audio.graph", "audio.clap", "seq2seq.speech"})
# Types of models that speak or play: nothing about their graphs is alike, so each has a file of its name.
_SPEAKERS = frozenset({"speecht5", "vits", "musicgen", "bark"})


def _file_of_audio(checkpoint: Checkpoint) -> Any:
    """The module with the `describe` for a model of audio."""
    kind = checkpoint.config.model_type
    if checkpoint.task.name == "automatic-speech-recognition" and not _is_ctc(checkpoint):
        name = "seq2seq.speech"
    elif checkpoint.task.name != "text-to-audio":
        name = _AUDIO_FILES[checkpoint.task.name]
    elif kind in _SPEAKERS:
        name = f"text_to_audio.{kind}"
    else:
        raise ExportError(
            f"models of the type '{kind}' cannot be exported for text-to-audio; those that can are "
            f"{', '.join(sorted(_SPEAKERS))}"
        )
    if checkpoint.calibration is not None and name not in _CALIBRATED:
        raise ExportError(
            f"calibration= is a folder of recordings for models that hear; a '{kind}' does not, leave it out"
        )
    return importlib.import_module(f"onnxpipe_export.graphs.{name}")


def _is_ctc(checkpoint: Checkpoint) -> bool:
    """Whether the model has one score a frame and token, and no decoder."""
    return type(checkpoint.model).__name__.endswith("ForCTC")
