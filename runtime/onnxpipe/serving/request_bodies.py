"""The bodies that the dialects' endpoints take, as JSON schemas for `/openapi.json`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from onnxpipe.serving.dialects import openai_audio, openai_chat, openai_completions, openai_embeddings, openai_images
from onnxpipe.serving.dialects.openai_options import text_fields

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": ["boolean", "null"]}
_OBJECT: Schema = {"type": "object"}
_IDS: Schema = {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}}
_TEXTS: Schema = {"type": "array", "minItems": 1, "items": {"type": "string"}}
_TEXTS_OR_IDS: Schema = {"anyOf": [_TEXT, _TEXTS, _IDS, {"type": "array", "minItems": 1, "items": _IDS}]}
_FILE: Schema = {"type": "string", "format": "binary"}


def _number(least: float | None = None, most: float | None = None, kind: str = "number") -> Schema:
    bounds = {"minimum": least, "maximum": most}
    return {"type": [kind, "null"], **{name: value for name, value in bounds.items() if value is not None}}


#: The schemas of fields; those of the same name mean the same everywhere.
_FIELDS: Mapping[str, Schema] = {
    "messages": {"type": "array", "minItems": 1, "items": {
        "type": "object", "required": ["role"], "properties": {
            "role": _TEXT, "content": {"anyOf": [_TEXT, {"type": "array", "items": _OBJECT}, {"type": "null"}]}}}},
    "prompt": _TEXTS_OR_IDS, "input": _TEXTS_OR_IDS, "inputs": _TEXTS_OR_IDS, "query": _TEXT, "texts": _TEXTS,
    "documents": {"type": "array", "minItems": 1, "items": {"anyOf": [_TEXT, _OBJECT]}},
    "ids": {"anyOf": [_IDS, {"type": "array", "minItems": 1, "items": _IDS}]},
    "stream": _FLAG, "echo": _FLAG, "logprobs": {"type": ["boolean", "integer", "null"]}, "parallel_tool_calls": _FLAG,
    "truncate": _FLAG, "normalize": _FLAG, "raw_scores": _FLAG, "return_text": _FLAG, "return_documents": _FLAG,
    "add_special_tokens": _FLAG, "skip_special_tokens": _FLAG, "max_tokens": _number(1, None, "integer"),
    "max_completion_tokens": _number(1, None, "integer"), "n": _number(1, None, "integer"),
    "temperature": _number(0, 2), "frequency_penalty": _number(-2, 2), "presence_penalty": _number(-2, 2),
    "top_logprobs": _number(0, 20, "integer"), "top_n": _number(1, None, "integer"), "speed": _number(0),
    "dimensions": _number(1, None, "integer"), "seed": _number(0, None, "integer"), "file": _FILE,
    "stop": {"anyOf": [_TEXT, {**_TEXTS, "maxItems": 4}, {"type": "null"}]},
    "stream_options": {"type": ["object", "null"], "properties": {"include_usage": _FLAG}},
    "tools": {"type": ["array", "null"], "items": _OBJECT}, "response_format": {"type": ["object", "string", "null"]},
    "logit_bias": {"type": ["object", "null"], "additionalProperties": _number(-100, 100)},
    "encoding_format": {"enum": ["float", "base64", None]}, "truncation_direction": {"enum": ["Right", "right", None]},
    "parameters": {"type": ["object", "null"]}, "outputs": {"type": ["array", "null"], "items": _OBJECT}, "id": {},
}  # fmt: skip
_TRUNCATION = ("truncate", "truncation_direction")
_RERANK = ("model", "query", "documents", "top_n", "return_documents")
_TENSOR: Schema = {"type": "object", "required": ["name", "shape", "datatype"], "properties": {
    "name": _TEXT, "shape": {"type": "array", "items": {"type": "integer"}}, "datatype": _TEXT,
    "data": {"type": "array"}, "parameters": _OBJECT}}  # fmt: skip

#: For each path the fields that a body must have, and all that it may have.
_PATHS: Mapping[str, tuple[tuple[str, ...], Iterable[str]]] = {
    "/v1/chat/completions": (("messages",), text_fields(openai_chat.FIELDS)),
    "/v1/completions": (("prompt",), text_fields(openai_completions.FIELDS)),
    "/v1/embeddings": (("input",), openai_embeddings.FIELDS),
    "/v1/audio/speech": (("input",), openai_audio.SPEECH_FIELDS),
    "/v1/images/generations": (("prompt",), openai_images.FIELDS),
    "/v1/rerank": (("query", "documents"), _RERANK),
    "/v2/rerank": (("query", "documents"), _RERANK),
    "/embed": (("inputs",), ("inputs", "normalize", "prompt_name", "dimensions", *_TRUNCATION)),
    "/embed_all": (("inputs",), ("inputs", *_TRUNCATION)),
    "/embed_sparse": ((), ("inputs",)),
    "/rerank": (("query", "texts"), ("query", "texts", "raw_scores", "return_text", *_TRUNCATION)),
    "/similarity": (("inputs",), ("inputs", "parameters")),
    "/tokenize": (("inputs",), ("inputs", "add_special_tokens", "prompt_name")),
    "/decode": (("ids",), ("ids", "skip_special_tokens")),
}
#: What has another schema at one path.
_OTHER: Mapping[tuple[str, str], Schema] = {
    ("/similarity", "inputs"): {"type": "object", "required": ["source_sentence", "sentences"], "properties": {
        "source_sentence": _TEXT, "sentences": {"type": "array", "items": _TEXT}}},
    ("/tokenize", "inputs"): {"anyOf": [_TEXT, _TEXTS]}, ("/v1/audio/speech", "input"): _TEXT,
    ("/v1/images/generations", "prompt"): _TEXT,
}  # fmt: skip


def body_of(path: str, models: Iterable[str]) -> Schema | None:
    """Describe the body that a path takes, on a server with these models; None for a path that takes none."""
    if path.startswith("/v1/audio/tr"):
        properties = {name: _FILE if name == "file" else _TEXT for name in sorted(openai_audio.FIELDS)}
        properties["model"] = {"enum": sorted(models)}
        form = {"type": "object", "required": ["file"], "properties": properties, "additionalProperties": False}
        return {"required": True, "content": {"multipart/form-data": {"schema": form}}}
    if path.endswith("/infer"):
        fields = {**{name: _FIELDS[name] for name in ("id", "outputs", "parameters")},
                  "inputs": {"type": "array", "minItems": 1, "items": _TENSOR}}  # fmt: skip
        return _json(("inputs",), fields)
    if path not in _PATHS:
        return None
    required, names = _PATHS[path]
    fields = {name: _OTHER.get((path, name)) or _FIELDS.get(name, {}) for name in sorted(names)}
    if "model" in fields:
        fields["model"] = {"enum": [*sorted(models), None]}
    return _json(required, fields)


def _json(required: tuple[str, ...], fields: Mapping[str, Schema]) -> Schema:
    schema = {"type": "object", "required": list(required), "properties": dict(fields), "additionalProperties": False}
    return {"required": True, "content": {"application/json": {"schema": schema}}}
