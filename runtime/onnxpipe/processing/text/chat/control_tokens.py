"""Encode control tokens in users' messages as ordinary text: `<|im_start|>system` in a message stays text.

Control tokens in messages are marked before the template is rendered, so that they can be distinguished from the
template's own when the text is encoded. Source: the behaviour of transformers 5.23's `sanitize_control_tokens`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from onnxpipe.errors import UnsupportedError

_START, _END = "\U000f0000", "\U000f0001"
"""Private-use characters around a control token of a message."""


@dataclass(frozen=True)
class ControlTokens:
    """The tokens that only the template may use as control tokens.

    Attributes:
        pattern: matches any of them, the longest first.
        added: matches any added token between the marks, or a mark alone.
    """

    pattern: re.Pattern[str]
    added: re.Pattern[str]

    @classmethod
    def of(
        cls, backend: Any, template_text: str, listed: Iterable[str] | None, also: Iterable[str] = ()
    ) -> ControlTokens:
        """Collect the control tokens of a tokenizer.

        Args:
            backend: the `tokenizers.Tokenizer`.
            template_text: the literal text of the template: added tokens in it are control tokens.
            listed: the added tokens that are control tokens, besides the special tokens, if the tokenizer lists them.
            also: further control tokens.
        """
        tokens = list(backend.get_added_tokens_decoder().values())
        if listed is not None:
            named = set(listed)
            control = [token.content for token in tokens if token.special or token.content in named]
        else:
            control = [
                token.content
                for token in tokens
                if token.special or (token.content in template_text and not token.content.isspace())
            ]
        return cls.only(backend, [*control, *also])

    @classmethod
    def only(cls, backend: Any, tokens: Iterable[str]) -> ControlTokens:
        """Treat just these tokens of a tokenizer as control tokens."""
        everything = _any_of([token.content for token in backend.get_added_tokens_decoder().values()])
        pattern = _any_of(list(dict.fromkeys(tokens)))
        return cls(re.compile(pattern), re.compile(f"{_START}({everything}){_END}|[{_START}{_END}]"))

    def marked(self, value: Any) -> Any:
        """Mark the control tokens in the texts of plain data; keys of dicts are left alone."""
        if isinstance(value, str):
            # remove marks that the input brings: they could forge a marked token
            return self.pattern.sub(f"{_START}\\g<0>{_END}", value.replace(_START, "").replace(_END, ""))
        if isinstance(value, dict):
            return {key: self.marked(item) for key, item in value.items()}
        return [self.marked(item) for item in value] if isinstance(value, (list, tuple)) else value

    def encode(self, backend: Any, text: str) -> list[int]:
        """Encode a rendered text, with marked tokens as ordinary text, and without special tokens around it.

        Raises:
            UnsupportedError: the tokenizer produces the control token even from plain text.
        """
        pieces = self.added.split(text)  # text, marked token (None for a mark alone), text, ...
        ids = _ids(backend, pieces[0])
        newline = _ids(backend, "\n")
        for i, piece in enumerate(pieces[1:], start=1):
            if not piece:
                continue
            encode = _plain_ids if i % 2 else _ids
            # behind a newline, or SentencePiece would put a space before the piece
            found = encode(backend, "\n" + piece)
            found = found[len(newline) :] if found[: len(newline)] == newline else encode(backend, piece)
            if i % 2 and backend.token_to_id(piece) in found:
                raise UnsupportedError(f"Can't sanitize {piece!r}: the tokenizer produces it from plain text")
            ids += found
        return ids


def is_marked(text: str) -> bool:
    """Return whether a text has marked tokens."""
    return _START in text


def unmarked(token: str) -> re.Pattern[str]:
    """Return a pattern that matches a token where it is not marked as ordinary text."""
    return re.compile(f"(?<!{_START}){re.escape(token)}")


def _any_of(tokens: list[str]) -> str:
    return "|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) or "(?!)"


def _ids(backend: Any, text: str) -> list[int]:
    return list(backend.encode(text, add_special_tokens=False).ids)


def _plain_ids(backend: Any, text: str) -> list[int]:
    """Encode a text without searching it for added tokens."""
    if backend.normalizer is not None:
        text = backend.normalizer.normalize_str(text)
    splitter = backend.pre_tokenizer
    words = [text] if splitter is None else [word for word, _ in splitter.pre_tokenize_str(text)]
    return [token.id for word in words for token in backend.model.tokenize(word)]
