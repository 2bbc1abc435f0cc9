"""Check texts, and convert those of a tokenizer's call to the form that the backend takes."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

_WRONG_INPUT = (
    "text input must be of type `str` (single example), `list[str]` (batch or single pretokenized example) "
    "or `list[list[str]]` (batch of pretokenized examples) or `list[tuple[list[str], list[str]]]` (batch of "
    "pretokenized sequence pairs)"
)


def one_text(value: Any, name: str) -> str:
    """Return `value` if it is a text.

    Args:
        value: the text.
        name: what the error calls it: an argument, a key, an item of a list.

    Raises:
        ValueError: it is missing (None, NaN), of another type, or has half of a surrogate pair.
    """
    if not isinstance(value, str):
        raise ValueError(f"{name} is {described(value)}: pass a text (str)")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{name} is not valid Unicode: its character {error.start} is half of a surrogate pair "
                f"(U+{ord(value[error.start]):04X}); read the text with errors='replace', or remove that character"
            ) from None
    return value


def text_list(values: Any, name: str) -> list[str]:
    """Return `values` as a list if they are texts: a list, a tuple, an array or any other iterable of str.

    Args:
        values: the texts.
        name: what errors call them.

    Raises:
        ValueError: a single text, something that is not a list, or an item that is not a text (see `one_text`).
    """
    if isinstance(values, str):
        raise ValueError(f"{name} is the text {values[:80]!r}, where a list of texts belongs: pass [{values[:80]!r}]")
    if isinstance(values, (Mapping, bytes, bytearray)) or not isinstance(values, Iterable):
        raise ValueError(f"{name} is {described(values)}: pass a list of texts")
    return [one_text(value, f"{name}[{i}]") for i, value in enumerate(values)]


def described(value: Any) -> str:
    """Say in a few words what stands where a text belongs."""
    # NaN is not equal to itself; pandas' NA and NaT say what they are by name
    if value is None or (isinstance(value, float) and value != value):
        return f"missing ({value})"
    kind = type(value).__name__
    if kind in ("NAType", "NaTType"):
        return f"missing ({value})"
    return f"of type {kind} ({reprlib.repr(value)})"


def as_batch(text: Any, text_pair: Any, words: bool) -> tuple[bool, list[Any]]:
    """Return whether the input is a batch, and its texts or pairs of texts as the backend takes them.

    Args:
        text, text_pair: as in the tokenizer's call.
        words: whether the texts are lists of words.

    Raises:
        ValueError: something that is not a text, or different numbers of first and second texts.
        TypeError: one second text for a batch of first ones.
    """
    for name, value in (("text", text), ("text_pair", text_pair)):
        if not isinstance(value, (str, list, tuple)) and (name == "text" or value is not None):
            raise ValueError(f"{name} is {described(value)}: {_WRONG_INPUT}")
    listed = isinstance(text, (list, tuple))
    if not listed or (words and not (text and isinstance(text[0], (list, tuple)))):
        for name, value in (("text", text), *([("text_pair", text_pair)] if text_pair else [])):
            _check_sequence(value, name, words)
        return False, [(text, text_pair) if text_pair else text]
    if text_pair is None:
        for i, item in enumerate(text):
            _check_item(item, f"text[{i}]", words)
        return True, list(text)
    if isinstance(text_pair, str):
        raise TypeError(
            "when tokenizing batches of text, `text_pair` must be a list or tuple with the same length as `text`."
        )
    if len(text) != len(text_pair):
        raise ValueError(
            f"batch length of `text`: {len(text)} does not match batch length of `text_pair`: {len(text_pair)}."
        )
    for name, values in (("text", text), ("text_pair", text_pair)):
        for i, item in enumerate(values):
            _check_sequence(item, f"{name}[{i}]", words)
    return True, list(zip(text, text_pair))


def _check_sequence(value: Any, name: str, words: bool) -> None:
    """Raise ValueError unless the value is a text, or a list of words where `words` are asked for."""
    if not words:
        one_text(value, name)
    elif not isinstance(value, (list, tuple)):
        raise ValueError(f"{_WRONG_INPUT}; with is_split_into_words, {name} must be a list of words, not {value!r:.80}")
    else:
        for i, word in enumerate(value):
            one_text(word, f"{name}[{i}]")


def _check_item(value: Any, name: str, words: bool) -> None:
    """Raise ValueError unless the value is an item of a batch: a text (or its words), or a pair of them."""
    pair = isinstance(value, (list, tuple)) and (not words or any(isinstance(part, (list, tuple)) for part in value))
    if not pair:
        _check_sequence(value, name, words)
        return
    if len(value) != 2:
        raise ValueError(f"{_WRONG_INPUT}; {name} has {len(value)} texts, and a pair has two")
    for i, part in enumerate(value):
        _check_sequence(part, f"{name}[{i}]", words)
