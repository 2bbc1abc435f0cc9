"""Text of an answer, whole or piece by piece: what is generated is decoded with the tokens that it follows.

Decoders drop the blank before a first word, so an answer that is decoded alone may lose the blank that parts it from
its prompt.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from onnxpipe.engine.batching import Array, Row
from onnxpipe.generation import BaseStreamer, StoppingCriteria, StoppingCriteriaList, TextStreamer

#: Tokens that are decoded again before those that follow them: more than the parts of one character.
_CONTEXT = 8

#: Tokens of a line that are decoded again for each token that follows, at most, and those that are kept of more.
_LONG, _KEPT = 64, 32


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


#: Pieces of answers, each with the number of its answer; None after the last.
_Pieces = queue.SimpleQueue[tuple[int, str] | None]


class _Answer(TextStreamer):
    """Passes pieces of an answer on.

    Joined they are the text of the whole: each line is decoded with the last tokens before it.

    Args:
        tokenizer: decodes.
        continues_prompt: decode the first line with the prompt, which it continues.
        record: takes the tokens.
        number: which answer it is.
        pieces: takes the pieces.
        **decode_kwargs: of `decode`.
    """

    def __init__(
        self, tokenizer: Any, continues_prompt: bool, record: TokenRecord, number: int, pieces: _Pieces,
        **decode_kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(tokenizer, **decode_kwargs)
        self._continues_prompt = continues_prompt
        self._record = record
        self._number, self._pieces = number, pieces

    def put(self, value: Array) -> None:
        """Take the prompt once, and then the next tokens."""
        if not self.next_tokens_are_prompt:
            self._record.generated += value.tolist()
            super().put(value)
            if len(self.token_cache) > _LONG:
                self._shorten_line()
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

    def _shorten_line(self) -> None:
        """Drop the first tokens of a long line, unless the text that is still to be passed on needs them."""
        kept, waiting = self.token_cache[-_KEPT:], self._text()[self.print_len :]
        text = str(self.tokenizer.decode(kept, **self.decode_kwargs))
        context = str(self.tokenizer.decode(kept[:_CONTEXT], **self.decode_kwargs))
        if context and text.endswith(waiting) and len(context) <= len(text) - len(waiting):
            self.token_cache, self.print_len = kept, len(text) - len(waiting)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Pass text on."""
        if text:
            self._pieces.put((self._number, text))


class _Answers(BaseStreamer):
    """Passes the pieces of all answers to one prompt on, in another thread than the one that reads them.

    Args:
        answers: one for each row of the prompt's copies.
        ends: tokens after which nothing follows; the row is filled up then.
        pieces: gets None at the end.
    """

    def __init__(self, answers: Sequence[_Answer], ends: Collection[int], pieces: _Pieces) -> None:
        self._answers, self._ends, self._pieces = answers, ends, pieces
        self._ended: set[int] = set()

    def put(self, value: Array) -> None:
        """Take the prompt once, (rows, length), and then the next token of each row; of one row also several."""
        if len(self._answers) == 1:
            self._answers[0].put(value)
            return
        for row, answer in enumerate(self._answers):
            if row in self._ended:
                continue
            answer.put(value[row : row + 1])
            if value.ndim == 1 and int(value[row]) in self._ends:
                self._ended.add(row)

    def end(self) -> None:
        """Pass on what is left of all."""
        for answer in self._answers:
            answer.end()
        self._pieces.put(None)


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
    """Generate the text of one answer, in pieces; `record` takes its tokens. See `answer_pieces`."""
    with contextlib.closing(answer_pieces(pipe, value, options, [record or TokenRecord()])) as pieces:
        for _, piece in pieces:
            yield piece


def answer_pieces(
    pipe: TextGenerator, value: Any, options: Any, records: Sequence[TokenRecord], ends: Collection[int] = ()
) -> Generator[tuple[int, str], None, None]:
    """Generate the texts of the answers to one input, in pieces, each with the number of its answer.

    Nothing runs before the first piece is requested. An error of the model is raised where the pieces are read. When
    the iterator is closed, the model stops after the token that it is at.

    Args:
        pipe: generates.
        value: its input.
        options: of the call, parsed; their `num_return_sequences` is the number of answers.
        records: take the tokens, one for each answer.
        ends: tokens after which an answer is filled up while others go on.
    """
    stop, ready = _StopOnEvent(), _Pieces()
    tokenizer: Any = pipe.tokenizer
    continues, kwargs = pipe.continues_prompt(value, options), pipe.decode_kwargs(options)
    answers = [_Answer(tokenizer, continues, record, row, ready, **kwargs) for row, record in enumerate(records)]
    streamer = _Answers(answers, ends, ready)
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
            ready.put(None)  # the reader waits for it

    generator = threading.Thread(target=generate, name="onnxpipe-stream", daemon=True)
    generator.start()
    try:
        while (piece := ready.get()) is not None:
            yield piece
    finally:
        stop.event.set()
        generator.join()
    if failures:
        raise failures[0]
