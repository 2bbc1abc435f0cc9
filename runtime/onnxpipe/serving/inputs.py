"""Turn what a request holds into a pipeline's input. Only data comes in: no string of a request is ever a path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from onnxpipe.processing.data_urls import decode_base64, decode_data_url, is_data_url
from onnxpipe.processing.urls import is_url
from onnxpipe.serving.bodies import json_type
from onnxpipe.serving.faults import RequestFault, bad_request
from onnxpipe.serving.settings import ServeSettings
from onnxpipe.tasks.base.chats import is_chat
from onnxpipe.tasks.base.spec import TaskSpec

#: Parts of an input that are videos, that are recordings, and that are any of these or images.
VIDEOS = frozenset({"video", "videos"})
AUDIO = frozenset({"audio"})
MEDIA = frozenset({"image", "images", "mask_image", "control_image", *VIDEOS, *AUDIO})
#: Parts that are texts, numbers or data.
_DATA = frozenset({
    "text", "text_pair", "question", "context", "query", "documents", "source_sentence", "sentences", "table",
    "candidate_labels", "prompt", "negative_prompt", "state", "questions", "word_boxes",
})  # fmt: skip
#: Keys of a message, and of its parts by their type.
_MESSAGE = frozenset({"role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content"})
_PARTS: Mapping[str, str] = {
    "text": "text", "image": "image", "image_url": "image", "input_audio": "audio", "audio": "audio",
    "audio_url": "audio", "video": "video", "video_url": "video",
}  # fmt: skip


def read_inputs(value: Any, spec: TaskSpec, settings: ServeSettings) -> Any:
    """Turn the `inputs` of a request into the first argument of the pipeline's call.

    Args:
        value: JSON, or the bytes of a file.
        spec: the task.
        settings: the limits.

    Raises:
        RequestFault: 400 for a string that is no data, 413 for too many inputs.
    """
    if value is None:
        raise bad_request('the request has no "inputs"', "inputs")
    many = isinstance(value, list) and not is_chat(value) and not _is_one(value, spec)
    if many and len(value) > settings.max_inputs:
        raise RequestFault(
            413, f"the request has {len(value):,} inputs; the most are {settings.max_inputs}", "too_many", "inputs"
        )
    return [_input(each, spec, settings) for each in value] if many else _input(value, spec, settings)


def _is_one(value: list[Any], spec: TaskSpec) -> bool:
    """Whether a list is one input: the two images of a pair."""
    return spec.parts_as_list and len(value) == len(spec.parts) and not isinstance(value[0], list)


def _input(value: Any, spec: TaskSpec, settings: ServeSettings) -> Any:
    if isinstance(value, bytes):
        return value
    if is_chat(value):
        return [_message(each, settings) for each in value]
    if isinstance(value, Mapping):
        return {name: _part(name, each, spec, settings) for name, each in value.items()}
    if isinstance(value, list) and spec.takes_files:
        return [_input(each, spec, settings) for each in value]
    if isinstance(value, str) and spec.takes_files and spec.input != "multimodal":
        return media(value, settings)
    return value


def _part(name: str, value: Any, spec: TaskSpec, settings: ServeSettings) -> Any:
    known = {part.name for part in spec.parts} | MEDIA | _DATA | {"assets"}
    if name not in known:
        raise bad_request(f"an input has no part {name!r:.100}; known: {', '.join(sorted(known))}", "inputs")
    if name == "assets" and isinstance(value, Mapping):
        return {key: media(each, settings) for key, each in value.items()}
    if name in MEDIA:
        return media(value, settings)
    if name == "table" and isinstance(value, str):
        raise bad_request("a table is an object of columns, or a list of rows", "inputs")
    if isinstance(value, list) and len(value) > max(settings.max_labels, settings.max_inputs) and name != "word_boxes":
        limit = settings.max_labels
        raise RequestFault(413, f"{name} has {len(value):,} entries; the most are {limit}", "too_many", "inputs")
    return value


def media(value: Any, settings: ServeSettings) -> Any:
    """Turn base64 or a data: URL into bytes; a list of them into a list.

    Raises:
        RequestFault: 400: it is neither. A URL is taken only where the server allows it.
    """
    if isinstance(value, bytes):
        return value
    if isinstance(value, list):
        return [media(each, settings) for each in value]
    if isinstance(value, Mapping) and set(value) <= {"url", "data_base64", "data", "format", "detail"}:
        return media(next((value[key] for key in ("url", "data_base64", "data") if key in value), None), settings)
    if not isinstance(value, str):
        raise bad_request(f"a file is base64 or a data: URL, got {json_type(value)}", "inputs")
    if is_url(value):
        if settings.allow_urls:
            return value
        raise bad_request("this server fetches no URLs: send the file as base64 or as a data: URL", "inputs")
    try:
        data = decode_data_url(value) if is_data_url(value) else decode_base64(value)
    except ValueError:
        raise bad_request("a file must be base64 or a data: URL; what came is neither", "inputs") from None
    if not data:
        raise bad_request("the file is empty", "inputs")
    return data


def read_messages(messages: Any, settings: ServeSettings) -> list[dict[str, Any]]:
    """Read the messages of a chat.

    Raises:
        RequestFault: 400: no list of messages, or a part of an unknown type.
    """
    if not isinstance(messages, list) or not messages:
        raise bad_request('"messages" must be a list of at least one message', "messages")
    return [_message(each, settings) for each in messages]


def _message(message: Any, settings: ServeSettings) -> dict[str, Any]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise bad_request("each message is an object with a role and a content", "messages")
    known = _check_keys(message, _MESSAGE, "a message")
    content = known.get("content")
    if isinstance(content, list):
        known["content"] = [_content(each, settings) for each in content]
    elif content is None:
        known["content"] = ""
    elif not isinstance(content, str):
        raise bad_request(f"a message's content is a text or a list of parts, got {json_type(content)}", "messages")
    return known


def _content(part: Any, settings: ServeSettings) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(kind, str) or kind not in _PARTS:
        raise bad_request(
            f"a part of a message is of one of the types {', '.join(_PARTS)}; got {kind!r:.50}", "messages"
        )
    value = part.get(kind)
    if kind == "text":
        if not isinstance(value, str):
            raise bad_request("a part of the type text has a text", "messages")
        return {"type": "text", "text": value}
    if value is None:
        raise bad_request(f"a part of the type {kind} has no {kind}", "messages")
    return {"type": _PARTS[kind], _PARTS[kind]: media(value, settings)}


def _check_keys(value: Mapping[str, Any], known: Iterable[str], where: str) -> dict[str, Any]:
    for name in value:
        if name not in known:
            raise bad_request(f"{where} has no {name!r:.100}; known: {', '.join(sorted(known))}", "messages")
    return {name: each for name, each in value.items() if each is not None}


def flat_text(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join the texts of messages whose content is a list of texts alone, for models that only read texts.

    Raises:
        RequestFault: 400: a part is not a text.
    """
    found = []
    for message in messages:
        content = message["content"]
        if isinstance(content, list):
            other = next((part["type"] for part in content if part["type"] != "text"), None)
            if other is not None:
                raise bad_request(f"this model reads texts: it takes no {other}", "messages")
            content = "".join(part["text"] for part in content)
        found.append({**message, "content": content})
    return found
