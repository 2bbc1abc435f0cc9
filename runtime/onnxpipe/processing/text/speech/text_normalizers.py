"""Normalise transcripts for comparison: lower case, without punctuation and without text in brackets.

Source: A. Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (2022), appendix C.
"""

from __future__ import annotations

import re
import unicodedata

_BRACKETS = re.compile(r"[<\[][^>\]]*[>\]]")
_PARENTHESES = re.compile(r"\(([^)]+?)\)")
_SPACES = re.compile(r"\s+")
#: Letters that Unicode does not decompose -> the letters that replace them.
_LETTERS = str.maketrans(
    {"œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "æ": "ae", "Æ": "AE", "ß": "ss", "ẞ": "SS", "đ": "d", "Đ": "D",
     "ð": "d", "Ð": "D", "þ": "th", "Þ": "th", "ł": "l", "Ł": "L"}
)  # fmt: skip


def basic_normalize(text: str, *, remove_diacritics: bool = False) -> str:
    """Normalise a text in any language.

    Args:
        text: the text.
        remove_diacritics: whether to remove accents too.
    """
    text = _PARENTHESES.sub("", _BRACKETS.sub("", text.lower()))
    text = without_symbols_and_diacritics(text) if remove_diacritics else _without_symbols(text)
    return _SPACES.sub(" ", text.lower())


def without_symbols_and_diacritics(text: str, keep: str = "") -> str:
    """Replace every mark and symbol by a space, except those of `keep`, and remove accents."""
    return "".join(
        character if character in keep else _plain(character) for character in unicodedata.normalize("NFKD", text)
    )


def _plain(character: str) -> str:
    if ord(character) in _LETTERS:
        return character.translate(_LETTERS)
    if unicodedata.category(character) == "Mn":
        return ""
    return _unmarked(character)


def _without_symbols(text: str) -> str:
    return "".join(map(_unmarked, unicodedata.normalize("NFKC", text)))


def _unmarked(character: str) -> str:
    return " " if unicodedata.category(character)[0] in "MSP" else character
