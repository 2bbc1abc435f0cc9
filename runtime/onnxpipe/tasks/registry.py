"""The tasks by name, in the shape of transformers' registry."""

from __future__ import annotations

import difflib
import importlib
import logging
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from onnxpipe.tasks.base.spec import IMAGE_INPUTS, TaskSpec

logger = logging.getLogger("onnxpipe")


class _Record(NamedTuple):
    """The place of a task's record, which is imported when the task is first used: a process pays for what it needs.

    Attributes:
        module: below `onnxpipe.tasks`.
        name: the record's name in the module.
        aliases: other names of the task.
    """

    module: str
    name: str = "TASK"
    aliases: tuple[str, ...] = ()


_RECORDS: Mapping[str, _Record] = {
    "any-to-any": _Record("any_to_any"),
    "audio-classification": _Record("audio_classification"),
    "automatic-speech-recognition": _Record("speech_recognition.pipeline"),
    "background-removal": _Record("background_removal"),
    "decision": _Record("decision"),
    "depth-estimation": _Record("depth_estimation"),
    "document-question-answering": _Record("document_questions.pipeline"),
    "embedding": _Record("embedding", "EMBEDDING_TASK", aliases=("sentence-embedding",)),
    "feature-extraction": _Record("feature_extraction"),
    "fill-mask": _Record("fill_mask"),
    "image-classification": _Record("image_classification"),
    "image-feature-extraction": _Record("image_feature_extraction"),
    "image-segmentation": _Record("image_segmentation"),
    "image-text-to-text": _Record("image_text_to_text"),
    "image-to-image": _Record("image_to_image"),
    "image-to-text": _Record("image_to_text"),
    "inpainting": _Record("inpainting"),
    "keypoint-matching": _Record("keypoint_matching"),
    "mask-generation": _Record("mask_generation"),
    "object-detection": _Record("object_detection"),
    "ocr": _Record("ocr"),
    "question-answering": _Record("question_answering"),
    "sentence-similarity": _Record("embedding", "SIMILARITY_TASK"),
    "summarization": _Record("summarization"),
    "table-question-answering": _Record("table_question_answering"),
    "text-classification": _Record("text_classification", aliases=("sentiment-analysis",)),
    "text-generation": _Record("text_generation"),
    "text-ranking": _Record("text_ranking"),
    "text-to-audio": _Record("text_to_audio", aliases=("text-to-speech",)),
    "text-to-image": _Record("text_to_image"),
    "text2text-generation": _Record("text2text_generation"),
    "token-classification": _Record("token_classification", aliases=("ner",)),
    "translation": _Record("translation"),
    "video-classification": _Record("video_classification"),
    "visual-question-answering": _Record("visual_question_answering", aliases=("vqa",)),
    "zero-shot-audio-classification": _Record("zero_shot_audio_classification"),
    "zero-shot-classification": _Record("zero_shot_classification"),
    "zero-shot-image-classification": _Record("zero_shot_image_classification"),
    "zero-shot-object-detection": _Record("zero_shot_object_detection"),
}

TASK_ALIASES: dict[str, str] = {alias: task for task, record in _RECORDS.items() for alias in record.aliases}


@cache
def _own_spec(task: str) -> TaskSpec:
    """Import the record of a task of ours."""
    record = _RECORDS[task]
    spec: TaskSpec = getattr(importlib.import_module(f"onnxpipe.tasks.{record.module}"), record.name)
    return spec


@cache
def all_tasks() -> tuple[TaskSpec, ...]:
    """Return the records of all tasks of ours, by name."""
    return tuple(_own_spec(task) for task in _RECORDS)


class TaskEntries(MutableMapping[str, dict[str, Any]]):
    """The entries of tasks by name; that of a task of ours is made when it is first asked for.

    The keys of an entry are those of transformers' registry, so that code which reads it works. Where its versions
    differ (the default of text-generation), they are the newer one's.
    """

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, Any] | None] = dict.fromkeys(_RECORDS)

    def __getitem__(self, task: str) -> dict[str, Any]:
        entry = self._entries[task]
        if entry is None:
            entry = self._entries[task] = _own_spec(task).entry()
        return entry

    def __setitem__(self, task: str, entry: dict[str, Any]) -> None:
        self._entries[task] = entry

    def __delitem__(self, task: str) -> None:
        del self._entries[task]

    def __contains__(self, task: object) -> bool:
        return task in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return repr(dict(self))


SUPPORTED_TASKS = TaskEntries()


@dataclass
class PipelineRegistry:
    """Tasks by name, with the methods of transformers' registry."""

    supported_tasks: MutableMapping[str, dict[str, Any]] = field(default_factory=lambda: SUPPORTED_TASKS)
    task_aliases: dict[str, str] = field(default_factory=lambda: TASK_ALIASES)
    specs: dict[str, TaskSpec] = field(default_factory=dict)  # of tasks that users registered

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
        spec = self.specs.get(name) or (_own_spec(name) if name in _RECORDS else None)
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

    def to_dict(self) -> MutableMapping[str, dict[str, Any]]:
        """Return the live table."""
        return self.supported_tasks


PIPELINE_REGISTRY = PipelineRegistry()


def get_supported_tasks() -> list[str]:
    """List the names and aliases of all tasks, sorted."""
    return PIPELINE_REGISTRY.get_supported_tasks()


def aliases_of(task: str) -> tuple[str, ...]:
    """Return the other names of a task of ours."""
    return _RECORDS[task].aliases if task in _RECORDS else ()


def task_spec(task: str) -> TaskSpec:
    """See `PipelineRegistry.spec`."""
    return PIPELINE_REGISTRY.spec(task)


def check_task(task: str) -> tuple[str, dict[str, Any], tuple[str, str] | None]:
    """See `PipelineRegistry.check_task`."""
    return PIPELINE_REGISTRY.check_task(task)
