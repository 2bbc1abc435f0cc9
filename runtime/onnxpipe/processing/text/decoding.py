"""Decode ids to text: whole rows, and the bytes that each token of the vocabulary adds to a text."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

from onnxpipe.processing.text.backend_lock import BackendLock
from onnxpipe.processing.text.vocabulary import Vocabulary, whole_ids

logger = logging.getLogger("onnxpipe")

_SPACED = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")

_BEFORE = "abcdef"
"""A word put before a token, so that the decoder does not strip the token's leading space."""


class DecodingMixin(Vocabulary):
    """Adds decoding to a tokenizer: ids to text.

    Attributes:
        clean_up_tokenization_spaces: the default of `decode`.
    """

    clean_up_tokenization_spaces: bool
    _warned: set[str]
    _cleans_bpe: bool
    """Whether clean-up is done even for BPE."""
    _decoder: BackendLock
    """The backend that generated ids belong to: the target's, where source and target have a vocabulary each."""

    def decode(
        self, token_ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> Any:
        """Decode token ids to a text; a batch of them to a list of texts.

        Args:
            token_ids: an int, ints in a list or array, or a batch of those.
            skip_special_tokens: leave out special tokens.
            clean_up_tokenization_spaces: remove spaces before punctuation; None for the tokenizer's default. Never done
                for BPE, whose spaces are those of the text (as in transformers 5), except for M2M100.

        Raises:
            ValueError: an id that is no whole number, or is negative.
        """
        ids = token_ids.tolist() if hasattr(token_ids, "tolist") else token_ids
        if isinstance(ids, (list, tuple)) and ids and not isinstance(ids[0], int) and hasattr(ids[0], "__len__"):
            return [self.decode(row, skip_special_tokens, clean_up_tokenization_spaces) for row in ids]
        ids = whole_ids([ids] if isinstance(ids, int) else ids)
        with self._decoder.reported():
            text: str = self._decoder.backend.decode(ids, skip_special_tokens=skip_special_tokens)
        clean = clean_up_tokenization_spaces
        if self.clean_up_tokenization_spaces if clean is None else clean:
            text = self._clean_up(text)
        return text

    def batch_decode(
        self, sequences: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> list[str]:
        """Decode each row of ids to a text; see `decode`."""
        texts = self.decode(sequences, skip_special_tokens, clean_up_tokenization_spaces)
        return [texts] if isinstance(texts, str) else list(texts)

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Join tokens to a text, with no clean-up other than the decoder's own."""
        decoder = self._decoder.backend.decoder
        with self._decoder.reported():
            return " ".join(tokens) if decoder is None else str(decoder.decode(list(tokens)))

    def piece_kind(self) -> Literal["byte_level", "byte_fallback"] | None:
        """Find which tokens may be parts of characters: any ("byte_level"), those like `<0x0A>`, or none (None)."""
        state = _state(self._decoder.backend.decoder)
        if _has(state, "ByteFallback"):
            return "byte_fallback"
        return "byte_level" if _has(state, "ByteLevel") else None

    def pieces(self) -> dict[int, bytes]:
        """Return the UTF-8 bytes that each token adds to the text before it, by id (added tokens too).

        Stop strings and the like are matched against them. Source: the cleaned vocabulary of transformers 5.23's
        `StopStringCriteria`.
        """
        with self._decoder.reported():
            return self._pieces_of(self._decoder.backend)

    def _pieces_of(self, backend: Any) -> dict[int, bytes]:
        vocabulary, decoder = backend.get_vocab(with_added_tokens=True), backend.decoder
        kind = self.piece_kind()
        before = backend.encode(_BEFORE, add_special_tokens=False).tokens
        found: dict[int, bytes] = {}
        for token, i in vocabulary.items():
            piece = _bytes_of(token) if kind == "byte_level" else _fallback(token) if kind == "byte_fallback" else None
            if piece is None:
                text = " ".join([*before, token]) if decoder is None else decoder.decode([*before, token])
                piece = text.partition(_BEFORE)[2].encode()
            found[i] = piece
        return found

    def _clean_up(self, text: str) -> str:
        if type(self._decoder.backend.model).__name__ == "BPE" and not self._cleans_bpe:
            self._warn_once(
                "clean-up",
                "Ignoring clean_up_tokenization_spaces=True for a BPE tokenizer: it would remove spaces of the text.",
            )
            return text
        for spaced in _SPACED:
            text = text.replace(spaced, spaced.strip())
        return text

    def _warn_once(self, kind: str, message: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            logger.warning(message)


def _state(decoder: Any) -> Any:
    try:
        return None if decoder is None else json.loads(decoder.__getstate__())
    except Exception:  # a decoder written in Python has no state to read
        return None


def _has(state: Any, kind: str) -> bool:
    if isinstance(state, dict):
        return state.get("type") == kind or any(_has(value, kind) for value in state.values())
    return isinstance(state, list) and any(_has(value, kind) for value in state)


def _fallback(token: str) -> bytes | None:
    digits = token[3:5]
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">") and all(c in _HEX for c in digits):
        return bytes([int(digits, 16)])
    return None


_HEX = frozenset("0123456789abcdefABCDEF")


def _bytes_of(token: str) -> bytes | None:
    table = _byte_table()
    return bytes(table[c] for c in token) if all(c in table for c in token) else None


@lru_cache(maxsize=1)
def _byte_table() -> dict[str, int]:
    """Map the characters of a byte-level vocabulary to bytes: printable bytes to themselves, the others from 256 on.

    Source: GPT-2's tokenizer.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {**{chr(byte): byte for byte in printable}, **{chr(256 + i): byte for i, byte in enumerate(others)}}
