"""What a model's task takes and gives, for whoever builds a form for it: `x-onnxpipe` in `/openapi.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxpipe.serving.inputs import AUDIO, MEDIA, VIDEOS
from onnxpipe.serving.served import ServedModel
from onnxpipe.tasks.base.call_types import GenerateArguments
from onnxpipe.tasks.base.generation import GenerationPipeline
from onnxpipe.tasks.base.option_docs import option_docs
from onnxpipe.tasks.base.spec import InputPart, TaskSpec

#: Parameters that a form shows before all others, if the task has them.
_FIRST = (
    "src_lang", "tgt_lang", "language", "prompt", "negative_prompt", "num_inference_steps", "max_new_tokens",
    "do_sample", "temperature", "top_p", "top_k", "repetition_penalty", "seed", "threshold",
)  # fmt: skip
#: All parameters are shown if they are no more.
_FEW = 6
#: The table that stands in the form of tasks that take one.
_TABLE = "month,units\nApril,120\nMay,180\nJune,95\n"


def form_of(served: ServedModel) -> dict[str, Any]:
    """Describe the form of a model.

    Returns:
        `fields`, the parts of its input and the parameters without which there is no call, each with `name` (None for
        an input that has no parts), `place` ("inputs" or "parameters"), `kind` ("text", "texts", "image", "video",
        "audio", "table", "chat" or "json") and an `example`; `parameters`, those that are set to begin with; `first`
        and `more`, the names of parameters that are shown, and that need not be; `streams`; `text`, the key of the
        text that is generated; `pair`, whether the parts are a list; `file`, the type of answers that are files:
        "image" or "audio".
    """
    spec = served.spec
    positional, keywords = spec.example_call()
    known = served.parameters
    fields = _fields(served, positional, keywords)
    taken = {field["name"] for field in fields}
    shown = {} if served.has_chat_template else keywords  # those of the example belong to its text
    parameters = {**{name: value for name, value in shown.items() if name in known}, **_suggested(served)}
    usable = [name for name in known if name not in taken | _unused(served)]
    few = len(usable) <= _FEW
    first = [name for name in dict.fromkeys((*parameters, *_FIRST, *(usable if few else ()))) if name in usable]
    return {
        "model": served.name,
        "task": served.task,
        "help": spec.help,
        "fields": fields,
        "parameters": {name: value for name, value in parameters.items() if name not in taken},
        "first": first,
        "more": [name for name in usable if name not in first],
        "streams": isinstance(served.pipe, GenerationPipeline) and served.pipe.can_stream(),
        "text": spec.text_key,
        "pair": spec.parts_as_list,
        "file": spec.output if spec.output == "audio" or not spec.columns({}, None).names else None,
    }


def _suggested(served: ServedModel) -> dict[str, Any]:
    """Return the parameters without which an answer cannot be drawn as it could."""
    drawing = {name: value for name, value in served.spec.drawing_params.items() if name in served.parameters}
    if served.spec.output != "transcript":
        return drawing
    from onnxpipe.tasks.speech_recognition.live import best_timestamps  # imported already, with the model's task

    return {**drawing, **best_timestamps(served.pipe)}


def _unused(served: ServedModel) -> set[str]:
    """Return the parameters of generation of a task whose model does not generate."""
    can_generate = getattr(served.pipe.model, "can_generate", None)
    if can_generate is None or can_generate():
        return set()
    return set(GenerateArguments.__annotations__) - {each.name for each in option_docs(served.pipe.Options)}


def _fields(served: ServedModel, positional: list[Any], keywords: dict[str, Any]) -> list[dict[str, Any]]:
    spec, pipe = served.spec, served.pipe
    first = positional[0] if positional else None
    if served.has_chat_template:
        media = (["image"] if spec.takes_images else []) + (["video"] if spec.takes_videos else [])
        fields = [{"name": None, "place": "inputs", "kind": "chat", "media": media, "example": None}]
    elif spec.parts:
        examples = {**dict(zip((part.name for part in spec.parts), positional, strict=False)), **keywords}
        fields = [_part(part, examples.get(part.name), spec) for part in spec.parts]
    elif isinstance(first, Mapping):
        fields = [_part(InputPart(name, isinstance(value, list)), value, spec) for name, value in first.items()]
    else:
        example = first[0] if isinstance(first, list) and first else first
        kind = "image" if spec.input == "multimodal" else spec.input or "json"
        fields = [_field(None, kind, example, spec)]
    mask = getattr(getattr(pipe, "tokenizer", None), "mask_token", None)
    if mask:
        for field in fields:
            if isinstance(field["example"], str):
                field["example"] = field["example"].replace("<mask>", mask)
    if spec.needs_labels:
        labels = _part(InputPart("candidate_labels", is_list=True), keywords.get("candidate_labels"), spec)
        fields.append({**labels, "place": "parameters"})
    if spec.input == "image" and getattr(pipe, "generator", None) is not None:
        fields.append({**_field("prompt", "text", None, spec), "place": "parameters"})
    return fields


def _part(part: InputPart, example: Any, spec: TaskSpec) -> dict[str, Any]:
    if part.name in AUDIO:
        kind = "audio"
    elif part.name in MEDIA or (spec.parts_as_list and spec.input == "image"):
        kind = "video" if part.name in VIDEOS else "image"
    elif part.name == "table":
        kind = "table"
    else:
        kind = "texts" if part.is_list else "json" if isinstance(example, Mapping) else "text"
    return _field(part.name, kind, example, spec)


def _field(name: str | None, kind: str, example: Any, spec: TaskSpec) -> dict[str, Any]:
    """Describe a field; files have no example, but a table does."""
    shown = _TABLE if kind == "table" else example if kind in ("text", "texts", "json") else None
    found = {"name": name, "place": "inputs", "kind": kind, "example": shown}
    return {**found, "or_video": True} if kind == "image" and spec.takes_videos else found
