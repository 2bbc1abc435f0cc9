"""Stop at a text: by the text of the tokens, with a match that may begin and end inside a token."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from onnxpipe.generation.protocols import Array, TextTokenizer
from onnxpipe.generation.stopping import Scores, StoppingCriteria

#: Decoded before a token whose text is needed, so that it is not the first one, which some decoders strip.
_BEFORE = "abcdef"


class StopStringCriteria(StoppingCriteria):
    """A row stops when one of the strings is in its text and ends inside the last token.

    The row keeps that whole token, so text may follow the string. Where the tokenizer's decoder works on bytes, bytes
    are compared, so that a character split over tokens is found.

    Args:
        tokenizer: the model's.
        stop_strings: one or several.

    Raises:
        ValueError: no string, an empty one, or one that no token of the vocabulary can end.
    """

    def __init__(self, tokenizer: TextTokenizer, stop_strings: str | Sequence[str]) -> None:
        self.stop_strings = (stop_strings,) if isinstance(stop_strings, str) else tuple(stop_strings)
        if not self.stop_strings or not all(isinstance(one, str) and one for one in self.stop_strings):
            raise ValueError(f"`stop_strings` has to be a string or a list of them, none empty, but is {stop_strings}.")
        mode = _decoder_mode(tokenizer)
        self._stops: list[Any] = [one if mode is None else one.encode() for one in self.stop_strings]
        # As transformers, look no further back: every token there is at least a character.
        self._reach = max(len(one) for one in self._stops)
        self._text = _token_texts(tokenizer, mode)
        self._joint: Any = "" if mode is None else b""
        if not any(_can_end(one, mode, tokenizer) for one in self.stop_strings):
            raise ValueError(
                "Stop string preprocessing was unable to identify tokens matching one or more of the supplied stop "
                "string(s). This is most often caused by the stop strings containing unusual characters that are not "
                "in the tokenizer vocabulary."
            )

    def __call__(self, input_ids: Array, scores: Scores, **kwargs: Any) -> Array:
        """See the class."""
        return np.array([self._stopped(row) for row in input_ids[:, -self._reach :].tolist()], bool)

    def _stopped(self, ids: list[int]) -> bool:
        last = self._text(ids[-1]) if ids else None
        if not last:
            return False
        before: list[Any] = []
        length = 0
        for token in reversed(ids[:-1]):
            text = self._text(token)
            if text is None or length >= self._reach:
                break
            before.append(text)
            length += len(text)
        head = self._joint.join(reversed(before))
        # A match that ends inside the last token begins at most its own length before that token.
        return any(one in head[max(0, len(head) - len(one) + 1) :] + last for one in self._stops)


def _decoder_mode(tokenizer: TextTokenizer) -> str | None:
    """Whether the tokenizer's decoder works on bytes: "byte_level" (GPT-2), "byte_fallback" (Llama), or None."""
    decoder = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
    if decoder is None:
        return None
    if type(decoder).__name__ == "ByteLevel":
        return "byte_level"
    try:
        state = json.loads(decoder.__getstate__())
    except (AttributeError, TypeError, ValueError):
        return None
    kinds = set(_types(state))
    return "byte_fallback" if "ByteFallback" in kinds else "byte_level" if "ByteLevel" in kinds else None


def _types(state: Any) -> Iterable[str]:
    if isinstance(state, dict):
        if isinstance(state.get("type"), str):
            yield state["type"]
        for value in state.values():
            yield from _types(value)
    elif isinstance(state, list):
        for value in state:
            yield from _types(value)


def _token_texts(tokenizer: TextTokenizer, mode: str | None) -> Callable[[int], Any]:
    """Make a function from a token id to its text after other text: str, or bytes if the decoder works on them."""
    vocabulary = set(tokenizer.get_vocab().values())
    before = tokenizer.convert_ids_to_tokens(list(tokenizer(_BEFORE, add_special_tokens=False)["input_ids"]))

    @functools.cache
    def text(token_id: int) -> Any:
        if token_id not in vocabulary:
            return None
        token = tokenizer.convert_ids_to_tokens(token_id)
        raw = _raw_bytes(token, mode)
        if raw is not None:
            return raw
        joined = tokenizer.convert_tokens_to_string([*before, token])
        found = joined[joined.index(_BEFORE) + len(_BEFORE) :]
        return found if mode is None else found.encode()

    return text


def _raw_bytes(token: str, mode: str | None) -> bytes | None:
    """The bytes of a token, if its spelling tells them."""
    if mode == "byte_level":
        table = _byte_of_character()
        return bytes(table[char] for char in token) if all(char in table for char in token) else None
    if mode == "byte_fallback" and len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        digits = token[3:5]
        return bytes([int(digits, 16)]) if all(char in "0123456789abcdefABCDEF" for char in digits) else None
    return None


@functools.cache
def _byte_of_character() -> dict[str, int]:
    """GPT-2's alphabet: printable bytes are themselves, the others, in order, the characters from 256 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


def _can_end(stop: str, mode: str | None, tokenizer: TextTokenizer) -> bool:
    """Whether some token has the string's last character; with bytes in the vocabulary one always has."""
    if mode is not None or stop[-1] == " ":  # most vocabularies spell it differently
        return True
    return any(stop[-1] in token for token in tokenizer.get_vocab())
