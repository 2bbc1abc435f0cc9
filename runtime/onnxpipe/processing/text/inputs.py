"""Convert the texts of a tokenizer's call to the form that the backend takes."""

from __future__ import annotations

from typing import Any

_WRONG_INPUT = (
    "text input must be of type `str` (single example), `list[str]` (batch or single pretokenized example) "
    "or `list[list[str]]` (batch of pretokenized examples) or `list[tuple[list[str], list[str]]]` (batch of "
    "pretokenized sequence pairs)."
)


def as_batch(text: Any, text_pair: Any, words: bool) -> tuple[bool, list[Any]]:
    """Return whether the input is a batch, and its texts or pairs of texts as the backend takes them.

    Args:
        text, text_pair: as in the tokenizer's call.
        words: whether the texts are lists of words.

    Raises:
        ValueError: something that is not a text, or different numbers of first and second texts.
        TypeError: one second text for a batch of first ones.
    """
    if not _is_text(text) or (text_pair is not None and not _is_text(text_pair)):
        raise ValueError(_WRONG_INPUT)
    listed = isinstance(text, (list, tuple))
    if not listed or (words and not (text and isinstance(text[0], (list, tuple)))):
        return False, [(text, text_pair) if text_pair else text]
    if text_pair is None:
        return True, list(text)
    if isinstance(text_pair, str):
        raise TypeError(
            "when tokenizing batches of text, `text_pair` must be a list or tuple with the same length as `text`."
        )
    if len(text) != len(text_pair):
        raise ValueError(
            f"batch length of `text`: {len(text)} does not match batch length of `text_pair`: {len(text_pair)}."
        )
    return True, list(zip(text, text_pair))


def _is_text(value: Any, depth: int = 3) -> bool:
    """Check that the value is a str, or lists of str up to three deep; only the first item of each list is read."""
    if isinstance(value, str):
        return True
    if not isinstance(value, (list, tuple)) or not depth:
        return False
    return not value or _is_text(value[0], depth - 1)
