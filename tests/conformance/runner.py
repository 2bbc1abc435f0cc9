"""Runs a case in one library and says what came of it, in a form that both libraries and JSON share."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from conformance.cases.common import Case, Generator, Keyed, KeyedPair, Squad

Outcome = dict[str, Any]
"""`{"value": …}`, `{"lazy": […]}` for an iterator's items, or `{"error": type name, "bases": […], "message": str}`."""


class Library(Protocol):
    """transformers or onnxpipe."""

    def pipe(self, task: str, family: str, head: str, ctor: dict[str, Any]) -> Callable[..., Any]: ...

    def keyed(self, rows: Any, key: str) -> Any: ...

    def keyed_pair(self, rows: Any, key: str, pair: str) -> Any: ...

    def squad(self, question: str, context: str) -> Any: ...


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

    def keyed(self, rows: Any, key: str) -> Any:
        from onnxpipe import KeyDataset

        return KeyDataset(rows, key)

    def keyed_pair(self, rows: Any, key: str, pair: str) -> Any:
        from onnxpipe import KeyPairDataset

        return KeyPairDataset(rows, key, pair)

    def squad(self, question: str, context: str) -> Any:
        from onnxpipe import SquadExample

        return SquadExample(None, question, context, None, None, None)


def outcome(library: Library, task: str, family: str, case: Case, mask: str, *, reference: bool = False) -> Outcome:
    """What `case` gives in `library`. `mask` is the family's mask token; `reference` picks `case.reference`."""
    kwargs = dict(case.reference if reference and case.reference is not None else case.kwargs)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pipe = library.pipe(task, family, case.head, _copied(dict(case.ctor)))
            args = [_made(library, _with_mask(arg, mask)) for arg in case.args]
            kwargs = {name: _made(library, _with_mask(value, mask)) for name, value in kwargs.items()}
            result = pipe(*args, **kwargs)
            if isinstance(result, Iterator):
                return {"lazy": [_plain(item) for item in result]}
            return {"value": _plain(result)}
    except Exception as error:
        bases = [base.__name__ for base in type(error).__mro__[1:-2]]
        message = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
        return {"error": type(error).__name__, "bases": bases, "message": message}


@cache
def mask_token(folder: Path) -> str:
    """The mask token that the folder's tokenizer names."""
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    return str(config["mask_token"])


def to_json(value: Outcome) -> Any:
    """An outcome as JSON keeps it: floats of 7 significant digits, an error by its name and message alone."""
    kept = {name: item for name, item in value.items() if name != "bases"}
    return json.loads(json.dumps(kept), parse_float=lambda text: float(f"{float(text):.7g}"))


def _made(library: Library, value: Any) -> Any:
    if isinstance(value, Generator):
        return (item for item in _copied(list(value.items)))
    if isinstance(value, Keyed):
        return library.keyed(_copied(list(value.rows)), value.key)
    if isinstance(value, KeyedPair):
        return library.keyed_pair(_copied(list(value.rows)), value.key, value.pair)
    if isinstance(value, Squad):
        return library.squad(value.question, value.context)
    if isinstance(value, list):
        return [_made(library, item) for item in value]
    return _copied(value)


def _copied(value: Any) -> Any:
    """A fresh copy of the containers: transformers changes some of the arguments it is given."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value


def _with_mask(value: Any, mask: str) -> Any:
    """Every text with the mask token in place of `<>`."""
    if isinstance(value, str):
        return value.replace("<>", mask)
    if isinstance(value, list | tuple):
        return type(value)(_with_mask(item, mask) for item in value)
    if isinstance(value, dict):
        return {key: _with_mask(item, mask) for key, item in value.items()}
    if isinstance(value, Generator):
        return Generator(_with_mask(list(value.items), mask))
    if isinstance(value, Keyed):
        return Keyed(_with_mask(list(value.rows), mask), value.key)
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
