"""The models that a server has: each loaded once, with one queue."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from onnxpipe._version import __version__
from onnxpipe.engine.memory import available_memory
from onnxpipe.engine.queue import Queue
from onnxpipe.engine.tickets import BatchReport
from onnxpipe.serving.faults import RequestFault, bad_request
from onnxpipe.serving.parameters import VOICES, read_parameters, schemas
from onnxpipe.serving.settings import ServeSettings
from onnxpipe.tasks.base.generation import GenerationPipeline
from onnxpipe.tasks.base.spec import TaskSpec
from onnxpipe.tasks.registry import task_spec

#: What clients of the OpenAI API send where they know of no model's name.
_ANY_MODEL = frozenset({"", "dummy", "default"})
#: What the Hugging Face Hub calls a task that has another name here.
_TASK_NAMES = {"text-to-speech": "text-to-audio", "sentiment-analysis": "text-classification"}

#: Tokens that generation starts from: the graph is run with them as they are.
_BEGINNINGS = frozenset({"bos_token_id", "decoder_start_token_id"})


@dataclass
class ServedModel:
    """A pipeline that a server answers with.

    Attributes:
        name: by which requests name it.
        pipe: the pipeline.
        queue: where the rows of all its requests wait.
        created: when it was loaded, in seconds since 1970.
    """

    name: str
    pipe: Any
    queue: Queue
    created: int = field(default_factory=lambda: int(time.time()))

    @cached_property
    def spec(self) -> TaskSpec:
        """The record of its task."""
        return task_spec(self.pipe.task)

    @property
    def task(self) -> str:
        """The name of its task."""
        return self.spec.name

    @cached_property
    def parameters(self) -> Mapping[str, Any]:
        """The parameters that requests may set, with their JSON schemas."""
        return schemas(type(self.pipe))

    @property
    def has_chat_template(self) -> bool:
        """Whether its inputs may be chats, which its template turns into texts."""
        holder = getattr(self.pipe, "processor", None) or getattr(self.pipe, "tokenizer", None)
        return self.spec.chats and getattr(holder, "chat_template", None) is not None

    def read_parameters(self, given: Any, settings: ServeSettings) -> dict[str, Any]:
        """See `parameters.read_parameters`."""
        given = {} if given is None else given
        if not isinstance(given, Mapping):
            raise bad_request('"parameters" must be an object', "parameters")
        found = read_parameters(given, self.parameters, settings)
        chosen = {"max_new_tokens", "max_length"} & found.keys()
        if not chosen and "max_new_tokens" in self.parameters and self.default_tokens > settings.max_new_tokens:
            found["max_new_tokens"] = settings.max_new_tokens
        for name, value in (found.get("forward_params") or {}).items():
            if name in VOICES and value not in self.voices:
                raise bad_request(f"{name}={value!r:.50}: there are {', '.join(self.voices) or 'none'}", name)
        size: int = getattr(self.pipe.model, "vocab_size", None) or 0
        for name in _BEGINNINGS & found.keys() if size else ():
            tokens = found[name] if isinstance(found[name], list) else [found[name]]
            if any(isinstance(token, int) and not 0 <= token < size for token in tokens):
                raise bad_request(f"{name}={found[name]!r}: the tokens of the model are 0 to {size - 1}", name)
        return found

    @cached_property
    def default_tokens(self) -> int:
        """The most tokens that a call generates which does not say how many."""
        pipe = self.pipe
        return pipe.new_tokens(pipe.resolved(pipe.options), 0) if isinstance(pipe, GenerationPipeline) else 0

    @cached_property
    def voices(self) -> tuple[str, ...]:
        """The names of the model's voices; none where it has one."""
        model = self.pipe.model
        return tuple(getattr(model, "voices", ()) or getattr(model, "available_voice_presets", ()))

    @property
    def secrets(self) -> dict[str, str]:
        """What messages must not tell, with what they say instead: where the model lies."""
        model = getattr(self.pipe, "model", None)
        folder = getattr(getattr(model, "bundle", None), "folder", None)
        places = [str(each) for each in (getattr(model, "name_or_path", None), folder) if each]
        return {place: self.name for place in sorted(places, key=len, reverse=True) if "/" in place or "\\" in place}

    def info(self) -> dict[str, Any]:
        """Describe the model."""
        model = self.pipe.model
        config = getattr(model, "config", None)
        return {
            "model_id": self.name,
            "task": self.task,
            "model_dtype": str(self.pipe.dtype),
            "model_type": getattr(config, "model_type", None),
            "version": __version__,
        }


class ModelTable:
    """The models of a server, by name.

    Args:
        settings: the limits of queues.
        on_batch: called after each batch with the model's name.
        workers: threads that run batches, for each model.
    """

    def __init__(
        self,
        settings: ServeSettings,
        on_batch: Callable[[str, BatchReport], None],
        workers: Mapping[str, int] | int = 1,
    ) -> None:
        self._settings, self._on_batch, self._workers = settings, on_batch, workers
        self.models: dict[str, ServedModel] = {}

    def add(self, name: str, pipe: Any) -> ServedModel:
        """Serve a pipeline by a name; one that had it goes on until what waits for it has run.

        Raises:
            ValueError: a name that no path can hold.
        """
        if not name or any(not each.isprintable() or each in "?#%" for each in name):
            raise ValueError(f"a model is served by a name without ?, # and %, got {name!r}")
        workers = self._workers if isinstance(self._workers, int) else self._workers.get(name, 1)
        budget = int(pipe.token_budget * pipe.at_once) or 1
        queue = Queue(
            workers=workers,
            slots=self._settings.slots,
            keep=self._settings.prefix_cache,
            most_cost=self._settings.max_queue * budget,
            most_calls=self._settings.max_calls,
            most_length=_most_length(pipe, self._settings),
            on_batch=lambda report: self._on_batch(name, report),
        )
        before = self.models.get(name)
        self.models[name] = served = ServedModel(name, pipe, queue)
        if before is not None:
            before.queue.close(self._settings.drain_s)
        return served

    def find(self, name: Any = None) -> ServedModel:
        """Find the model that a request names; with one model, a request need not name it.

        Raises:
            RequestFault: 404: no such model; 400: there are several, and none is named.
        """
        if name is not None and not isinstance(name, str):
            raise bad_request('"model" must be a text', "model")
        if name in self.models:
            return self.models[name]
        if name is None or name in _ANY_MODEL:
            if len(self.models) == 1:
                return next(iter(self.models.values()))
            raise bad_request(f"name one of the models: {', '.join(sorted(self.models)) or 'none is loaded'}", "model")
        known = ", ".join(sorted(self.models)) or "none"
        raise RequestFault(404, f"there is no model {name!r:.200} here; there are: {known}", "model_not_found", "model")

    def for_tasks(self, name: Any, fits: Callable[[ServedModel], bool], what: str) -> ServedModel:
        """Find the model that a request names among those that an endpoint is for.

        Raises:
            RequestFault: 400: it is for others.
        """
        if name is not None and not isinstance(name, str):
            raise bad_request('"model" must be a text', "model")
        fitting = [each for each in self.models.values() if fits(each)]
        if (name is None or name in _ANY_MODEL) and len(fitting) == 1:
            return fitting[0]
        found = self.find(name)
        if not fits(found):
            served = ", ".join(f"{each.name} ({each.task})" for each in self.models.values())
            raise bad_request(
                f"{what} is not what {found.name} does, which is for {found.task}; served: {served}", "model"
            )
        return found

    def by_task(self, task: str) -> ServedModel:
        """Find the one model of a task.

        Raises:
            RequestFault: 404: there is none; 400: there are several.
        """
        own = _TASK_NAMES.get(task, task)
        found = [each for each in self.models.values() if own in (each.task, each.pipe.task)]
        if len(found) == 1:
            return found[0]
        if found:
            raise bad_request(f"several models are for {task}: {', '.join(each.name for each in found)}", "model")
        served = ", ".join(sorted({each.task for each in self.models.values()})) or "none"
        raise RequestFault(404, f"no model here is for {task!r:.100}; tasks: {served}", "model_not_found")

    def close(self, drain_s: float) -> None:
        """Close all queues."""
        for each in self.models.values():
            each.queue.close(drain_s)


def _most_length(pipe: Any, settings: ServeSettings) -> int | None:
    """Return the most tokens of a row; None where rows are images or sound.

    Where texts are written together each may fill its part of the memory for caches.
    """
    if not pipe.rows_are_tokens or pipe.input_modalities != "text":
        return None
    graph = getattr(pipe.model, "graph", None)
    memory = settings.cache_memory or (available_memory() or 0) // 4
    size = getattr(graph, "token_bytes", 0)
    if not memory or not size:
        return settings.max_tokens
    return max(1, min(settings.max_tokens, memory // (size * max(1, settings.slots))))


def retry_after(queue: Queue) -> float:
    """Estimate after how many seconds a call is worth another try."""
    return max(1.0, math.ceil(queue.seconds_ahead()))
