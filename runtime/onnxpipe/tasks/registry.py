"""Which tasks there are: names, aliases, classes, default models."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onnxpipe.models.auto import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)
from onnxpipe.tasks.embedding import EmbeddingPipeline, SentenceSimilarityPipeline
from onnxpipe.tasks.feature_extraction import FeatureExtractionPipeline
from onnxpipe.tasks.fill_mask import FillMaskPipeline
from onnxpipe.tasks.question_answering import QuestionAnsweringPipeline
from onnxpipe.tasks.text_classification import TextClassificationPipeline
from onnxpipe.tasks.text_ranking import TextRankingPipeline
from onnxpipe.tasks.token_classification import TokenClassificationPipeline
from onnxpipe.tasks.zero_shot_classification import ZeroShotClassificationPipeline

logger = logging.getLogger("onnxpipe")


def _entry(cls: type, auto: type[AutoModel], model: str, revision: str | None = None) -> dict[str, Any]:
    return {"impl": cls, "pt": (auto,), "default": {"model": (model, revision)}, "type": "text"}


_SEQUENCE = AutoModelForSequenceClassification
_SST2 = "distilbert/distilbert-base-uncased-finetuned-sst-2-english"

#: The keys are those of transformers' registry, so that code which reads it works.
SUPPORTED_TASKS: dict[str, dict[str, Any]] = {
    "embedding": _entry(EmbeddingPipeline, AutoModel, "sentence-transformers/all-MiniLM-L6-v2"),
    "feature-extraction": _entry(
        FeatureExtractionPipeline, AutoModel, "distilbert/distilbert-base-cased", "6ea8117"
    ),
    "fill-mask": _entry(FillMaskPipeline, AutoModelForMaskedLM, "distilbert/distilroberta-base", "fb53ab8"),
    "question-answering": _entry(
        QuestionAnsweringPipeline,
        AutoModelForQuestionAnswering,
        "distilbert/distilbert-base-cased-distilled-squad",
        "564e9b5",
    ),
    "sentence-similarity": _entry(SentenceSimilarityPipeline, AutoModel, "sentence-transformers/all-MiniLM-L6-v2"),
    "text-classification": _entry(TextClassificationPipeline, _SEQUENCE, _SST2, "714eb0f"),
    "text-ranking": _entry(TextRankingPipeline, _SEQUENCE, "cross-encoder/ms-marco-MiniLM-L6-v2"),
    "token-classification": _entry(
        TokenClassificationPipeline,
        AutoModelForTokenClassification,
        "dbmdz/bert-large-cased-finetuned-conll03-english",
        "4c53496",
    ),
    "zero-shot-classification": _entry(
        ZeroShotClassificationPipeline, _SEQUENCE, "facebook/bart-large-mnli", "d7645e1"
    ),
}  # fmt: skip

TASK_ALIASES: dict[str, str] = {
    "ner": "token-classification",
    "sentence-embedding": "embedding",
    "sentiment-analysis": "text-classification",
}


@dataclass
class PipelineRegistry:
    """Tasks by name, with the methods of transformers' registry."""

    supported_tasks: dict[str, dict[str, Any]] = field(default_factory=lambda: SUPPORTED_TASKS)
    task_aliases: dict[str, str] = field(default_factory=lambda: TASK_ALIASES)

    def get_supported_tasks(self) -> list[str]:
        """Names and aliases, sorted."""
        return sorted([*self.supported_tasks, *self.task_aliases])

    def check_task(self, task: str) -> tuple[str, dict[str, Any], None]:
        """The task's own name, its entry, and None (the place of a translation's languages).

        Raises:
            KeyError: no such task.
        """
        task = self.task_aliases.get(task, task)
        if task not in self.supported_tasks:
            raise KeyError(f"Unknown task {task}, available tasks are {self.get_supported_tasks()}")
        return task, self.supported_tasks[task], None

    def register_pipeline(
        self,
        task: str,
        pipeline_class: type,
        pt_model: Any = None,
        default: Mapping[str, Any] | tuple[str, str] | None = None,
        type: str | None = None,
    ) -> None:
        """Adds a task of the user's own; see `onnxpipe.tasks.custom` for the class's four methods.

        Args:
            task: its name.
            pipeline_class: a subclass of `onnxpipe.Pipeline`.
            pt_model: the Auto class (or several) that loads its model; the name is transformers'.
            default: default model and revision, `(id, revision)` or `{"model": (id, revision)}`.
            type: "text", "image", "audio", "multimodal"; kept.
        """
        if task in self.supported_tasks:
            logger.warning("%s is already registered. Overwriting pipeline for task %s...", task, task)
        models = pt_model if isinstance(pt_model, tuple) else () if pt_model is None else (pt_model,)
        entry: dict[str, Any] = {"impl": pipeline_class, "pt": models}
        if default is not None:
            entry["default"] = default if isinstance(default, Mapping) and "model" in default else {"model": default}
        if type is not None:
            entry["type"] = type
        self.supported_tasks[task] = entry
        pipeline_class._registered_impl = {task: entry}  # type: ignore[attr-defined]

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The live table."""
        return self.supported_tasks


PIPELINE_REGISTRY = PipelineRegistry()


def get_supported_tasks() -> list[str]:
    """Names and aliases of all tasks, sorted."""
    return PIPELINE_REGISTRY.get_supported_tasks()


def check_task(task: str) -> tuple[str, dict[str, Any], None]:
    """See `PipelineRegistry.check_task`."""
    return PIPELINE_REGISTRY.check_task(task)
