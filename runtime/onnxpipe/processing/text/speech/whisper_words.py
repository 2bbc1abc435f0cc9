"""Group Whisper's tokens into words: first into whole characters, then words, then punctuation joins its word.

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
        text: the word as in the transcript, with the space before it.
        positions: the positions of its tokens in the list of all tokens.
    """

    text: str
    positions: list[int]

    def prepend(self, before: Word) -> None:
        """Prepend another word to this one, and empty the other."""
        self.text, self.positions = before.text + self.text, before.positions + self.positions
        before.text, before.positions = "", []

    def append(self, behind: Word) -> None:
        """Append another word to this one, and empty the other."""
        self.text, self.positions = self.text + behind.text, self.positions + behind.positions
        behind.text, behind.positions = "", []


def words_of(tokenizer: Any, tokens: Sequence[int], language: str | None = None) -> list[Word]:
    """Group tokens into words.

    Args:
        tokenizer: Whisper's.
        tokens: text tokens, without time stamps.
        language: the language's name in lower case; None for the tokenizer's, or else English.
    """
    spoken = language or tokenizer.language or "english"
    found = _characters(tokenizer, tokens)
    if spoken not in _UNSPACED:
        found = _spaced(found, [tokens[each.positions[0]] >= tokenizer.eos_token_id for each in found])
    _attach_opening(found)
    _attach_closing(found)
    return [word for word in found if word.text]


def _characters(tokenizer: Any, tokens: Sequence[int]) -> list[Word]:
    """Group tokens into the shortest runs that are whole characters; a broken character at the end is dropped."""
    whole = tokenizer.decode(list(tokens), decode_with_timestamps=True)
    found: list[Word] = []
    start = done = 0
    for end in range(1, len(tokens) + 1):
        text = tokenizer.decode(list(tokens[start:end]), decode_with_timestamps=True)
        at = done + text.find(_BROKEN)
        if _BROKEN not in text or at >= len(whole) or whole[at] == _BROKEN:  # the last: the transcript itself has it
            found.append(Word(text, list(range(start, end))))
            start, done = end, done + len(text)
    return found


def _spaced(parts: Sequence[Word], special: Sequence[bool]) -> list[Word]:
    """Start words at a space, a punctuation mark or a special token; join everything else to the word before it."""
    found: list[Word] = []
    for part, alone in zip(parts, special, strict=True):
        # `in` a string also matches an empty part and several marks in a row, as in the original.
        if not found or alone or part.text.startswith(" ") or part.text.strip() in string.punctuation:
            found.append(part)
        else:
            found[-1].append(part)
    return found


def _attach_opening(found: Sequence[Word]) -> None:
    """Join opening marks, with a space before them, to the word after them."""
    next_word = len(found) - 1
    for i in range(len(found) - 2, -1, -1):
        if found[i].text.startswith(" ") and found[i].text.strip() in _OPENING:
            found[next_word].prepend(found[i])
        else:
            next_word = i


def _attach_closing(found: Sequence[Word]) -> None:
    """Join closing marks to the word before them, unless it ends with a space."""
    last = 0
    for i in range(1, len(found)):
        if not found[last].text.endswith(" ") and found[i].text in _CLOSING:
            found[last].append(found[i])
        else:
            last = i
