"""`--param NAME=VALUE`: a task's parameters from the command line, typed by the fields of its `Options`."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

#: Parameters of the call that have options of their own.
_ELSEWHERE = {"batch_size": "--batch-size", "on_error": "--on-error", "num_workers": None}
#: As Python writes them; JSON's null, true and false are JSON. "none" is a word: a strategy, a function.
_CONSTANTS = {"None": None, "True": True, "False": False}
_UNPARSED = object()


def parse_params(given: Iterable[str], options: Any) -> dict[str, Any]:
    """Keywords of a pipeline's call.

    A value is read as JSON where that gives the type the parameter has, else it is text; a parameter that is a list
    takes `a,b,c` too.

    Args:
        given: `NAME=VALUE` each.
        options: the task's dataclass of parameters, or None.

    Raises:
        click.BadParameter: no `=`, a name given twice, or a value of a wrong type.
    """
    fields = _types(options)
    params: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--param")
        if name in _ELSEWHERE:
            instead = _ELSEWHERE[name]
            raise click.BadParameter(f"{name}: use {instead}" if instead else f"{name} is not for the command line",
                                     param_hint="--param")  # fmt: skip
        if name in params:
            raise click.BadParameter(f"{name} is given twice", param_hint="--param")
        params[name] = _typed(name, value, fields.get(name, Any))
    return params


def _types(options: Any) -> Mapping[str, Any]:
    if options is None or not dataclasses.is_dataclass(options):
        return {}
    hints = typing.get_type_hints(options)
    return {field.name: hints[field.name] for field in dataclasses.fields(options)}


def _typed(name: str, text: str, annotation: Any) -> Any:
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
        return json.loads(text)
    except ValueError:
        return _UNPARSED


def _members(annotation: Any) -> set[Any]:
    """The types of a union, without what they are filled with: `str | list[str] | None` is {str, list, NoneType}."""
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
