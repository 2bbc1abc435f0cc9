"""The tasks a model can be exported for, and how a checkpoint tells which."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxpipe.errors import ExportError


@dataclass(frozen=True)
class Task:
    """One exportable task.

    Attributes:
        name: the pipeline's name.
        auto_class: the transformers class that loads the model with the task's head.
        outputs: the graph's outputs, in order; those that the model does not have are left out.
        architecture: what the class names in config.architectures end in, "" where they cannot tell.
    """

    name: str
    auto_class: str
    outputs: tuple[str, ...]
    architecture: str


TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
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
}

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
}

_TRANSLATION = re.compile(r"translation_[^_]+_to_[^_]+")
"""The family of aliases that name two languages; they are the tokenizer's and the call's affair."""

# Classes whose name is not <Family>For<Task>; "LMHeadModel" alone ends GPT2LMHeadModel, a causal model, while the
# encoders that say so are XLM and its kin: XLMWithLMHeadModel.
_OTHER_ARCHITECTURES: Mapping[str, str] = {
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
        for ending, task in _endings():
            if architecture.endswith(ending):
                return TASKS[task]
    raise ExportError(
        f"cannot tell the task of {folder.name} from its architectures {list(architectures)}; "
        f"name one with task=, e.g. task='feature-extraction'"
    )


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
    if task.name != "text-classification":
        return [task.name]
    if config.num_labels == 1:
        return ["text-ranking", "text-classification"]
    if any(str(label).lower().startswith("entail") for label in config.id2label.values()):
        return ["zero-shot-classification", "text-classification"]
    return ["text-classification"]
