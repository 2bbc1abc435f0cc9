"""Runs a case in one library and says what came of it, in a form that both libraries and JSON share."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from conformance.cases.common import (
    Case,
    Generator,
    Ids,
    Keyed,
    KeyedPair,
    PipeTokenizer,
    ReturnType,
    Settings,
    Squad,
)
from zoo import GENERATING

Outcome = dict[str, Any]
"""`{"value": …}`, `{"lazy": […]}` for an iterator's items, or `{"error": type name, "bases": […], "message": str}`."""


Marks = Mapping[str, str]
"""A mark in the texts of the cases -> what it stands for."""


class Library(Protocol):
    """transformers or onnxpipe."""

    def pipe(self, task: str, family: str, head: str, ctor: dict[str, Any]) -> Callable[..., Any]: ...

    def keyed(self, rows: Any, key: str) -> Any: ...

    def keyed_pair(self, rows: Any, key: str, pair: str) -> Any: ...

    def squad(self, question: str, context: str) -> Any: ...

    def settings(self, values: dict[str, Any]) -> Any: ...

    def ids(self, values: list[list[int]]) -> Any: ...


@dataclass
class Transformers:
    """The reference, on the zoo's models. Models, tokenizers and pipelines are made once."""

    folder: Callable[[str, str], Path]

    def __post_init__(self) -> None:
        import torch
        import transformers

        torch.set_num_threads(1)
        transformers.logging.set_verbosity_error()
        self._loaded: dict[tuple[str, str, str], Any] = {}
        self._pipes: dict[str, Any] = {}

    def pipe(self, task: str, family: str, head: str, ctor: dict[str, Any]) -> Any:
        import transformers

        known = (task, family, head)
        name = repr((known, ctor))
        if (
            head in GENERATING
        ):  # A pipeline may change the model that it is given (4.57 takes the prefix out of its config).
            return self._generating(task, name, self.folder(family, head), ctor)
        if name not in self._pipes:
            if known not in self._loaded:
                first = transformers.pipeline(task, model=str(self.folder(family, head)), device="cpu")
                self._loaded[known] = first
            first = self._loaded[known]
            self._pipes[name] = (
                transformers.pipeline(task, model=first.model, tokenizer=first.tokenizer, device="cpu", **ctor)
                if ctor
                else first
            )
        return self._pipes[name]

    def _generating(self, task: str, name: str, folder: Path, ctor: dict[str, Any]) -> Any:
        import transformers

        if name not in self._pipes:
            self._pipes[name] = transformers.pipeline(task, model=str(folder), device="cpu", **ctor)
        return self._pipes[name]

    def settings(self, values: dict[str, Any]) -> Any:
        from transformers import GenerationConfig

        return GenerationConfig(**values)

    def ids(self, values: list[list[int]]) -> Any:
        import torch

        return torch.tensor(values)

    def keyed(self, rows: Any, key: str) -> Any:
        from transformers.pipelines.pt_utils import KeyDataset

        return KeyDataset(rows, key)

    def keyed_pair(self, rows: Any, key: str, pair: str) -> Any:
        from transformers.pipelines.pt_utils import KeyPairDataset

        return KeyPairDataset(rows, key, pair)

    def squad(self, question: str, context: str) -> Any:
        from transformers import SquadExample

        return SquadExample(None, question, context, None, None, None)


@dataclass
class Ours:
    """onnxpipe, on the bundles of the same models."""

    folder: Callable[[str, str], Path]

    def __post_init__(self) -> None:
        self._pipes: dict[str, Any] = {}

    def pipe(self, task: str, family: str, head: str, ctor: dict[str, Any]) -> Any:
        import onnxpipe

        name = repr((task, family, head, ctor))
        if name not in self._pipes:
            model = str(self.folder(family, head))
            self._pipes[name] = onnxpipe.pipeline(task, model=model, device="cpu", **ctor)
        return self._pipes[name]

    def settings(self, values: dict[str, Any]) -> Any:
        from onnxpipe import GenerationConfig

        return GenerationConfig(**values)

    def ids(self, values: list[list[int]]) -> Any:
        return np.array(values)

    def keyed(self, rows: Any, key: str) -> Any:
        from onnxpipe import KeyDataset

        return KeyDataset(rows, key)

    def keyed_pair(self, rows: Any, key: str, pair: str) -> Any:
        from onnxpipe import KeyPairDataset

        return KeyPairDataset(rows, key, pair)

    def squad(self, question: str, context: str) -> Any:
        from onnxpipe import SquadExample

        return SquadExample(None, question, context, None, None, None)


def outcome(library: Library, task: str, family: str, case: Case, marks: Marks, *, reference: bool = False) -> Outcome:
    """What `case` gives in `library`. `marks` are the family's; `reference` picks `case.reference`."""
    kwargs = dict(case.reference if reference and case.reference is not None else case.kwargs)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ctor = {name: _made(library, None, _marked(value, marks)) for name, value in case.ctor.items()}
            pipe = library.pipe(case.task or task, family, case.head, ctor)
            args = [_made(library, pipe, _marked(arg, marks)) for arg in case.args]
            kwargs = {name: _made(library, pipe, _marked(value, marks)) for name, value in kwargs.items()}
            result = pipe(*args, **kwargs)
            if isinstance(result, Iterator):
                return {"lazy": [_plain(item) for item in result]}
            return {"value": _plain(result)}
    except Exception as error:
        bases = [base.__name__ for base in type(error).__mro__[1:-2]]
        message = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
        return {"error": type(error).__name__, "bases": bases, "message": message}


LANGUAGES = {"mbart": ("en_XX", "ro_RO"), "m2m_100": ("en", "fr"), "nllb": ("eng_Latn", "fra_Latn")}
"""Family -> its names of the languages `<src>` and `<tgt>`; the others take "en" and "fr", and ignore them."""


@cache
def marks_of(family: str, folder: Path) -> Marks:
    """What `<>`, `<src>` and `<tgt>` stand for in the texts of `family`, whose model is in `folder`."""
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    source, target = LANGUAGES.get(family, ("en", "fr"))
    return {"<src>": source, "<tgt>": target, "<>": str(config.get("mask_token", "<>"))}


def to_json(value: Outcome) -> Any:
    """An outcome as JSON keeps it: floats of 7 significant digits, an error by its name and message alone."""
    kept = {name: item for name, item in value.items() if name != "bases"}
    text = json.dumps(kept, default=lambda array: {_ARRAY: str(array.dtype), "values": array.tolist()})
    return json.loads(text, parse_float=lambda digits: float(f"{float(digits):.7g}"))


def from_json(value: Any) -> Any:
    """What `to_json` wrote, its arrays made arrays again."""
    if isinstance(value, dict):
        if _ARRAY in value:
            return np.array(value["values"], value[_ARRAY])
        return {key: from_json(item) for key, item in value.items()}
    return [from_json(item) for item in value] if isinstance(value, list) else value


_ARRAY = "__array__"


def _made(library: Library, pipe: Any, value: Any) -> Any:
    """The value that a mark stands for, in this library."""
    if isinstance(value, Generator):
        return (item for item in _copied(list(value.items)))
    if isinstance(value, Keyed):
        return library.keyed(_copied(list(value.rows)), value.key)
    if isinstance(value, KeyedPair):
        return library.keyed_pair(_copied(list(value.rows)), value.key, value.pair)
    if isinstance(value, Squad):
        return library.squad(value.question, value.context)
    if isinstance(value, Settings):
        return library.settings(_copied(dict(value.values)))
    if isinstance(value, Ids):
        return library.ids([list(row) for row in value.values])
    if isinstance(value, PipeTokenizer):
        return pipe.tokenizer
    if isinstance(value, ReturnType):
        homes = (sys.modules[base.__module__] for base in type(pipe).__mro__)
        return next(home.ReturnType[value.name] for home in homes if hasattr(home, "ReturnType"))
    if isinstance(value, list):
        return [_made(library, pipe, item) for item in value]
    return _copied(value)


def _copied(value: Any) -> Any:
    """A fresh copy of the containers: transformers changes some of the arguments it is given."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value


def _marked(value: Any, marks: Marks) -> Any:
    """Every text with what its marks stand for."""
    if isinstance(value, str):
        for mark, meaning in marks.items():
            value = value.replace(mark, meaning)
        return value
    if isinstance(value, list | tuple):
        return type(value)(_marked(item, marks) for item in value)
    if isinstance(value, dict):
        return {key: _marked(item, marks) for key, item in value.items()}
    if isinstance(value, Generator):
        return Generator(_marked(list(value.items), marks))
    if isinstance(value, Keyed):
        return Keyed(_marked(list(value.rows), marks), value.key)
    return value


def _plain(value: Any) -> Any:
    """Results as the contract wants them (5.3, 5.4): torch tensors as numpy arrays, numpy floats as Python's."""
    if hasattr(value, "detach"):
        return np.asarray(value.detach().cpu().numpy())
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if isinstance(value, np.floating):
        return value.item()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    return value
