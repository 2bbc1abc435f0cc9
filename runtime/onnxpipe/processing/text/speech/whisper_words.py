"""Whisper's tokens to words: whole characters first, then words, then punctuation to the word it belongs to.

Source: openai/whisper, `tokenizer.py` and `timing.py`, as transformers 5.23 has them.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: Languages that are written without spaces: every character is a word.
_UNSPACED = frozenset({"chinese", "japanese", "thai", "lao", "myanmar", "cantonese"})
_OPENING = "\"'“¡¿([{-"
_CLOSING = "\"'.。,，!！?？:：”)]}、"
_BROKEN = "\ufffd"


@dataclass
class Word:
    """A word.

    Attributes:
        text: as it stands in the transcript, with the space before it.
        positions: of its tokens among those that were given.
    """

    text: str
    positions: list[int]

    def join(self, before: Word) -> None:
        """Puts a word before this one; that one is empty then."""
        self.text, self.positions = before.text + self.text, before.positions + self.positions
        before.text, before.positions = "", []

    def take(self, behind: Word) -> None:
        """Puts a word behind this one; that one is empty then."""
        self.text, self.positions = self.text + behind.text, self.positions + behind.positions
        behind.text, behind.positions = "", []


def words_of(tokenizer: Any, tokens: Sequence[int], language: str | None = None) -> list[Word]:
    """The words that tokens make.

    Args:
        tokenizer: Whisper's.
        tokens: text tokens, without time stamps.
        language: its name in lower case; None for the tokenizer's, else English.
    """
    spoken = language or tokenizer.language or "english"
    found = _characters(tokenizer, tokens)
    if spoken not in _UNSPACED:
        found = _spaced(found, [tokens[each.positions[0]] >= tokenizer.eos_token_id for each in found])
    _attach_opening(found)
    _attach_closing(found)
    return [word for word in found if word.text]


def _characters(tokenizer: Any, tokens: Sequence[int]) -> list[Word]:
    """The shortest runs of tokens that are whole characters; what is left of a broken one at the end is dropped."""
    whole = tokenizer.decode(list(tokens), decode_with_timestamps=True)
    found: list[Word] = []
    start = done = 0
    for end in range(1, len(tokens) + 1):
        text = tokenizer.decode(list(tokens[start:end]), decode_with_timestamps=True)
        at = done + text.find(_BROKEN)
        if _BROKEN not in text or at >= len(whole) or whole[at] == _BROKEN:  # or it is one in the transcript itself
            found.append(Word(text, list(range(start, end))))
            start, done = end, done + len(text)
    return found


def _spaced(parts: Sequence[Word], special: Sequence[bool]) -> list[Word]:
    """Words that begin with a space, a mark or a special token; everything else goes on with the word before it."""
    found: list[Word] = []
    for part, alone in zip(parts, special, strict=True):
        # A part of a word in punctuation, empty or of several marks, is looked for as it is, as in the original.
        if not found or alone or part.text.startswith(" ") or part.text.strip() in string.punctuation:
            found.append(part)
        else:
            found[-1].take(part)
    return found


def _attach_opening(found: Sequence[Word]) -> None:
    """Marks that open something, with a space before them, go to the word that follows."""
    next_word = len(found) - 1
    for i in range(len(found) - 2, -1, -1):
        if found[i].text.startswith(" ") and found[i].text.strip() in _OPENING:
            found[next_word].join(found[i])
        else:
            next_word = i


def _attach_closing(found: Sequence[Word]) -> None:
    """Marks that close something go to the word before them, unless that ends with a space."""
    last = 0
    for i in range(1, len(found)):
        if not found[last].text.endswith(" ") and found[i].text in _CLOSING:
            found[last].take(found[i])
        else:
            last = i
