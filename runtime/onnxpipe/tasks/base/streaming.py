"""Text of an answer, whole or piece by piece: what is generated is decoded with the tokens that it follows.

Decoders drop the blank before a first word, so an answer that is decoded alone may lose the blank that parts it from
its prompt.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from onnxpipe.engine.batching import Array, Row
from onnxpipe.generation import StoppingCriteria, StoppingCriteriaList, TextIteratorStreamer

#: Tokens that are decoded again before those that follow them: more than the parts of one character.
_CONTEXT = 8


class TextGenerator(Protocol):
    """A pipeline that generates text: the parts that streaming needs."""

    tokenizer: Any

    def decode_kwargs(self, options: Any) -> dict[str, Any]:
        """Keywords of the tokenizer's `decode` for generated text."""
        ...

    def continues_prompt(self, value: Any, options: Any) -> bool:
        """Whether the generated text continues a text of the prompt."""
        ...

    def dispatch(self, inputs: Any, options: Any) -> Any:
        """Answer inputs with parsed options."""
        ...


def text_after(tokenizer: Any, before: Sequence[int], generated: Sequence[int], **kwargs: Any) -> str:
    """Decode tokens as the continuation of others: the text of both without what the first have of it.

    Source: the text-generation pipeline of transformers 4.57.

    Args:
        tokenizer: decodes.
        before: the tokens of the prompt.
        generated: the tokens after them.
        **kwargs: of `decode`.
    """
    alone = str(tokenizer.decode(before, **kwargs)) if len(before) else ""
    together = str(tokenizer.decode([*before, *generated], **kwargs))
    # not only its length: the last token of a prompt that was cut may be half of a character
    if together.startswith(alone):
        return together[len(alone) :]
    return together[next((i for i, pair in enumerate(zip(alone, together)) if pair[0] != pair[1]), len(together)) :]


@dataclass
class TokenRecord:
    """The tokens of one answer, as they come.

    Attributes:
        prompt: how many the prompt has.
        generated: those after it.
    """

    prompt: int = 0
    generated: list[int] = field(default_factory=list)


class _AnswerStreamer(TextIteratorStreamer):
    """Iterate over pieces of an answer, in another thread than the one that generates.

    Joined they are the text of the whole: each line is decoded with the last tokens before it.

    Args:
        tokenizer: decodes.
        continues_prompt: decode the first line with the prompt, which it continues.
        record: takes the tokens.
        **decode_kwargs: of `decode`.
    """

    def __init__(self, tokenizer: Any, continues_prompt: bool, record: TokenRecord, **decode_kwargs: Any) -> None:
        super().__init__(tokenizer, **decode_kwargs)
        self._continues_prompt = continues_prompt
        self._record = record

    def put(self, value: Array) -> None:
        """Take the prompt once, and then the next tokens."""
        if not self.next_tokens_are_prompt:
            self._record.generated += value.tolist()
            super().put(value)
            return
        self.next_tokens_are_prompt = False
        self._record.prompt = int(np.size(value))
        if self._continues_prompt:
            self.token_cache = np.ravel(value).tolist()
            self.start_line()

    def start_line(self) -> None:
        """Keep the last tokens, whose text was passed on, so that the next are decoded as what follows them."""
        every, self.token_cache = self.token_cache, self.token_cache[-_CONTEXT:]
        if not self._text():  # special tokens alone, which tell nothing
            self.token_cache = every
        self.print_len = len(self._text().rstrip("\N{REPLACEMENT CHARACTER}"))


class _StopOnEvent(StoppingCriteria):
    """Stop generation when `event` is set."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def __call__(self, input_ids: Array, scores: Any, **kwargs: Any) -> Array:
        """Stop all rows, or none."""
        return np.full(len(input_ids), self.event.is_set())


class _StopRows(StoppingCriteria):
    """Stop the rows whose answer nobody waits for any more."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def __call__(self, input_ids: Array, scores: Any, **kwargs: Any) -> Array:
        """Decide row by row; a prompt may have several copies, side by side."""
        stopped = [row.stopped is not None and row.stopped() for row in self._rows]
        return np.repeat(stopped, len(input_ids) // len(stopped))


def with_stops(kwargs: dict[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """Add to the keywords of `generate()` that rows stop when nobody waits for them any more."""
    if all(row.stopped is None for row in rows):
        return kwargs
    criteria = StoppingCriteriaList([*(kwargs.get("stopping_criteria") or ()), _StopRows(rows)])
    return {**kwargs, "stopping_criteria": criteria}


def text_pieces(
    pipe: TextGenerator, value: Any, options: Any, record: TokenRecord | None = None
) -> Generator[str, None, None]:
    """Generate the text of one answer, in pieces; `record` takes its tokens.

    Nothing runs before the first piece is requested. An error of the model is raised where the pieces are read. When
    the iterator is closed, the model stops after the token that it is at.
    """
    stop = _StopOnEvent()
    tokenizer: Any = pipe.tokenizer
    continues = pipe.continues_prompt(value, options)
    streamer = _AnswerStreamer(tokenizer, continues, record or TokenRecord(), **pipe.decode_kwargs(options))
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
