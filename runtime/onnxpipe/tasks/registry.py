"""The tasks by name, in the shape of transformers' registry."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onnxpipe.tasks import (
    any_to_any,
    audio_classification,
    background_removal,
    decision,
    depth_estimation,
    embedding,
    feature_extraction,
    fill_mask,
    image_classification,
    image_feature_extraction,
    image_segmentation,
    image_text_to_text,
    image_to_image,
    image_to_text,
    inpainting,
    keypoint_matching,
    mask_generation,
    object_detection,
    ocr,
    question_answering,
    summarization,
    table_question_answering,
    text2text_generation,
    text_classification,
    text_generation,
    text_ranking,
    text_to_audio,
    text_to_image,
    token_classification,
    translation,
    video_classification,
    visual_question_answering,
    zero_shot_audio_classification,
    zero_shot_classification,
    zero_shot_image_classification,
    zero_shot_object_detection,
)
from onnxpipe.tasks.base.spec import IMAGE_INPUTS, TaskSpec
from onnxpipe.tasks.document_questions import pipeline as document_questions
from onnxpipe.tasks.speech_recognition import pipeline as speech_recognition

logger = logging.getLogger("onnxpipe")

TASKS: tuple[TaskSpec, ...] = (
    any_to_any.TASK,
    audio_classification.TASK,
    speech_recognition.TASK,
    background_removal.TASK,
    decision.TASK,
    depth_estimation.TASK,
    document_questions.TASK,
    embedding.EMBEDDING_TASK,
    feature_extraction.TASK,
    fill_mask.TASK,
    image_classification.TASK,
    image_feature_extraction.TASK,
    image_segmentation.TASK,
    image_text_to_text.TASK,
    image_to_image.TASK,
    image_to_text.TASK,
    inpainting.TASK,
    keypoint_matching.TASK,
    mask_generation.TASK,
    object_detection.TASK,
    ocr.TASK,
    question_answering.TASK,
    embedding.SIMILARITY_TASK,
    summarization.TASK,
    table_question_answering.TASK,
    text_classification.TASK,
    text_generation.TASK,
    text_ranking.TASK,
    text_to_audio.TASK,
    text_to_image.TASK,
    text2text_generation.TASK,
    token_classification.TASK,
    translation.TASK,
    video_classification.TASK,
    visual_question_answering.TASK,
    zero_shot_audio_classification.TASK,
    zero_shot_classification.TASK,
    zero_shot_image_classification.TASK,
    zero_shot_object_detection.TASK,
)

#: The keys of an entry are those of transformers' registry, so that code which reads it works. Where its versions
#: differ (the default of text-generation), they are the newer one's.
SUPPORTED_TASKS: dict[str, dict[str, Any]] = {spec.name: spec.entry() for spec in TASKS}

TASK_ALIASES: dict[str, str] = {alias: spec.name for spec in TASKS for alias in spec.aliases}


@dataclass
class PipelineRegistry:
    """Tasks by name, with the methods of transformers' registry."""

    supported_tasks: dict[str, dict[str, Any]] = field(default_factory=lambda: SUPPORTED_TASKS)
    task_aliases: dict[str, str] = field(default_factory=lambda: TASK_ALIASES)
    specs: dict[str, TaskSpec] = field(default_factory=lambda: {spec.name: spec for spec in TASKS})

    def get_supported_tasks(self) -> list[str]:
        """List names and aliases, sorted."""
        return sorted([*self.supported_tasks, *self.task_aliases])

    def check_task(self, task: str) -> tuple[str, dict[str, Any], tuple[str, str] | None]:
        """Look a task up: its own name, its entry, and the languages ("en", "fr") of "translation_en_to_fr", else None.

        Raises:
            KeyError: no such task.
        """
        task = self.task_aliases.get(task, task)
        if task in self.supported_tasks:
            return task, self.supported_tasks[task], None
        if task.startswith("translation"):
            parts = task.split("_")
            if len(parts) != 4 or parts[0] != "translation" or parts[2] != "to":
                raise KeyError(f"Invalid translation task {task}, use 'translation_XX_to_YY' format")
            return "translation", self.supported_tasks["translation"], (parts[1], parts[3])
        known = [*self.get_supported_tasks(), "translation_XX_to_YY"]
        near = difflib.get_close_matches(task, known, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise KeyError(f"Unknown task {task}, available tasks are {known}{hint}")

    def spec(self, task: str) -> TaskSpec:
        """Return the record of a task; for one that a user registered it holds what the entry says.

        Args:
            task: its name or alias, or a "translation_en_to_fr".

        Raises:
            KeyError: no such task.
        """
        name, entry, _ = self.check_task(task)
        spec = self.specs.get(name)
        if spec is not None and spec.pipeline is entry["impl"]:
            return spec
        kind = entry.get("type")
        return TaskSpec(
            name=name, pipeline=entry["impl"], auto_classes=entry["pt"], input=kind, draws=kind in IMAGE_INPUTS
        )

    def register_pipeline(
        self,
        task: str,
        pipeline_class: type,
        pt_model: Any = None,
        default: Mapping[str, Any] | tuple[str, str] | None = None,
        type: str | None = None,
    ) -> None:
        """Add a task of the user's own; see `onnxpipe.tasks.base.legacy` for the class's four methods.

        Args:
            task: its name.
            pipeline_class: a subclass of `onnxpipe.Pipeline`.
            pt_model: the Auto class (or several) that loads its model; the name is transformers'.
            default: default model and revision, `(id, revision)` or `{"model": (id, revision)}`.
            type: the type of its input: "text", "image", "video", "audio" or "multimodal".
        """
        if task in self.supported_tasks:
            logger.warning("%s is already registered. Overwriting pipeline for task %s...", task, task)
        models = pt_model if isinstance(pt_model, tuple) else () if pt_model is None else (pt_model,)
        model: Any = default["model"] if isinstance(default, Mapping) and "model" in default else default
        kind: Any = type  # whatever the user calls it is kept
        spec = TaskSpec(
            name=task,
            pipeline=pipeline_class,
            auto_classes=models,
            default_model=model,
            input=kind,
            draws=kind in IMAGE_INPUTS,  # whether an answer can be drawn shows when it is there
        )
        entry = spec.entry()
        if default is not None:
            entry["default"] = default if isinstance(default, Mapping) and "model" in default else {"model": default}
        self.specs[task] = spec
        self.supported_tasks[task] = entry
        pipeline_class._registered_impl = {task: entry}  # type: ignore[attr-defined]

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return the live table."""
        return self.supported_tasks


PIPELINE_REGISTRY = PipelineRegistry()


def get_supported_tasks() -> list[str]:
    """List the names and aliases of all tasks, sorted."""
    return PIPELINE_REGISTRY.get_supported_tasks()


def task_spec(task: str) -> TaskSpec:
    """See `PipelineRegistry.spec`."""
    return PIPELINE_REGISTRY.spec(task)


def check_task(task: str) -> tuple[str, dict[str, Any], tuple[str, str] | None]:
    """See `PipelineRegistry.check_task`."""
    return PIPELINE_REGISTRY.check_task(task)
