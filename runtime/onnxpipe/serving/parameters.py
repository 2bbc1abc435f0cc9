"""The parameters that a request may set: plain values, from what a task's options and calls say of themselves.

Nothing among them names a file, a model, a class or a function.
"""

from __future__ import annotations

import dataclasses
import difflib
import sys
import types
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from onnxpipe.serving.bodies import json_type
from onnxpipe.serving.faults import bad_request
from onnxpipe.serving.settings import ServeSettings
from onnxpipe.tasks.base.option_docs import option_docs

#: Options that name files, start programs, reach into the process or change what kind of answer comes back.
_NEVER = frozenset({
    # how a call is run
    "num_workers", "batch_size", "on_error", "progress", "ignore_warning", "timeout", "verbose", "synced_gpus",
    "low_memory", "prefill_chunk_size", "use_cache", "cache_implementation", "max_cache_len", "use_mtp",
    "disable_compile", "is_assistant",
    # files and programs
    "ocr", "lang", "tesseract_config",
    # other answers
    "return_tensors", "return_type", "return_text", "return_dict_in_generate", "output_attentions",
    "output_hidden_states", "output_scores", "output_logits", "return_overflowing_tokens", "return_offsets_mapping",
    "return_special_tokens_mask", "return_token_type_ids", "return_attention_mask", "return_length",
    "is_split_into_words",
    # what the command line alone takes
    "prompt_ids", "is_multilingual",
    # what a call notes for itself
    "warned",
})  # fmt: skip

#: Schemas of parameters whose types say too little.
_SPECIAL: Mapping[str, dict[str, Any]] = {
    "candidate_labels": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
    "response_format": {"type": "object"},
    "padding": {"anyOf": [{"type": "boolean"}, {"type": "string"}]},
    "truncation": {"anyOf": [{"type": "boolean"}, {"type": "string"}]},
    "tools": {"type": "array", "items": {"type": "object"}},
    "documents": {"type": "array", "items": {"type": "object"}},
    "forward_params": {"type": "object"},
}

#: Names under which clients nest the parameters of generation.
_NESTED = ("generate_kwargs", "generate_parameters", "generation_parameters", "generation_kwargs")
#: Entries of `forward_params` that name one of the model's own voices; in Python some may be files.
VOICES = ("voice", "voice_preset", "history_prompt")
#: Other spellings.
_SPELLINGS = {"candidateLabels": "candidate_labels"}
#: Characters of a parameter that is a text.
_LONGEST = 20_000


def schemas(pipeline: type) -> dict[str, dict[str, Any]]:
    """Return the parameters of a task's calls, each with its JSON schema, by name."""
    hints: dict[str, Any] = {}
    module = vars(sys.modules[pipeline.__module__])
    options = getattr(pipeline, "Options", None)
    for name, each in module.items():
        if name.endswith("CallOptions") and is_typeddict(each):
            hints |= _hints(each)
    if options is not None:
        hints |= _hints(options)
    about = _about(options)
    found = {}
    for name, hint in hints.items():
        if name in _NEVER:
            continue
        schema = _SPECIAL.get(name) or _schema(hint)
        if schema is not None:
            found[name] = {**schema, **about.get(name, {})}
    return dict(sorted(found.items()))


def _about(options: Any) -> dict[str, dict[str, Any]]:
    """Return what a dataclass of options says of its fields: a description, and the default if it is a plain value."""
    if options is None:
        return {}
    found: dict[str, dict[str, Any]] = {
        each.name: {"description": each.text[:1].upper() + each.text[1:]} for each in option_docs(options) if each.text
    }
    for field in dataclasses.fields(options):
        default = field.default.name.lower() if isinstance(field.default, Enum) else field.default
        if field.name in found and isinstance(default, (bool, int, float, str)):
            found[field.name]["default"] = default
    return found


def _hints(owner: Any) -> dict[str, Any]:
    """Return the types of a class's fields; those that only type checkers can resolve are left out."""
    try:
        return get_type_hints(owner)
    except (NameError, TypeError):
        return {}


def _schema(hint: Any) -> dict[str, Any] | None:
    """Return the JSON schema of a type of plain values; None for any other."""
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    parts = [part for kind in kinds if kind is not type(None) and (part := _part(kind, kinds)) is not None]
    parts = [part for number, part in enumerate(parts) if part not in parts[:number]]
    if not parts:
        return None
    if type(None) in kinds:
        parts.append({"type": "null"})
    return parts[0] if len(parts) == 1 else {"anyOf": parts}


def _part(kind: Any, kinds: Sequence[Any]) -> dict[str, Any] | None:
    plain = {bool: "boolean", int: "integer", float: "number", str: "string"}
    if kind in plain:
        return {"type": plain[kind]}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [each.name.lower() for each in kind]} if str in kinds else None
    origin = get_origin(kind)
    if origin is Literal:
        return {"enum": [each for each in get_args(kind) if each != ""]}
    if isinstance(origin, type) and issubclass(origin, Iterable) and not issubclass(origin, Mapping):
        items = [_part(each, ()) for each in get_args(kind) if each is not Ellipsis]
        if not items or any(item is None for item in items):
            return None
        distinct = [item for number, item in enumerate(items) if item not in items[:number]]
        return {"type": "array", "items": distinct[0] if len(distinct) == 1 else {"anyOf": distinct}}
    return None


def read_parameters(given: Mapping[str, Any], known: Mapping[str, Any], settings: ServeSettings) -> dict[str, Any]:
    """Check a request's parameters: their names, and how much they ask for. Their values the pipeline checks.

    Args:
        given: as they came.
        known: those that the task has.
        settings: the bounds.

    Returns:
        Keywords of the pipeline's call. A parameter that is null is one that was not passed, unless null means
        something: then the pipeline knows.

    Raises:
        RequestFault: 400: an unknown parameter (with the nearest known one), or one beyond its bound.
    """
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name in _NESTED:
            if value is None:
                continue
            if not isinstance(value, Mapping):
                raise bad_request(f"{name} must be an object of parameters", name)
            found |= read_parameters(value, known, settings)
            continue
        found[_SPELLINGS.get(name, name)] = value
    for name, value in found.items():
        if name not in known:
            raise unknown_field(name, known)
        _check_kind(name, value, known[name])
        _check_bound(name, value, settings)
    return found


def unknown_field(name: str, known: Iterable[str], where: str = "parameter") -> Exception:
    """Make the fault of an unknown field: it names the nearest known one."""
    listed = sorted(known)
    near = difflib.get_close_matches(name, listed, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(listed) or 'none'}"
    return bad_request(f"unknown {where} {name!r:.100}; {hint}", name[:100])


def _check_kind(name: str, value: Any, schema: Mapping[str, Any]) -> None:
    """Refuse values of a kind that a parameter does not have: Python takes "no" for true, and true for 1."""
    kinds = {each.get("type") for each in schema.get("anyOf", [schema])}
    if value is None or None in kinds or any(_is_kind(value, kind) for kind in kinds):
        return
    known = ", ".join(sorted(map(str, kinds - {"null"})))
    raise bad_request(f"{name} is of the type {known}; got {json_type(value)}", name)


def _is_kind(value: Any, kind: Any) -> bool:
    if isinstance(value, bool):
        return bool(kind == "boolean")
    if isinstance(value, (int, float)):
        return kind == "number" or (kind == "integer" and value == int(value))
    return isinstance(value, {"string": str, "array": list, "object": dict}.get(kind, ()))


def _check_bound(name: str, value: Any, settings: ServeSettings) -> None:
    most = settings.most(name)
    if most is not None and isinstance(value, (int, float)) and not isinstance(value, bool) and value > most:
        raise bad_request(f"{name}={value} is more than the {most:g} that this server allows", name)
    if name == "chunk_length_s" and isinstance(value, (int, float)) and 0 < value < 1:
        raise bad_request(f"chunk_length_s={value} is less than the 1 that this server allows", name)
    if isinstance(value, str) and len(value) > _LONGEST:
        raise bad_request(f"{name} has {len(value):,} characters; the most are {_LONGEST:,}", name)
    if isinstance(value, list) and name not in ("tools", "documents") and len(value) > settings.max_labels:
        raise bad_request(f"{name} has {len(value):,} entries; the most are {settings.max_labels:,}", name)
    if name == "forward_params" and isinstance(value, Mapping):
        for key, each in value.items():
            if not isinstance(each, (int, float)) and key not in (*VOICES, "language"):
                raise bad_request(f"forward_params.{key} must be a number", name)


def fields_of(options: Any) -> set[str]:
    """Return the names of a dataclass's fields."""
    return {each.name for each in dataclasses.fields(options)}
