"""Describe a task's options from its dataclass and the docstrings, for `--help` and the docs."""

from __future__ import annotations

import dataclasses
import inspect
import re
from dataclasses import dataclass
from typing import Any

_NAMES = re.compile(r"^(\w+(?:, \w+)*): (.*)$")


@dataclass(frozen=True)
class OptionDoc:
    """One option of a task.

    Attributes:
        name: its keyword.
        type: its type, as it stands in the code.
        default: its default value, as it stands in code; "" for none.
        text: what it does.
    """

    name: str
    type: str
    default: str
    text: str


def option_docs(options: Any) -> list[OptionDoc]:
    """Describe the fields of a dataclass of options, in their order.

    Args:
        options: the dataclass, whose docstring (or a base class's) has a section "Attributes" with a line for each
            field; None for a task without one.
    """
    if options is None:
        return []
    texts: dict[str, str] = {}
    for cls in reversed(options.__mro__):
        texts |= attribute_texts(inspect.cleandoc(cls.__doc__ or ""))
    return [
        OptionDoc(field.name, str(field.type), _default(field), texts.get(field.name, "") + _range(field))
        for field in dataclasses.fields(options)
        if field.repr  # what is kept between calls is no option
    ]


def attribute_texts(docstring: str) -> dict[str, str]:
    """Read the section "Attributes" of a docstring: name to text, on one line; several names may share a text."""
    found: dict[str, str] = {}
    names: list[str] = []
    _, _, section = docstring.partition("\nAttributes:\n")
    for line in section.splitlines():
        if line and not line.startswith(" "):
            break  # the next section
        entry = _NAMES.match(line[4:])
        if entry is not None:
            names = entry[1].split(", ")
            found |= dict.fromkeys(names, entry[2])
        elif line.strip():
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


def _range(field: dataclasses.Field[Any]) -> str:
    limits = field.metadata.get("range")
    return f" Range: {limits}." if limits is not None else ""


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return repr(field.default)
    if field.default_factory is not dataclasses.MISSING:
        return repr(field.default_factory())
    return ""
