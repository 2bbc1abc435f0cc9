"""Generate one text for a request: its pieces, its tokens, and why it ended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxpipe.tasks.base.chats import with_chats
from onnxpipe.tasks.base.streaming import TokenRecord, text_after, text_pieces


@dataclass
class WrittenText:
    """A generated text.

    Attributes:
        text: without the prompt, and without the stop string that ended it.
        record: the tokens of prompt and text.
        reason: "stop" (an end token, or a stop string) or "length".
    """

    text: str = ""
    record: TokenRecord = field(default_factory=TokenRecord)
    reason: str = "stop"


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
    """Generate a text in pieces; when they are read, `written` is complete.

    Args:
        view: a pipeline that generates texts.
        value: its input.
        options: of the call.
        written: takes the tokens, the text and the reason of its end.
    """
    parsed = view.parse(options, view.options)
    stops = stop_strings(options)
    holder = StopHolder(stops)
    with contextlib.closing(text_pieces(view, view.one_input(with_chats(value)), parsed, written.record)) as pieces:
        for piece in pieces:
            if ready := holder.add(piece):
                written.text += ready
                yield ready
    if rest := holder.end():
        written.text += rest
        yield rest
    written.reason = end_reason(view, parsed, written.record.generated, holder.hit)


def write_texts(view: Any, value: Any, options: Mapping[str, Any]) -> list[WrittenText]:
    """Generate the texts of one prompt at once, in company with other calls: one, or `num_return_sequences`."""
    if not hasattr(view, "prompt_ids"):
        written = WrittenText()
        for _ in write_pieces(view, value, options, written):
            pass
        return [written]
    parsed = view.parse({**options, "return_tensors": True}, view.options)
    answers = view.dispatch(view.one_input(value), parsed)
    prompt = view.prompt_ids(value, **options)
    before = prompt if view.continues_prompt(view.one_input(value), parsed) else []
    found = []
    for answer in answers:
        tokens = [token for token in answer["generated_token_ids"][len(prompt) :] if token >= 0]
        text = text_after(view.tokenizer, before, tokens, **view.decode_kwargs(parsed))
        text, hit = cut_at(text, stop_strings(options))
        record = TokenRecord(len(prompt), tokens)
        found.append(WrittenText(text, record, end_reason(view, parsed, tokens, hit)))
    return found


def stop_strings(options: Mapping[str, Any]) -> list[str]:
    """Return the stop strings of a call."""
    stops = options.get("stop_sequence") or options.get("stop_strings") or []
    return [stops] if isinstance(stops, str) else list(stops)


def end_reason(view: Any, parsed: Any, generated: Sequence[int], hit: bool) -> str:
    """Tell why a text ended: "stop" or "length"."""
    ends = view.resolved(parsed).get("eos_token_id")
    last = generated[-1:] if generated else []
    ended = bool(last) and ends is not None and last[0] in np.atleast_1d(ends)
    return "stop" if hit or ended else "length"
