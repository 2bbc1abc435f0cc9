"""Generate one text for a request: its pieces, its tokens, and why it ended."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from onnxpipe.serving.exchange import Exchange
from onnxpipe.tasks.base.chats import with_chats
from onnxpipe.tasks.base.sequences import SequenceEnds
from onnxpipe.tasks.base.streaming import TokenRecord, answer_pieces, text_after


@dataclass
class WrittenText:
    """A generated text.

    Attributes:
        text: without the prompt, and without the stop string that ended it.
        record: the tokens of prompt and text.
        reason: why it ended: "stop_sequence" (a stop string), "eos_token" (an end token) or "length".
    """

    text: str = ""
    record: TokenRecord = field(default_factory=TokenRecord)
    reason: Literal["stop_sequence", "eos_token", "length"] = "eos_token"

    @property
    def openai_reason(self) -> str:
        """Why it ended, in OpenAI's words."""
        return "length" if self.reason == "length" else "stop"


class SeveralTexts:
    """The texts of one prompt: as many as are asked for, or one that stands for all where nothing is drawn at random.

    Args:
        options: of the call.
        n: how many are asked for.

    Attributes:
        written: the texts that are generated.
    """

    def __init__(self, options: Mapping[str, Any], n: int) -> None:
        self._n = n
        self.written = [WrittenText() for _ in range(options.get("num_return_sequences", 1))]

    def row(self, index: int) -> int:
        """Return which text is the answer of an index."""
        return index if len(self.written) > 1 else 0

    def places(self, row: int) -> Sequence[int]:
        """Return the indices of the answers that a text is."""
        return (row,) if len(self.written) > 1 else range(self._n)

    def note(self, exchange: Exchange) -> None:
        """Note the tokens of prompt and answers, once they are written."""
        exchange.prompt += self.written[0].record.prompt
        exchange.generated += sum(len(each.record.generated) * len(self.places(0)) for each in self.written)


class StopHolder:
    """Passes text on up to the first stop string, and holds back what could be the beginning of one.

    Args:
        stops: the stop strings.

    Attributes:
        hit: whether a stop string has come; nothing follows then.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [each for each in stops if each]
        self._held = ""
        self.hit = False

    def add(self, piece: str) -> str:
        """Take a piece; return what may be passed on."""
        if self.hit:
            return ""
        text = self._held + piece
        ends = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if ends:
            self.hit, self._held = True, ""
            return text[: min(ends)]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def end(self) -> str:
        """Return what was held back, when no more comes."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Count the last characters of a text that a stop string begins with."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


def cut_at(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """Cut a text at the first stop string; tell whether there was one."""
    ends = [at for stop in stops if stop and (at := text.find(stop)) >= 0]
    return (text[: min(ends)], True) if ends else (text, False)


def write_pieces(view: Any, value: Any, options: Mapping[str, Any], written: WrittenText) -> Iterator[str]:
    """Generate a text in pieces; when they are read, `written` is complete. See `write_several`."""
    with contextlib.closing(write_several(view, value, options, [written])) as pieces:
        for _, piece in pieces:
            yield piece


def write_several(
    view: Any, value: Any, options: Mapping[str, Any], written: Sequence[WrittenText]
) -> Generator[tuple[int, str], None, None]:
    """Generate the texts of one prompt in pieces, each with its text's number; then `written` is complete.

    Args:
        view: a pipeline that generates texts.
        value: its input.
        options: of the call; `num_return_sequences`, if it is there, is the number of texts.
        written: take the tokens, the text and the reason of its end, one for each text.
    """
    parsed = view.parse(options, view.options)
    stops, ends = stop_strings(options), SequenceEnds.of(view.resolved(parsed))
    holders = [StopHolder(stops) for _ in written]
    records = [each.record for each in written]
    source = answer_pieces(view, view.one_input(with_chats(value)), parsed, records, ends.eos)
    with contextlib.closing(source) as pieces:
        for number, piece in pieces:
            if ready := holders[number].add(piece):
                written[number].text += ready
                yield number, ready
    for number, (holder, each) in enumerate(zip(holders, written, strict=True)):
        if rest := holder.end():
            each.text += rest
            yield number, rest
        each.record.generated = _own_tokens(each.record.generated, ends, len(written))
        each.reason = end_reason(ends, each.record.generated, holder.hit)


def write_texts(view: Any, value: Any, options: Mapping[str, Any]) -> list[WrittenText]:
    """Generate the texts of one prompt at once, in company with other calls: one, or `num_return_sequences`."""
    if not hasattr(view, "prompt_ids"):
        several = [WrittenText() for _ in range(options.get("num_return_sequences", 1))]
        for _ in write_several(view, value, options, several):
            pass
        return several
    parsed = view.parse({**options, "return_tensors": True}, view.options)
    answers = view.dispatch(view.one_input(value), parsed)
    prompt = view.prompt_ids(value, **options)
    before = prompt if view.continues_prompt(view.one_input(value), parsed) else []
    ends, found = SequenceEnds.of(view.resolved(parsed)), []
    for answer in answers:
        tokens = [token for token in answer["generated_token_ids"][len(prompt) :] if token >= 0]
        tokens = _own_tokens(tokens, ends, len(answers))
        text = text_after(view.tokenizer, before, tokens, **view.decode_kwargs(parsed))
        text, hit = cut_at(text, stop_strings(options))
        found.append(WrittenText(text, TokenRecord(len(prompt), tokens), end_reason(ends, tokens, hit)))
    return found


def _own_tokens(tokens: list[int], ends: SequenceEnds, texts: int) -> list[int]:
    """Cut off what a text is filled up with while others go on."""
    return tokens if texts == 1 else tokens[: ends.length(np.array(tokens, np.int64), 0)]


def stop_strings(options: Mapping[str, Any]) -> list[str]:
    """Return the stop strings of a call."""
    stops = options.get("stop_sequence") or options.get("stop_strings") or []
    return [stops] if isinstance(stops, str) else list(stops)


def end_reason(
    ends: SequenceEnds, generated: Sequence[int], hit: bool
) -> Literal["stop_sequence", "eos_token", "length"]:
    """Tell why a text ended; `hit`: a stop string came."""
    if hit:
        return "stop_sequence"
    return "eos_token" if generated and generated[-1] in ends.eos else "length"
