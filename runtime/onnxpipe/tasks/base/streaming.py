"""Stream text: the model generates in a thread of its own, its text is handed over piece by piece."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from onnxpipe.engine.batching import Array
from onnxpipe.generation import StoppingCriteria, StoppingCriteriaList, TextIteratorStreamer


class TextGenerator(Protocol):
    """A pipeline that generates text: the parts that streaming needs."""

    tokenizer: Any

    def decode_kwargs(self, options: Any) -> dict[str, Any]:
        """Keywords of the tokenizer's `decode` for generated text."""
        ...

    def dispatch(self, inputs: Any, options: Any) -> Any:
        """Answer inputs with parsed options."""
        ...


class _StopOnEvent(StoppingCriteria):
    """Stop generation when `event` is set."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def __call__(self, input_ids: Array, scores: Any, **kwargs: Any) -> Array:
        """Stop all rows, or none."""
        return np.full(len(input_ids), self.event.is_set())


def text_pieces(pipe: TextGenerator, value: Any, options: Any) -> Iterator[str]:
    """Generate the text of one answer, in pieces.

    Nothing runs before the first piece is requested. An error of the model is raised where the pieces are read. When
    the iterator is closed, the model stops after the token that it is at.
    """
    stop = _StopOnEvent()
    tokenizer: Any = pipe.tokenizer
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, **pipe.decode_kwargs(options))
    criteria = StoppingCriteriaList([*(options.generate.get("stopping_criteria") or ()), stop])
    options = replace(
        options, generate={**options.generate, "streamer": streamer, "stopping_criteria": criteria}
    )  # fmt: skip
    failures: list[BaseException] = []

    def generate() -> None:
        try:
            pipe.dispatch(value, options)
        except BaseException as error:
            failures.append(error)
            streamer.end()  # the reader waits for it

    generator = threading.Thread(target=generate, name="onnxpipe-stream", daemon=True)
    generator.start()
    try:
        for piece in streamer:
            if piece:
                yield piece
    finally:
        stop.event.set()
        generator.join()
    if failures:
        raise failures[0]
