"""Match the answers of a pipeline's stream to their inputs."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from onnxpipe.cli.guard import describe
from onnxpipe.errors import OnnxPipeError
from onnxpipe.processing.tables.characters import text_problem

Key = TypeVar("Key")


class InputError(OnnxPipeError, ValueError):
    """An input could not be read, or the task could not answer it."""


def readable(value: Any) -> Any:
    """Return an input, or an `InputError` where a text in it is none, or has bytes that could not be decoded."""
    if value is None:
        return InputError("the input is null")
    problem = next(filter(None, map(text_problem, _texts(value))), None)
    return InputError(problem) if problem else value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _texts(each)


class Answers(Generic[Key]):
    """Iterates over (key, answer), in order, in bounded memory.

    Args:
        pipe: a pipeline.
        pairs: (key, input) pairs; an input that is an `InputError` does not go to the pipeline, it is the answer.
        call: keywords of the pipeline's call.
        name_of: names the input of a key in errors, e.g. "row 3".
        keep: return an `InputError` in the place of a bad input's answer, instead of raising it.
    """

    def __init__(
        self,
        pipe: Callable[..., Any],
        pairs: Iterable[tuple[Key, Any]],
        call: Mapping[str, Any],
        name_of: Callable[[Key], str],
        keep: bool = False,
    ) -> None:
        self._pipe = pipe
        self._pairs = pairs
        self._call = {**call, "on_error": "return" if keep else "raise"}
        self._name_of = name_of
        self._keep = keep
        self._waiting: deque[tuple[Key, InputError | None]] = deque()
        self._source_error: Exception | None = None

    def __iter__(self) -> Iterator[tuple[Key, Any]]:
        from onnxpipe.engine.scheduler import ItemError

        answers = self._start()
        while True:
            try:
                answer = next(answers)
            except StopIteration:
                break
            except Exception as error:
                if not self._waiting:
                    raise  # no input failed, but the call itself
                raise InputError(f"{self._name_of(self._waiting[0][0])}: {describe(error)}") from error
            yield from self._failed_inputs()
            key, _ = self._waiting.popleft()
            yield key, InputError(describe(answer.error)) if isinstance(answer, ItemError) else answer
            yield from self._failed_inputs()
        yield from self._failed_inputs()
        if self._source_error is not None:
            raise self._source_error

    def _start(self) -> Iterator[Any]:
        with warnings.catch_warnings():
            # question-answering warns of a positional argument, though a stream cannot be passed otherwise
            warnings.filterwarnings("ignore", "Passing a list of SQuAD", FutureWarning)
            return iter(self._pipe(self._inputs(), **self._call))

    def _inputs(self) -> Iterator[Any]:
        """Pass on the inputs; where they end with an error, the answers to those before it come first."""
        try:
            for key, value in self._pairs:
                value = readable(value)
                if not isinstance(value, InputError):
                    self._waiting.append((key, None))
                    yield value
                elif self._keep:
                    self._waiting.append((key, value))
                else:
                    self._source_error = InputError(f"{self._name_of(key)}: {value}")
                    return
        except Exception as error:
            self._source_error = error

    def _failed_inputs(self) -> Iterator[tuple[Key, InputError]]:
        while self._waiting and (error := self._waiting[0][1]) is not None:
            key, _ = self._waiting.popleft()
            yield key, error
