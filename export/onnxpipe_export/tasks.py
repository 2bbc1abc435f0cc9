"""The tasks that a model can be exported for, and transformers' classes for them.

Which task a checkpoint is for, and which others its bundle serves, the runtime knows (`onnxpipe.bundle.tasks`), and the
names of tasks and their aliases as well (`onnxpipe.tasks.registry`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from onnxpipe.bundle.config import Config
from onnxpipe.bundle.tasks import architecture_tasks, served_tasks
from onnxpipe.errors import ExportError
from onnxpipe.tasks.registry import aliases_of, all_tasks
from onnxpipe_export.refusals import ELSE

Modality = Literal["text", "image", "image-text", "audio", "audio-text", "text-audio", "text-image"]


@dataclass(frozen=True)
class Task:
    """One exportable task.

    Attributes:
        name: the pipeline's name.
        auto_class: the transformers class that loads the model with the task's head.
        outputs: the graph's outputs, in order; those that the model does not have are left out.
        modality: what its inputs are. A checkpoint for text must have a tokenizer, and so must one of "text-audio",
            from text to audio; one for images or audio is loaded with a tokenizer only where its folder has one
            (OneFormer takes its task as text, a speech recognition model generates text).
        other_classes: further transformers classes that load models for the task, where there are several.
    """

    name: str
    auto_class: str
    outputs: tuple[str, ...]
    modality: Modality = "text"
    other_classes: tuple[str, ...] = ()


_TEXT_TASKS = (
    Task("text-classification", "AutoModelForSequenceClassification", ("logits",)),
    Task("token-classification", "AutoModelForTokenClassification", ("logits",)),
    Task("question-answering", "AutoModelForQuestionAnswering", ("start_logits", "end_logits")),
    Task("fill-mask", "AutoModelForMaskedLM", ("logits",)),
    Task("text-generation", "AutoModelForCausalLM", ("logits", "last_hidden_state")),
    Task("text2text-generation", "AutoModelForSeq2SeqLM", ("logits", "last_hidden_state")),
    Task("feature-extraction", "AutoModel", ("last_hidden_state", "pooler_output", "text_embeds")),
    Task("table-question-answering", "AutoModelForTableQuestionAnswering", ("logits", "logits_aggregation")),
)

_MASKS = ("logits", "pred_boxes", "pred_masks", "class_queries_logits", "masks_queries_logits")
"""Outputs of segmentation models: semantic ones have logits, DETR boxes and masks, universal ones the last two."""

# Tasks of several graphs have no outputs here: the graphs name theirs; see `onnxpipe_export.graphs`.
_IMAGE_TASKS = (
    Task("image-classification", "AutoModelForImageClassification", ("logits",), "image"),
    Task("object-detection", "AutoModelForObjectDetection", ("logits", "pred_boxes"), "image"),
    Task(
        "image-segmentation", "AutoModelForImageSegmentation", _MASKS, "image",
        ("AutoModelForSemanticSegmentation", "AutoModelForInstanceSegmentation", "AutoModelForUniversalSegmentation"),
    ),
    Task("depth-estimation", "AutoModelForDepthEstimation", ("predicted_depth", "domain_logits"), "image"),
    Task("image-to-image", "AutoModelForImageToImage", ("reconstruction",), "image"),
    Task("video-classification", "AutoModelForVideoClassification", ("logits",), "image"),
    Task("mask-generation", "AutoModelForMaskGeneration", (), "image"),
    Task("keypoint-matching", "AutoModelForKeypointMatching", (), "image"),
    Task("keypoint-detection", "AutoModelForKeypointDetection", (), "image"),
    Task("zero-shot-image-classification", "AutoModelForZeroShotImageClassification", (), "image-text"),
    Task("zero-shot-object-detection", "AutoModelForZeroShotObjectDetection", (), "image-text"),
    Task(
        "document-question-answering", "AutoModelForDocumentQuestionAnswering", ("start_logits", "end_logits"),
        "image-text",
    ),
    Task("image-feature-extraction", "AutoModel", ("last_hidden_state", "pooler_output", "image_embeds"), "image"),
    Task("image-to-text", "VisionEncoderDecoderModel", (), "image-text"),
    Task("visual-question-answering", "AutoModelForVisualQuestionAnswering", ("logits",), "image-text"),
)  # fmt: skip

_AUDIO_TASKS = (
    Task(
        "automatic-speech-recognition", "AutoModelForCTC", ("logits",), "audio",
        ("AutoModelForSpeechSeq2Seq",),
    ),
    Task("audio-classification", "AutoModelForAudioClassification", ("logits",), "audio"),
    Task("zero-shot-audio-classification", "AutoModel", (), "audio-text"),
    Task("text-to-audio", "AutoModelForTextToWaveform", (), "text-audio", ("AutoModelForTextToSpectrogram",)),
    Task("vocoder", "SpeechT5HifiGan", (), "audio"),
)  # fmt: skip

TABLES = "table-question-answering"

_MULTIMODAL_TASKS = (
    Task(
        "image-text-to-text", "AutoModelForImageTextToText", ("logits", "last_hidden_state"), "image-text",
    ),
)  # fmt: skip

IMAGE_GENERATION = Task("text-to-image", "DiffusionPipeline", (), "text-image")
"""What folders of diffusers are exported for; models of transformers are not, so it is none of `TASKS`."""

TASKS: Mapping[str, Task] = {
    task.name: task for task in (*_TEXT_TASKS, *_IMAGE_TASKS, *_AUDIO_TASKS, *_MULTIMODAL_TASKS)
}

ALIASES: Mapping[str, str] = {
    name: spec.export_as or spec.auto_classes[0].task
    for spec in all_tasks()
    if spec.has_model
    for name in (spec.name, *aliases_of(spec.name))
    if name not in TASKS
}
"""Further names of tasks -> the task whose graph they need."""

_TRANSLATION = re.compile(r"translation_[^_]+_to_[^_]+")
"""The names of translation between two languages, which only matter to the tokenizer and to `generate`."""


def resolve(name: str | None, config: Any, folder: Path) -> Task:
    """Find the task to export: `name` or its alias; without a name, the one that the checkpoint's class is for.

    Args:
        name: a task's name or alias, or None.
        config: the transformers config.
        folder: the checkpoint; `modules.json` of sentence-transformers in it means feature-extraction.

    Raises:
        ExportError: the name is unknown, or the checkpoint does not say what it is for.
    """
    if name is not None:
        known = "text2text-generation" if _TRANSLATION.fullmatch(name) else ALIASES.get(name, name)
        if known not in TASKS:
            raise ExportError(f"unknown task '{name}'; the exporter knows {', '.join(sorted([*TASKS, *ALIASES]))}")
        if known == "document-question-answering" and config.model_type == "vision-encoder-decoder":
            known = "image-to-text"  # Donut: the same graphs
        return _of_tables_as_text() if known == TABLES and config.is_encoder_decoder else TASKS[known]
    if _is_sentence_transformer(folder):
        return TASKS["feature-extraction"]
    architectures: Sequence[str] = getattr(config, "architectures", None) or ()
    for architecture in architectures:
        task = _task_of_class(architecture) or _task_of_name(architecture, str(getattr(config, "model_type", "")))
        if task is not None:
            return task
    raise ExportError(
        f"cannot tell the task of {folder.name}: no pipeline, here or in transformers, takes models of its "
        f"architectures {list(architectures)}. If its weights fit another class, name that one's task= here. {ELSE}"
    )


def _of_tables_as_text() -> Task:
    """Return the task of an encoder-decoder that answers questions about a table which it reads as a text (TAPEX)."""
    return replace(TASKS["text2text-generation"], name=TABLES)


def _task_of_class(architecture: str) -> Task | None:
    """Find the task that transformers lists the class for, where its name does not tell: classes for images, audio and
    text to text (OwlViTModel, Wav2Vec2ForSequenceClassification, T5GemmaForConditionalGeneration)."""
    for task in (*_IMAGE_TASKS, *_AUDIO_TASKS, TASKS["text2text-generation"]):
        if architecture in class_names(task):
            return task
    return None


def _task_of_name(architecture: str, model_type: str) -> Task | None:
    """Find the task that a class is for by its name, as the runtime does."""
    names = (ALIASES.get(name, name) for name in architecture_tasks(architecture, model_type))
    return next((TASKS[name] for name in names if name in TASKS), None)


def manifest_tasks(task: Task, config: Any, folder: Path) -> list[str]:
    """List every pipeline task that the bundle serves, the default first.

    Args:
        task: the exported task.
        config: the transformers config, for the type and the labels.
        folder: the checkpoint.
    """
    values = {name: getattr(config, name, None) for name in ("model_type", "id2label")}
    values["encoder"] = {"model_type": getattr(getattr(config, "encoder", None), "model_type", None)}
    known = Config({name: value for name, value in values.items() if value is not None})
    return list(served_tasks(task.name, known, _is_sentence_transformer(folder)))


def _is_sentence_transformer(folder: Path) -> bool:
    return (folder / "modules.json").is_file()


# Auto classes whose mapping is not named as they are.
_MAPPINGS: Mapping[str, str] = {
    "AutoModelForCTC": "MODEL_FOR_CTC_MAPPING_NAMES",
    "AutoModelForSeq2SeqLM": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "AutoModelForSpeechSeq2Seq": "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
}
# Classes of models that label the words of pages.
_WORD_LABELLING: Mapping[str, str] = {
    f"{name}ForTokenClassification": "AutoModelForTokenClassification"
    for name in ("LayoutLM", "LayoutLMv2", "LayoutLMv3", "Lilt")
}
# What transformers' mappings of these tasks leave out: models that its pipeline for objects takes too, a dual encoder.
_FURTHER: Mapping[str, Mapping[str, str]] = {
    "object-detection": _WORD_LABELLING,
    "zero-shot-image-classification": {"GroupViTModel": "AutoModel"},
}
# Tasks for which transformers has no mapping: their classes, each with the class that loads it.
_CLASSES: Mapping[str, Mapping[str, str]] = {
    "zero-shot-audio-classification": {"ClapModel": "AutoModel"},
    "vocoder": {"SpeechT5HifiGan": "SpeechT5HifiGan"},
    "image-to-text": {
        name: name
        for name in (
            "VisionEncoderDecoderModel",
            "BlipForConditionalGeneration",
            "GitForCausalLM",
            "Pix2StructForConditionalGeneration",
        )
    },
    "document-question-answering": {
        **{
            f"{name}ForQuestionAnswering": "AutoModelForDocumentQuestionAnswering"
            for name in ("LayoutLM", "LayoutLMv2", "LayoutLMv3")
        },
        "LiltForQuestionAnswering": "AutoModelForQuestionAnswering",
    },
    "visual-question-answering": {name: name for name in ("ViltForQuestionAnswering", "BlipForQuestionAnswering")},
}


def class_names(task: Task) -> dict[str, str]:
    """List the model classes that transformers has for `task`, each with the name of the auto class that loads it."""
    if task.name in _CLASSES:
        return dict(_CLASSES[task.name])
    from transformers.models.auto import modeling_auto

    classes = dict(_FURTHER.get(task.name, {}))
    for auto_class in (task.auto_class, *task.other_classes):
        for names in getattr(modeling_auto, _mapping(auto_class)).values():
            for name in (names,) if isinstance(names, str) else names:
                classes.setdefault(name, auto_class)
    return classes


def auto_class(task: Task, model_type: str) -> str:
    """Choose the class that loads models of this type for `task`: the first that knows the type, else the first."""
    from transformers.models.auto import modeling_auto

    known = [name for name in task.other_classes if model_type in getattr(modeling_auto, _mapping(name), ())]
    return known[0] if known and task.modality == "audio" else task.auto_class


_FEATURE_CLASSES = ("EncoderModel", "ModelWithProjection", "TextModel")
"""Ends of the names of classes that give features, and that `AutoModel` may replace by another: half of a CLIP with its
projection, the text half of SigLIP, the encoder of T5."""


def feature_class(model_type: str, architectures: Sequence[str]) -> str | None:
    """Name the class that gives a checkpoint's features where `AutoModel` would load another; None where it would not.

    Features of a type with a decoder are the encoder's (T5): checkpoints of sentence-transformers (gtr-t5, sentence-t5)
    have nothing else.
    """
    import transformers
    from transformers.models.auto import modeling_auto

    known = modeling_auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES.get(model_type, "")
    known = known if known.endswith("EncoderModel") else ""
    named = [name for name in (*architectures, known) if name.endswith(_FEATURE_CLASSES)]
    return next((name for name in named if hasattr(transformers, name)), None)


def _mapping(auto_class: str) -> str:
    """Name an auto class's mapping: MODEL_FOR_IMAGE_TO_IMAGE_... of AutoModelForImageToImage.

    AutoModel, of images only, has MODEL_FOR_IMAGE_....
    """
    stem = "ForImage" if auto_class == "AutoModel" else auto_class.removeprefix("AutoModel")
    return _MAPPINGS.get(auto_class) or "MODEL" + re.sub(r"(?=[A-Z])", "_", stem).upper() + "_MAPPING_NAMES"
