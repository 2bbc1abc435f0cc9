"""Write `runtime/onnxpipe/__init__.pyi` from the tasks' records: `make stub`.

The stub tells type checkers and editors what the lazy module holds, and which class `pipeline()` gives for which task.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path

import onnxpipe
from onnxpipe import factory
from onnxpipe.tasks.base.spec import TaskSpec
from onnxpipe.tasks.registry import aliases_of, all_tasks

STUB = Path(onnxpipe.__file__).with_suffix(".pyi")

_HEAD = """\
# Written by `make stub` from the tasks' records: do not edit.
# fmt: off
# ruff: noqa
import os
from collections.abc import Sequence
from typing import Any, Literal, TypeVar, overload

from onnxpipe._version import __version__ as __version__
"""


def stub() -> str:
    """The text of the stub."""
    lines = [_HEAD.rstrip(), *_imports(), "from onnxpipe.models.base import Model", ""]
    lines += ["__all__ = [", *_wrapped(", ".join(map(repr, onnxpipe.__all__)).replace("'", '"')), "]", ""]
    lines += ['_PipelineT = TypeVar("_PipelineT", bound=Pipeline[Any])', ""]
    lines += _overload("task: str | None = None", "_PipelineT", "*, pipeline_class: type[_PipelineT]")
    for spec in all_tasks():
        names = ", ".join(f'"{name}"' for name in _names(spec))
        lines += _overload(f"task: Literal[{names}]", spec.pipeline.__name__, "pipeline_class: None = None")
    lines += _overload("task: str | None = None", "Pipeline[Any]", "pipeline_class: None = None")
    return "\n".join(lines).rstrip() + "\n"


def _names(spec: TaskSpec) -> Iterator[str]:
    """The names of a task; a translation's pairs of languages are endless, so that only those with a default are."""
    yield from (spec.name, *aliases_of(spec.name))
    if spec.languages and isinstance(spec.default_model, dict):
        yield from (f"{spec.name}_{source}_to_{target}" for source, target in spec.default_model)


def _imports() -> Iterator[str]:
    for module, name in sorted(_homes()):
        if name != "pipeline":
            yield f"from {module} import {name} as {name}"


def _homes() -> Iterator[tuple[str, str]]:
    for module, names in onnxpipe._NAMES.items():
        yield from ((f"onnxpipe.{module}", name) for name in names)
    for spec in all_tasks():
        yield spec.pipeline.__module__, spec.pipeline.__name__


def _overload(task: str, answer: str, pipeline_class: str) -> list[str]:
    parts = [task]
    after_star = False
    for name, parameter in inspect.signature(factory.pipeline).parameters.items():
        if name == "task":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not after_star and "*" not in pipeline_class:
            parts.append("*")
        after_star = after_star or parameter.kind is parameter.KEYWORD_ONLY
        if parameter.kind is parameter.VAR_KEYWORD:
            parts.append(f"**{name}: {parameter.annotation}")
        elif name == "pipeline_class":
            parts.append(pipeline_class)
        else:
            parts.append(f"{name}: {parameter.annotation} = {parameter.default!r}".replace("'", '"'))
    return ["@overload", "def pipeline(", *_wrapped(", ".join(parts)), f") -> {answer}: ...", ""]


def _wrapped(text: str) -> list[str]:
    indent = "    "
    return textwrap.wrap(
        text, 120, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


if __name__ == "__main__":
    STUB.write_text(stub(), encoding="utf-8")
