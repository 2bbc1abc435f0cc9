"""A command line whose pipelines load no model: they answer with a function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from onnxpipe.cli import main
from onnxpipe.engine.scheduler import ItemError

AHEAD = 3
"""How many inputs a `FakePipeline` reads before it answers the first, as the scheduler does."""


class FakePipeline:
    """Answer every input with a function; a `ValueError` of it is the item's error.

    Attributes:
        inputs: what was read so far.
        params: the last call's parameters, without `on_error` and `batch_size`.
    """

    def __init__(self, answer: Callable[[Any], Any], labels: dict[int, str], kind: str) -> None:
        self.model = SimpleNamespace(config=SimpleNamespace(id2label=labels), name_or_path="a-model")
        self.type = kind
        self.answer = answer
        self.inputs: list[Any] = []
        self.params: dict[str, Any] = {}
        self.batch_size: int | None = None

    def __call__(self, inputs: Any, *, on_error: str, batch_size: int | None = None, **params: Any) -> Iterator[Any]:
        self.params, self.batch_size = params, batch_size
        return self._answers(inputs, on_error)

    def _answers(self, inputs: Any, on_error: str) -> Iterator[Any]:
        ahead: list[Any] = []
        for value in inputs:
            self.inputs.append(value)
            ahead.append(value)
            if len(ahead) == AHEAD:
                yield from (self._one(each, on_error) for each in ahead)
                ahead = []
        yield from (self._one(each, on_error) for each in ahead)

    def _one(self, value: Any, on_error: str) -> Any:
        try:
            return self.answer(value)
        except ValueError as error:
            if on_error == "raise":
                raise
            return ItemError(0, error)


class FakeCLI:
    """Run the command line; `pipeline()` returns what `load` returns.

    Attributes:
        answer: what the pipelines of the default `load` answer with.
        labels: the labels of their models.
        kind: their `type`: "seq2seq_whisper", "ctc", …
        tasks: those that the models' configs name.
        loaded: the arguments of every call of `pipeline()`, (positional, by name).
        pipe: the last pipeline, None before the first.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer: Callable[[Any], Any] = lambda value: None
        self.labels: dict[int, str] = {}
        self.kind = ""
        self.tasks: tuple[str, ...] = ()
        self.load: Callable[..., Any] = lambda *args, **kwargs: FakePipeline(self.answer, self.labels, self.kind)
        self.loaded: list[tuple[tuple, dict]] = []
        self.pipe: Any = None
        monkeypatch.setattr("onnxpipe.factory.pipeline", self._load)
        monkeypatch.setattr("onnxpipe.factory.tasks_of", lambda *args, **kwargs: self.tasks)

    def _load(self, *args: Any, **kwargs: Any) -> Any:
        self.loaded.append((args, kwargs))
        self.pipe = self.load(*args, **kwargs)
        return self.pipe

    @property
    def inputs(self) -> list[Any]:
        """What the last pipeline read; empty where none was loaded."""
        return self.pipe.inputs if self.pipe else []

    @property
    def params(self) -> dict[str, Any]:
        """The parameters that the last pipeline was called with."""
        return self.pipe.params

    def invoke(self, *args: Any, stdin: str | None = None, code: int = 0) -> Result:
        """Call `onnxpipe ARGS` and check its exit code."""
        result = CliRunner().invoke(main, list(map(str, args)), input=stdin)
        assert result.exit_code == code, result.output
        return result

    def run(self, *args: Any, stdin: str | None = None, code: int = 0) -> Result:
        """Call `onnxpipe run ARGS` and check its exit code."""
        return self.invoke("run", *args, stdin=stdin, code=code)
