"""Describe the graphs that a loaded model is exported to: one file a kind of graph."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from onnxpipe.errors import ExportError
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.graph import Attention, GraphExport
from onnxpipe_export.graphs.text_inputs import check_text_suffices
from onnxpipe_export.refusals import first_run


def describe(checkpoint: Checkpoint, attention: Attention = "auto") -> list[GraphExport]:
    """Describe the graphs of `checkpoint` for its task.

    Args:
        checkpoint: the loaded model.
        attention: for text-generation and image-text-to-text only.

    Raises:
        ExportError: the model is of a type that cannot be exported, or not with this attention.
    """
    with first_run(checkpoint.model):
        return _describe(checkpoint, attention)


def _describe(checkpoint: Checkpoint, attention: Attention) -> list[GraphExport]:
    if checkpoint.task.modality == "text":
        check_text_suffices(checkpoint)
    if checkpoint.task.name == "text-generation":
        from onnxpipe_export.graphs.causal_lm.graph import describe as describe_causal

        return [describe_causal(checkpoint, attention)]
    if checkpoint.task.name == "image-text-to-text":
        from onnxpipe_export.graphs.vision_language.graph import describe as describe_vision_language

        return describe_vision_language(checkpoint, attention)
    if attention != "auto":
        raise ExportError(
            f"attention={attention!r} is for text-generation and image-text-to-text, not {checkpoint.task.name}; leave "
            "it out"
        )
    if checkpoint.task.modality in ("image", "image-text"):
        return list(_vision_module(checkpoint).describe(checkpoint))
    if checkpoint.task.modality != "text":
        return list(_audio_module(checkpoint).describe(checkpoint))
    if checkpoint.task.auto_class == "AutoModelForSeq2SeqLM":
        from onnxpipe_export.graphs.seq2seq.graph import describe as describe_seq2seq

        return list(describe_seq2seq(checkpoint))
    if checkpoint.task.name == "table-question-answering":
        from onnxpipe_export.graphs.tables.tapas import describe as describe_tapas

        return [describe_tapas(checkpoint)]
    from onnxpipe_export.graphs.encoder import describe as describe_encoder

    return [describe_encoder(checkpoint)]


# Vision task -> the module in this folder that describes its graphs; a task that is not named here is one graph of
# pixels.
_VISION_MODULES: Mapping[str, str] = {
    "zero-shot-image-classification": "vision.dual_encoder",
    "zero-shot-object-detection": "vision.owl",
    "mask-generation": "vision.sam",
    "keypoint-matching": "vision.keypoints",
    "keypoint-detection": "vision.keypoints",
    "image-to-text": "seq2seq.image",
    "document-question-answering": "vision.documents",
    "visual-question-answering": "vision.vilt",
}
# The same for families that differ from the others of their task.
_FAMILY_MODULES: Mapping[str, str] = {
    "git": "vision_language.graph",
    **dict.fromkeys(("layoutlm", "layoutlmv2", "layoutlmv3", "lilt"), "vision.documents"),
    "grounding-dino": "vision.grounding_dino",
    "mm-grounding-dino": "vision.grounding_dino",
    "oneformer": "vision.oneformer",
}


def _vision_module(checkpoint: Checkpoint) -> Any:
    """Import the module with the `describe` for a vision model."""
    by_task = _VISION_MODULES.get(checkpoint.task.name, "vision.graph")
    name = _FAMILY_MODULES.get(checkpoint.config.model_type, by_task)
    if checkpoint.task.name == "visual-question-answering" and checkpoint.config.model_type == "blip":
        name = "seq2seq.questions"
    return importlib.import_module(f"onnxpipe_export.graphs.{name}")


# Audio task -> the module in this folder that describes its graphs.
_AUDIO_MODULES: Mapping[str, str] = {
    "automatic-speech-recognition": "audio.graph",
    "audio-classification": "audio.graph",
    "zero-shot-audio-classification": "audio.clap",
    "vocoder": "text_to_audio.vocoder",
}
_CALIBRATED = frozenset({"audio.graph", "audio.clap", "seq2seq.speech"})
# Types of text-to-audio models: their graphs have nothing in common, so each has a module of its name.
_TEXT_TO_AUDIO_TYPES = frozenset({"speecht5", "vits", "musicgen", "bark"})


def _audio_module(checkpoint: Checkpoint) -> Any:
    """Import the module with the `describe` for an audio model."""
    kind = checkpoint.config.model_type
    if checkpoint.task.name == "automatic-speech-recognition" and not _is_ctc(checkpoint):
        name = "seq2seq.speech"
    elif checkpoint.task.name != "text-to-audio":
        name = _AUDIO_MODULES[checkpoint.task.name]
    elif kind in _TEXT_TO_AUDIO_TYPES:
        name = f"text_to_audio.{kind}"
    else:
        raise ExportError(
            f"models of the type '{kind}' cannot be exported for text-to-audio; those that can are "
            f"{', '.join(sorted(_TEXT_TO_AUDIO_TYPES))}"
        )
    if checkpoint.calibration is not None and name not in _CALIBRATED:
        raise ExportError(
            f"calibration= is a folder of recordings for models that take audio; a '{kind}' does not, leave it out"
        )
    return importlib.import_module(f"onnxpipe_export.graphs.{name}")


def _is_ctc(checkpoint: Checkpoint) -> bool:
    """Tell whether the model has one score a frame and token, and no decoder."""
    return type(checkpoint.model).__name__.endswith("ForCTC")
