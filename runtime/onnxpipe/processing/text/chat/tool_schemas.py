"""Build JSON schemas of Python functions from their type hints and docstrings, to describe tools to chat models.

Docstrings are in Google's style. Source: the schemas that transformers 5.23's `get_json_schema` returns.
"""

from __future__ import annotations

import inspect
import json
import re
import types
from collections.abc import Callable
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

Schema = dict[str, Any]

_SCALARS: dict[Any, str] = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}
_NAMES: dict[Any, str] = {**_SCALARS, list: "array", tuple: "array", dict: "object"}

_SECTION = re.compile(r"\n[ \t]*(Args|Returns|Raises):")
_ARGUMENT = re.compile(r"(\w+):\s*(.*)", re.DOTALL)
_CHOICES = re.compile(r"\(choices:\s*(.*?)\)\s*$", re.IGNORECASE)


class TypeHintError(ValueError):
    """A type hint that has no JSON schema."""


class DocstringError(ValueError):
    """A function whose docstring lacks what its schema needs."""


def schema_of(tool: Callable[..., Any]) -> Schema:
    """Build the schema of a function or method: {"type": "function", "function": {name, description, parameters}}.

    Args:
        tool: every argument has a type hint and, in the docstring's `Args:`, a description; one that ends in
            `(choices: ["a", "b"])` gives the argument an `enum`.

    Raises:
        ValueError: neither function nor method, a missing hint or description, or a hint without a JSON schema.
    """
    if not (inspect.isfunction(tool) or inspect.ismethod(tool)):
        raise ValueError(
            "Tools should either be a JSON schema, or a callable function with type hints "
            "and a docstring suitable for auto-conversion to a schema."
        )
    text = (inspect.getdoc(tool) or "").strip()
    if not text:
        raise DocstringError(f"Cannot generate JSON schema for {tool.__name__} because it has no docstring!")
    description, arguments, returned = read_docstring(text)
    hints = get_type_hints(tool)
    parameters = _parameters(tool, hints)
    for name, schema in parameters["properties"].items():
        if name not in arguments:
            raise DocstringError(
                f"Cannot generate JSON schema for {tool.__name__} because the docstring has no description for the "
                f"argument '{name}'"
            )
        _describe(schema, arguments[name])
    function = {"name": tool.__name__, "description": description, "parameters": parameters}
    if "return" in hints:
        try:
            result = type_schema(hints["return"])
        except TypeHintError:  # the model never generates it: the schema is complete without it
            return {"type": "function", "function": function}
        function["return"] = {**result, "description": returned} if returned is not None else result
    return {"type": "function", "function": function}


def read_docstring(text: str) -> tuple[str, dict[str, str], str | None]:
    """Split a docstring into its description, its arguments' descriptions, and that of the result (None if missing)."""
    marks = list(_SECTION.finditer("\n" + text))
    padded = "\n" + text
    description = padded[: marks[0].start() if marks else len(padded)].strip()
    sections: dict[str, str] = {}
    for mark, after in zip(marks, [*marks[1:], None]):
        sections.setdefault(mark[1], padded[mark.end() : after.start() if after else len(padded)])
    returned = sections.get("Returns")
    return description, _arguments(sections.get("Args", "")), None if returned is None else returned.strip()


def type_schema(hint: Any) -> Schema:
    """Build the schema of a type hint.

    Raises:
        TypeHintError: the hint has no JSON schema.
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin is None:
        return _plain_schema(hint)
    if origin in (Union, types.UnionType):
        return _union_schema(args)
    if origin is Literal:
        if any(type(value) not in _SCALARS for value in args):
            raise TypeHintError("Only the valid python literals can be listed in typing.Literal.")
        return _choice_schema(list(args))
    if origin is list:
        return {"type": "array", "items": type_schema(args[0])}
    if origin is tuple:
        return _tuple_schema(hint, args)
    if origin is dict:
        return {"type": "object", **({"additionalProperties": type_schema(args[1])} if len(args) == 2 else {})}
    raise TypeHintError(f"Couldn't parse this type hint, likely due to a custom class or object: {hint}")


def _parameters(tool: Callable[..., Any], hints: dict[str, Any]) -> Schema:
    parameters = inspect.signature(tool).parameters
    receiver = next(iter(parameters), None)
    if receiver not in ("self", "cls") or parameters[receiver].annotation is not inspect.Parameter.empty:
        receiver = None
    for name, parameter in parameters.items():
        if name != receiver and parameter.annotation is inspect.Parameter.empty:
            raise TypeHintError(f"Argument {name} is missing a type hint in function {tool.__name__}")
    properties = {name: type_schema(hint) for name, hint in hints.items() if name not in (receiver, "return")}
    schema: Schema = {"type": "object", "properties": properties}
    required = [n for n, p in parameters.items() if n != receiver and p.default is inspect.Parameter.empty]
    return {**schema, "required": required} if required else schema


def _describe(schema: Schema, text: str) -> None:
    choices = _CHOICES.search(text)
    if choices:
        values = json.loads(choices[1])
        schema["enum"] = [value.strip() if isinstance(value, str) else value for value in values]
        text = text[: choices.start()].strip()
    schema["description"] = text


def _arguments(section: str) -> dict[str, str]:
    """Parse `name: description` of each entry; lines that are indented deeper than the first continue an entry."""
    lines = [line for line in section.split("\n") if line.strip()]
    entries: list[str] = []
    margin = 0
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if not entries or (indent <= margin and re.match(r"\s*\w+:", line)):
            margin = indent
            entries.append(line.strip())
        else:
            entries[-1] += "\n" + line
    found = (_ARGUMENT.match(entry) for entry in entries)
    return {match[1]: re.sub(r"\s*\n+\s*", " ", match[2].strip()) for match in found if match}


def _plain_schema(hint: Any) -> Schema:
    if isinstance(hint, type) and issubclass(hint, Enum):
        values = [member.value for member in hint]
        if not values:
            raise TypeHintError(f"The Enum {hint.__name__} has no members, so no value could ever match it.")
        if any(type(value) not in _SCALARS for value in values):
            raise TypeHintError(
                f"The Enum {hint.__name__} has member values that cannot be written as JSON scalars.\n"
                f"Values: {values}\n"
                "Enum member values must be int, float, str, bool or None to be converted to a JSON schema."
            )
        return _choice_schema(values)
    if hint is Any:
        return {}
    try:
        name = _NAMES.get(hint)
    except TypeError:  # not hashable
        name = None
    if name is None:
        raise TypeHintError(
            f"Couldn't convert the type hint {hint!r} to a JSON schema, likely because it is a custom class or object. "
            "Supported type hints are basic types like int, float, str and bool, Enum classes, typing.Literal, and "
            "list, tuple, dict and Union types containing those. If you need a more complex schema than that, you can "
            "write the JSON schema for your tool by hand and pass that instead of the function."
        )
    return {"type": name}


def _choice_schema(values: list[Any]) -> Schema:
    names = list(dict.fromkeys(_SCALARS[type(value)] for value in values))
    return {"type": names[0] if len(names) == 1 else names, "enum": values}


def _union_schema(args: tuple[Any, ...]) -> Schema:
    schemas = [type_schema(arg) for arg in args if arg is not type(None)]
    if len(schemas) == 1:
        schema = schemas[0]
    elif all(schema.keys() == {"type"} and isinstance(schema["type"], str) for schema in schemas):
        names = sorted({schema["type"] for schema in schemas})
        schema = {"type": names[0] if len(names) == 1 else names}
    else:
        schema = {"anyOf": schemas}
    return {**schema, "nullable": True} if type(None) in args else schema


def _tuple_schema(hint: Any, args: tuple[Any, ...]) -> Schema:
    if len(args) == 1:
        raise TypeHintError(
            f"The type hint {str(hint).replace('typing.', '')} is a Tuple with a single element, which has no schema "
            "of its own: use list[...] for any number of them, or the element's type alone."
        )
    if ... in args:
        raise TypeHintError("Conversion of '...' is not supported in Tuple type hints. Use list[] types instead.")
    return {"type": "array", "prefixItems": [type_schema(arg) for arg in args]}
