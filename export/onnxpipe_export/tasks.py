"""The tasks a model can be exported for, and how a checkpoint tells which."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from onnxpipe.errors import ExportError

Modality = Literal["text", "image", "image-text", "audio", "audio-text", "text-audio"]


@dataclass(frozen=True)
class Task:
    """One exportable task.

    Attributes:
        name: the pipeline's name.
        auto_class: the transformers class that loads the model with the task's head.
        outputs: the graph's outputs, in order; those that the model does not have are left out.
        architecture: what the class names in config.architectures end in, "" where they cannot tell.
        modality: what it is asked with. A checkpoint for texts must have a tokenizer, and so must one of "text-audio",
            which is asked with texts and answers in sound; one for images or audio is taken with a tokenizer only where
            its folder has one (OneFormer is told its task in words, a recogniser of speech writes).
        other_classes: further transformers classes that load models for the task, where there are several.
    """

    name: str
    auto_class: str
    outputs: tuple[str, ...]
    architecture: str
    modality: Modality = "text"
    other_classes: tuple[str, ...] = ()


_TEXT_TASKS = (
    Task("text-classification", "AutoModelForSequenceClassification", ("logits",), "ForSequenceClassification"),
    Task("token-classification", "AutoModelForTokenClassification", ("logits",), "ForTokenClassification"),
    Task(
        "question-answering",
        "AutoModelForQuestionAnswering",
        ("start_logits", "end_logits"),
        "ForQuestionAnswering",
    ),
    Task("fill-mask", "AutoModelForMaskedLM", ("logits",), "ForMaskedLM"),
    Task("text-generation", "AutoModelForCausalLM", ("logits", "last_hidden_state"), "ForCausalLM"),
    Task(
        "text2text-generation",
        "AutoModelForSeq2SeqLM",
        ("logits", "last_hidden_state"),
        "ForConditionalGeneration",
    ),
    Task("feature-extraction", "AutoModel", ("last_hidden_state", "pooler_output"), "Model"),
)

_MASKS = ("logits", "pred_boxes", "pred_masks", "class_queries_logits", "masks_queries_logits")
"""What segmentation models give: semantic ones logits, DETR's its own boxes and masks, universal ones the last two."""

# The outputs of tasks of several graphs are told by the graphs; see `onnxpipe_export.graphs`.
_IMAGE_TASKS = (
    Task("image-classification", "AutoModelForImageClassification", ("logits",), "ForImageClassification", "image"),
    Task("object-detection", "AutoModelForObjectDetection", ("logits", "pred_boxes"), "ForObjectDetection", "image"),
    Task(
        "image-segmentation", "AutoModelForImageSegmentation", _MASKS, "ForSemanticSegmentation", "image",
        ("AutoModelForSemanticSegmentation", "AutoModelForInstanceSegmentation", "AutoModelForUniversalSegmentation"),
    ),
    Task(
        "depth-estimation", "AutoModelForDepthEstimation", ("predicted_depth", "domain_logits"), "ForDepthEstimation",
        "image",
    ),
    Task("image-to-image", "AutoModelForImageToImage", ("reconstruction",), "ForImageSuperResolution", "image"),
    Task("video-classification", "AutoModelForVideoClassification", ("logits",), "ForVideoClassification", "image"),
    Task("mask-generation", "AutoModelForMaskGeneration", (), "Sam2VideoModel", "image"),
    Task("keypoint-matching", "AutoModelForKeypointMatching", (), "ForKeypointMatching", "image"),
    Task("keypoint-detection", "AutoModelForKeypointDetection", (), "ForKeypointDetection", "image"),
    Task("zero-shot-image-classification", "AutoModelForZeroShotImageClassification", (), "CLIPModel", "image-text"),
    Task("zero-shot-object-detection", "AutoModelForZeroShotObjectDetection", (), "OwlViTForObjectDetection",
         "image-text"),
    Task("image-feature-extraction", "AutoModel", ("last_hidden_state", "pooler_output"), "VisionModel", "image"),
)  # fmt: skip

_AUDIO_TASKS = (
    Task(
        "automatic-speech-recognition", "AutoModelForCTC", ("logits",), "ForCTC", "audio",
        ("AutoModelForSpeechSeq2Seq",),
    ),
    Task("audio-classification", "AutoModelForAudioClassification", ("logits",), "ForAudioClassification", "audio"),
    Task("zero-shot-audio-classification", "AutoModel", (), "ClapModel", "audio-text"),
    Task(
        "text-to-audio", "AutoModelForTextToWaveform", (), "ForTextToSpeech", "text-audio",
        ("AutoModelForTextToSpectrogram",),
    ),
    Task("vocoder", "SpeechT5HifiGan", (), "HifiGan", "audio"),
)  # fmt: skip

TASKS: Mapping[str, Task] = {task.name: task for task in (*_TEXT_TASKS, *_IMAGE_TASKS, *_AUDIO_TASKS)}

GENERATING = frozenset({"text-generation", "text2text-generation"})
"""Tasks whose models generate."""

# What a user may call a task -> the task whose graph it needs.
ALIASES: Mapping[str, str] = {
    "sentiment-analysis": "text-classification",
    "zero-shot-classification": "text-classification",
    "text-ranking": "text-classification",
    "ner": "token-classification",
    "summarization": "text2text-generation",
    "translation": "text2text-generation",
    "embedding": "feature-extraction",
    "sentence-similarity": "feature-extraction",
    "background-removal": "image-segmentation",
    "text-to-speech": "text-to-audio",
}

_TRANSLATION = re.compile(r"translation_[^_]+_to_[^_]+")
"""The family of aliases that name two languages; they are the tokenizer's and the call's affair."""

# Classes whose name is not <Family>For<Task>; "LMHeadModel" alone ends GPT2LMHeadModel, a causal model, while the
# encoders that say so are XLM and its kin: XLMWithLMHeadModel.
_OTHER_ARCHITECTURES: Mapping[str, str] = {
    "SeamlessM4TModel": "automatic-speech-recognition",
    "SeamlessM4Tv2Model": "automatic-speech-recognition",
    "LMHeadModel": "text-generation",
    "ForSeq2SeqLM": "text2text-generation",
    "MarianMTModel": "text2text-generation",
    "ForQuestionAnsweringSimple": "question-answering",
    "WithLMHeadModel": "fill-mask",
    "ForPreTraining": "feature-extraction",
}


def resolve(name: str | None, config: Any, folder: Path) -> Task:
    """The task to export: `name` or its alias; without a name, what the checkpoint was made for.

    Args:
        name: a task's name or alias, or None.
        config: the transformers config.
        folder: the checkpoint; `modules.json` of sentence-transformers in it means feature-extraction.

    Raises:
        ExportError: an unknown name, or nothing in the checkpoint tells.
    """
    if name is not None:
        known = "text2text-generation" if _TRANSLATION.fullmatch(name) else ALIASES.get(name, name)
        if known not in TASKS:
            raise ExportError(f"unknown task '{name}'; the exporter knows {', '.join(sorted([*TASKS, *ALIASES]))}")
        return TASKS[known]
    if (folder / "modules.json").is_file():
        return TASKS["feature-extraction"]
    architectures: Sequence[str] = getattr(config, "architectures", None) or ()
    for architecture in architectures:
        found = _task_of_class(architecture)
        if found is not None:
            return found
        for ending, task in _endings():
            if architecture.endswith(ending):
                return TASKS[task]
    raise ExportError(
        f"cannot tell the task of {folder.name} from its architectures {list(architectures)}; "
        f"name one with task=, e.g. task='feature-extraction'"
    )


def _task_of_class(architecture: str) -> Task | None:
    """The task of images or audio that transformers has this class for: the names' ends alone do not tell
    (OwlViTModel, Wav2Vec2ForSequenceClassification)."""
    for task in (*_IMAGE_TASKS, *_AUDIO_TASKS):
        if architecture in class_names(task):
            return task
    return None


# Auto classes whose mapping is not named as they are.
_MAPPINGS: Mapping[str, str] = {
    "AutoModelForCTC": "MODEL_FOR_CTC_MAPPING_NAMES",
    "AutoModelForSpeechSeq2Seq": "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
}
# Tasks of which transformers has no mapping: their classes, and what loads these.
_CLASSES: Mapping[str, Mapping[str, str]] = {
    "zero-shot-audio-classification": {"ClapModel": "AutoModel"},
    "vocoder": {"SpeechT5HifiGan": "SpeechT5HifiGan"},
}


def class_names(task: Task) -> dict[str, str]:
    """Names of the models that transformers has for `task`, each with the name of the auto class that loads it."""
    if task.name in _CLASSES:
        return dict(_CLASSES[task.name])
    from transformers.models.auto import modeling_auto

    found: dict[str, str] = {}
    for auto_class in (task.auto_class, *task.other_classes):
        for names in getattr(modeling_auto, _mapping(auto_class)).values():
            for name in (names,) if isinstance(names, str) else names:
                found.setdefault(name, auto_class)
    return found


def auto_class(task: Task, model_type: str) -> str:
    """The class that loads models of this type for `task`: the first that knows the type, else the task's first."""
    from transformers.models.auto import modeling_auto

    known = [name for name in task.other_classes if model_type in getattr(modeling_auto, _mapping(name), ())]
    return known[0] if known and task.modality == "audio" else task.auto_class


def _mapping(auto_class: str) -> str:
    """AutoModelForImageToImage -> MODEL_FOR_IMAGE_TO_IMAGE_...; AutoModel, of images only -> MODEL_FOR_IMAGE_..."""
    stem = "ForImage" if auto_class == "AutoModel" else auto_class.removeprefix("AutoModel")
    return _MAPPINGS.get(auto_class) or "MODEL" + re.sub(r"(?=[A-Z])", "_", stem).upper() + "_MAPPING_NAMES"


def _endings() -> list[tuple[str, str]]:
    """(end of a class name, task), the longest first, so that 'Model' is tried last."""
    endings = [*_OTHER_ARCHITECTURES.items(), *((task.architecture, task.name) for task in TASKS.values())]
    return sorted(endings, key=lambda item: -len(item[0]))


_TRANSLATORS = ["translation", "text2text-generation"]
_SUMMARISERS = ["summarization", "text2text-generation"]

# model_type -> what its sequence-to-sequence model is for, the default first. Others (T5) are told by their prefixes.
_TEXT_TO_TEXT: Mapping[str, list[str]] = {
    "marian": _TRANSLATORS,
    "m2m_100": _TRANSLATORS,
    "mbart": _TRANSLATORS,
    "fsmt": _TRANSLATORS,
    "bart": _SUMMARISERS,
    "pegasus": _SUMMARISERS,
    "bigbird_pegasus": _SUMMARISERS,
    "led": _SUMMARISERS,
    "blenderbot": ["text2text-generation"],
    "blenderbot-small": ["text2text-generation"],
}


def manifest_tasks(task: Task, config: Any, folder: Path) -> list[str]:
    """Every pipeline task that the bundle serves, the default first.

    Args:
        task: the exported task.
        config: the transformers config, for the labels.
        folder: the checkpoint.
    """
    if task.name == "feature-extraction" and (folder / "modules.json").is_file():
        return ["sentence-similarity", "embedding", "feature-extraction"]
    if task.name == "text2text-generation":
        return _TEXT_TO_TEXT.get(config.model_type, ["text2text-generation", "translation", "summarization"])
    if task.name == "image-segmentation" and any(label.lower() == "background" for label in _labels(config)):
        return ["image-segmentation", "background-removal"]
    if task.name != "text-classification":
        return [task.name]
    if config.num_labels == 1:
        return ["text-ranking", "text-classification"]
    if any(label.lower().startswith("entail") for label in _labels(config)):
        return ["zero-shot-classification", "text-classification"]
    return ["text-classification"]


def _labels(config: Any) -> list[str]:
    return [str(label) for label in (getattr(config, "id2label", None) or {}).values()]
