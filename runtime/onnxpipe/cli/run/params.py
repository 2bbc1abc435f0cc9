"""`--param NAME=VALUE`: read a task's parameters from the command line, typed by the fields of its `Options`."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

import click

from onnxpipe.processing.json_text import parse_json

#: Parameters of the call that have command line options of their own; None for those that have none.
_OWN_OPTIONS = {"batch_size": "--batch-size", "on_error": "--on-error", "num_workers": None}
#: Python's constants; null, true and false are read as JSON. "none" stays text: the name of a strategy or function.
_CONSTANTS = {"None": None, "True": True, "False": False}
_UNPARSED = object()


def parse_params(arguments: Iterable[str], options: Any) -> dict[str, Any]:
    """Convert `NAME=VALUE` arguments to keywords of a pipeline's call.

    A value is read as JSON where that gives the parameter's type, else as text; a list may also be written `a,b,c`.

    Args:
        arguments: `NAME=VALUE` each.
        options: the task's dataclass of parameters, or None.

    Raises:
        click.BadParameter: no `=`, a name given twice, or a value of a wrong type.
    """
    fields = _types(options)
    params: dict[str, Any] = {}
    for text in arguments:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--param")
        if name in _OWN_OPTIONS:
            option = _OWN_OPTIONS[name]
            message = f"{name}: use {option}" if option else f"{name} is not available on the command line"
            raise click.BadParameter(message, param_hint="--param")
        if name in params:
            raise click.BadParameter(f"{name} is given twice", param_hint="--param")
        params[name] = _typed(name, value, fields.get(name, Any))
    return params


def type_names(options: Any) -> dict[str, str]:
    """Return the types of a dataclass's fields as `--param` takes them, by name."""
    return {name: _type_name(annotation) for name, annotation in _types(options).items()}


def _type_name(annotation: Any) -> str:
    names = set()
    for each in _members(annotation) - {type(None)}:
        if each is bool:
            names.add("true|false")
        elif each in (int, float):
            names.add(each.__name__)
        elif _is_list(each):
            names.add("a,b,c")
        elif each is str or (isinstance(each, type) and issubclass(each, Enum)):
            names.add("text")
        else:
            names.add("JSON")
    return "|".join(sorted(names))


def _types(options: Any) -> Mapping[str, Any]:
    """Return the annotations of a dataclass's fields by name."""
    if options is None or not dataclasses.is_dataclass(options):
        return {}
    hints = typing.get_type_hints(options)
    return {field.name: hints[field.name] for field in dataclasses.fields(options)}


def _typed(name: str, text: str, annotation: Any) -> Any:
    """Convert the text of a value to a type that its annotation allows."""
    allowed = _members(annotation)
    value = _parse(text)
    if value is _UNPARSED:
        if Any in allowed or str in allowed:
            return text
        if any(_is_list(each) for each in allowed):
            return [part.strip() for part in text.split(",") if part.strip()]
    elif any(_fits(value, each) for each in allowed):
        return value
    elif str in allowed:
        return text
    elif isinstance(value, str) and any(_is_list(each) for each in allowed):
        return [value]
    elif isinstance(value, int) and not isinstance(value, bool) and float in allowed:
        return float(value)
    names = " or ".join(sorted("none" if each is type(None) else getattr(each, "__name__", str(each))
                               for each in allowed))  # fmt: skip
    raise click.BadParameter(f"{name} takes {names}, got {text!r}", param_hint="--param")


def _parse(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    try:
        return parse_json(text)
    except ValueError:
        return _UNPARSED


def _members(annotation: Any) -> set[Any]:
    """Return the types of a union without their arguments: of `str | list[str] | None` {str, list, NoneType}."""
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return set().union(*(_members(each) for each in typing.get_args(annotation)))
    return {typing.get_origin(annotation) or annotation}


def _fits(value: Any, allowed: Any) -> bool:
    if allowed is Any:
        return True
    if isinstance(value, bool):
        return allowed is bool
    if _is_list(allowed):
        return isinstance(value, list)
    return isinstance(allowed, type) and isinstance(value, allowed)


def _is_list(allowed: Any) -> bool:
    return isinstance(allowed, type) and issubclass(allowed, Sequence) and not issubclass(allowed, (str, bytes))
