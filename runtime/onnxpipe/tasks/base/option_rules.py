"""Check the values of options by what their dataclass says of them: type, range, choices."""

from __future__ import annotations

import difflib
import math
import numbers
import reprlib
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from functools import lru_cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from onnxpipe.errors import UnknownChoiceError, UnsupportedError


@dataclass(frozen=True)
class Range:
    """The range of a number.

    Attributes:
        least, most: its bounds, which belong to it; None for none.
    """

    least: float | None = None
    most: float | None = None

    def __contains__(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        if self.least is not None and self.most is not None:
            return f"{self.least:g} to {self.most:g}"
        return "any" if self.least is None else f"at least {self.least:g}"


def number_option(default: Any, *, least: float | None = None, most: float | None = None) -> Any:
    """Declare a field of an options dataclass that is a number (or several), with its range."""
    return field(default=default, metadata={"range": Range(least, most)})


def choice_option(default: Any, *choices: str) -> Any:
    """Declare a field of an options dataclass that is one of these texts."""
    return field(default=default, metadata={"choices": choices})


def checked_options(options: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Check keywords against the fields of a dataclass; names of an enum's members become the members.

    Args:
        options: the dataclass.
        kwargs: values by the fields' names; None and fields whose type is not simple are left as they are.

    Raises:
        UnsupportedError: a value of another type, out of its range, or none of the choices; the message names it.
    """
    rules = _rules(options)
    return {name: _checked(name, value, rules.get(name)) for name, value in kwargs.items()}


def check_count(name: str, value: Any, least: int) -> None:
    """Raise UnsupportedError unless the value is a whole number of at least so many."""
    if type(value) is int and value >= least:
        return
    _checked(name, value, _Rule((int,), Range(least), ()))


@dataclass(frozen=True)
class _Rule:
    """What a field accepts: one of some types; numbers in a range; of texts the choices, if there are any."""

    types: tuple[Any, ...]
    range: Range
    choices: tuple[str, ...]

    @property
    def expected(self) -> str:
        names = self._names()
        limits = f", {self.range}" if self.range != Range() and {int, float} & _numbers_in(self.types) else ""
        if names:
            others = [_TITLES[kind] for kind in self.types if kind in _TITLES and kind is not str]
            listed = ", ".join(names)
            if not others:
                return f"choose one of {listed}"
            return f"pass {' or '.join(others)}{limits}, or one of {listed}"
        parts = [_title(kind) for kind in self.types if kind is not type(None) and get_origin(kind) is not Literal]
        return f"pass {' or '.join(dict.fromkeys(parts))}{limits}"

    def _names(self) -> list[str]:
        names = [repr(each) for each in self.choices if each]
        for kind in self.types:
            if get_origin(kind) is Literal:
                names += [repr(each) for each in get_args(kind) if each != ""]  # "" stands for "not passed"
            elif _is_enum(kind):
                names += [repr(each.name.lower()) if str in self.types else str(each) for each in kind]
        return names

    def nearest(self, value: Any) -> str:
        names = [name.strip("'") for name in self._names()]
        near = difflib.get_close_matches(value.lower(), names, 1) if isinstance(value, str) else []
        return f"; did you mean {near[0]!r}?" if near else ""


#: What messages call a type.
_TITLES: Mapping[Any, str] = {bool: "True or False", int: "a whole number", float: "a number", str: "a text"}


@lru_cache(maxsize=256)
def _rules(options: Any) -> dict[str, _Rule]:
    try:
        hints = get_type_hints(options)
    except NameError:  # a user's class whose types are imported for type checkers alone
        return {}
    rules = {}
    for each in fields(options):
        kinds = _kinds(hints[each.name])
        if all(map(_is_known, kinds)):
            rules[each.name] = _Rule(kinds, each.metadata.get("range", Range()), each.metadata.get("choices", ()))
    return rules


def _kinds(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def _is_known(kind: Any) -> bool:
    if kind in _TITLES or kind is type(None) or _is_enum(kind):
        return True
    origin = get_origin(kind)
    return origin is Literal or (isinstance(origin, type) and issubclass(origin, (Mapping, Iterable)))


def _checked(name: str, value: Any, rule: _Rule | None) -> Any:
    if rule is None or value is None:
        return value
    for kind in rule.types:
        fits, converted = _fit(value, kind, rule)
        if fits:
            return converted
    raised = UnknownChoiceError if _named(rule) else UnsupportedError
    raise raised(f"{name}={reprlib.repr(value)}: {rule.expected}{rule.nearest(value)}")


def _fit(value: Any, kind: Any, rule: _Rule) -> tuple[bool, Any]:
    """Whether a value is of a kind, and the value as the task takes it."""
    if kind is bool:
        # 0 and 1 are what the command line and data frames may have
        return isinstance(value, (bool, np.bool_)) or (type(value) is int and value in (0, 1)), value
    if kind in (int, float):
        return _is_number(value, kind) and value in rule.range, value
    if kind is type(None):
        return False, value
    if kind is str:
        return isinstance(value, str) and (not rule.choices or value in rule.choices) and not _named(rule), value
    if _is_enum(kind):
        member = kind.__members__.get(value.upper()) if isinstance(value, str) and str in rule.types else None
        return isinstance(value, kind) or member is not None, member or value
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind), value
    return _fits_collection(value, kind, rule), value


def _fits_collection(value: Any, kind: Any, rule: _Rule) -> bool:
    origin = get_origin(kind)
    if issubclass(origin, Mapping):
        return isinstance(value, Mapping)
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        return False
    item = next((each for each in get_args(kind) if each in _TITLES), None)
    return item is None or all(_fit(each, item, rule)[0] for each in value)


def _is_number(value: Any, kind: Any) -> bool:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        return False
    return isinstance(value, numbers.Integral) if kind is int else math.isfinite(value)


def _named(rule: _Rule) -> bool:
    """Whether texts are names of an enum's members."""
    return any(map(_is_enum, rule.types))


def _numbers_in(kinds: Iterable[Any]) -> set[Any]:
    return {part for kind in kinds for part in (kind, *get_args(kind)) if part in (int, float)}


def _title(kind: Any) -> str:
    if kind in _TITLES:
        return _TITLES[kind]
    if issubclass(get_origin(kind), Mapping):
        return "a dict"
    lists: Mapping[Any, str] = {str: "a list of texts", int: "a list of whole numbers", float: "a list of numbers"}
    return next((lists[each] for each in get_args(kind) if each in lists), "a list")
