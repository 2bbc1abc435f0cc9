"""Read a `response_format`: JSON by a schema, a regular expression or a grammar, as the OpenAI API has it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from onnxpipe.errors import MissingDependencyError

KINDS = ("text", "json_object", "json_schema", "regex", "grammar")
"""The types of a `response_format`."""

_WRAPPER = frozenset({"name", "description", "strict", "schema"})
"""The keys of OpenAI's wrapper of a schema."""

_KEYS: Mapping[Any, frozenset[str]] = {
    "text": frozenset(),
    "json_object": frozenset({"schema"}),
    "json_schema": frozenset({"json_schema", "schema"}),
    "regex": frozenset({"regex", "pattern"}),
    "grammar": frozenset({"grammar"}),
}
"""The keys that a `response_format` may have beside its type."""

_JSON: dict[str, Any] = {"whitespace_pattern": r"[\x20\x0A\x0D\x09]{1,4}"}
"""At most four blanks between parts of JSON: a model that begins to repeat them would spend all its tokens on them."""


def grammar_source(response_format: Any) -> str | None:
    """Make llguidance's grammar of a `response_format`; None for plain text. See `onnxpipe.generation.grammar`."""
    if response_format is None:
        return None
    schema = getattr(response_format, "model_json_schema", None)
    if callable(schema):
        return _json_grammar(schema())
    if not isinstance(response_format, Mapping):
        raise ValueError(f'response_format must be a dict with a "type" of {", ".join(KINDS)}, not {response_format!r}')
    kind = response_format.get("type")
    unknown = response_format.keys() - {"type"} - _KEYS[kind] if isinstance(kind, str) and kind in _KEYS else set()
    if unknown:
        raise ValueError(f"response_format: {', '.join(map(repr, sorted(unknown)))} means nothing to type {kind!r}")
    if kind == "text":
        return None
    if kind == "json_object" and "schema" not in response_format:
        return _json_grammar({"type": "object"})
    if kind == "json_object":
        return _json_grammar({"allOf": [{"type": "object"}, _schema_of(response_format)]})
    if kind == "json_schema":
        return _json_grammar(_schema_of(response_format))
    if kind == "regex":
        return str(matcher_class().grammar_from_regex(_text(response_format, "regex", "pattern")))
    if kind == "grammar":
        return str(matcher_class().grammar_from_lark(_text(response_format, "grammar")))
    if kind in ("object", "array", "string", "number", "integer", "boolean", "null") or (
        kind is None and response_format.keys() & {"$ref", "$defs", "properties", "anyOf", "oneOf", "allOf", "enum"}
    ):
        return _json_grammar(response_format)
    raise ValueError(f"response_format: type {kind!r} is not one of {', '.join(KINDS)}, nor is it a JSON schema")


def _json_grammar(schema: Any) -> str:
    try:
        return str(matcher_class().grammar_from_json_schema(json.dumps(schema), defaults=_JSON))
    except (TypeError, ValueError) as error:
        raise ValueError(f"response_format: {error}") from error


def _schema_of(response_format: Mapping[str, Any]) -> Any:
    entry = response_format.get("json_schema", response_format.get("schema"))
    schema = getattr(entry, "model_json_schema", None)
    if callable(schema):
        return schema()
    if isinstance(entry, Mapping) and set(entry) <= _WRAPPER:  # OpenAI's wrapper; a bare schema has other keywords
        entry = entry.get("schema")
        schema = getattr(entry, "model_json_schema", None)
        if callable(schema):
            return schema()
    if entry is True:  # JSON Schema's schema of anything
        return {}
    if not isinstance(entry, Mapping):
        found = "there is none" if entry is None else f"it is {entry!r:.80}"
        raise ValueError(
            'response_format: {"type": "json_schema"} needs "json_schema": {"schema": {…}}, the schema a dict; '
            f"{found}"
        )
    return entry


def _text(response_format: Mapping[str, Any], *names: str) -> str:
    for name in names:
        if isinstance(text := response_format.get(name), str):
            if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
                raise ValueError(f'response_format: "{name}" has a lone surrogate, which is no character')
            return text
    raise ValueError(f'response_format: {{"type": "{names[0]}"}} needs "{names[0]}": a str')


def matcher_class() -> Any:
    """Import llguidance's matcher.

    Raises:
        MissingDependencyError: llguidance is not installed.
    """
    try:
        from llguidance import LLMatcher
    except ImportError as error:
        raise MissingDependencyError(
            'response_format needs llguidance; install it with: pip install "onnxpipe[grammar]"'
        ) from error
    return LLMatcher
