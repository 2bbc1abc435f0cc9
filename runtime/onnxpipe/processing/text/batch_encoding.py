"""BatchEncoding: a tokenizer's answer, a dict of rows that also maps tokens to words and characters."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from onnxpipe.processing.arrays import check_tensor_type


class CharSpan(NamedTuple):
    """Characters `start` to `end` (excluded) of a text."""

    start: int
    end: int


class TokenSpan(NamedTuple):
    """Tokens `start` to `end` (excluded) of an encoding."""

    start: int
    end: int


class BatchEncoding(UserDict[str, Any]):
    """A dict of `input_ids`, `attention_mask`, ... with their values as attributes too.

    Values are lists of ints for one text, lists of lists for a batch, int64 arrays of shape (batch, tokens) with
    `return_tensors="np"`.

    Args:
        data: the dict, which is not copied.
        encoding: the backend's encodings, one per row. Without them the methods about words and characters raise.
        tensor_type: "np" to turn every value into an array.
        prepend_batch_axis: with `tensor_type`, put every value into a batch of one first.
        n_sequences: 1 for single texts, 2 for pairs; None takes it from the encodings.
    """

    def __init__(
        self,
        data: dict[str, Any] | None = None,
        encoding: Any = None,
        tensor_type: Any = None,
        prepend_batch_axis: bool = False,
        n_sequences: int | None = None,
    ) -> None:
        self.data = {} if data is None else data
        self._encodings = encoding if encoding is None or isinstance(encoding, Sequence) else [encoding]
        self._n_sequences = n_sequences
        if tensor_type is not None:
            self.convert_to_tensors(tensor_type, prepend_batch_axis)

    # -- the dict ---------------------------------------------------------------------------------------------------
    def __getitem__(self, item: Any) -> Any:
        """Get a value by its name; an encoding by its index; without encodings, a slice of every value."""
        if isinstance(item, str):
            return self.data[item]
        if self._encodings is not None:
            return self._encodings[item]
        if isinstance(item, slice):
            return {name: value[item] for name, value in self.data.items()}
        raise KeyError(f"Invalid key {item!r}: use a name, a slice, or an index where there are encodings.")

    def __getattr__(self, name: str) -> Any:
        if name == "data":  # not there yet: an object being unpickled or copied
            raise AttributeError(name)
        try:
            return self.data[name]
        except KeyError:
            raise AttributeError(f"BatchEncoding has no attribute or value {name!r}") from None

    def __getstate__(self) -> dict[str, Any]:
        return {"data": self.data, "encodings": self._encodings, "n_sequences": self._n_sequences}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.data, self._encodings = state["data"], state["encodings"]
        self._n_sequences = state["n_sequences"]

    def convert_to_tensors(self, tensor_type: Any = None, prepend_batch_axis: bool = False) -> BatchEncoding:
        """Turn every value that is not yet an array into one (integers become int64); return itself.

        Args:
            tensor_type: None (nothing happens), "np", or an enum of that value.
            prepend_batch_axis: put every value into a batch of one first.

        Raises:
            UnsupportedError: tensors of another framework.
            ValueError: rows of different lengths.
        """
        if tensor_type is None:
            return self
        check_tensor_type(tensor_type)
        for name, value in self.data.items():
            if prepend_batch_axis or not isinstance(value, np.ndarray):
                self.data[name] = _array(name, [value] if prepend_batch_axis else value)
        return self

    def to(self, device: Any, *, non_blocking: bool = False) -> BatchEncoding:
        """Return itself: arrays stay in host memory, and the session copies them to its device, whichever that is."""
        return self

    # -- the encodings ----------------------------------------------------------------------------------------------
    @property
    def is_fast(self) -> bool:
        """Whether there are encodings, and so the methods below."""
        return self._encodings is not None

    @property
    def encodings(self) -> list[Any] | None:
        """The backend's encodings (`tokenizers.Encoding`), one per row."""
        return None if self._encodings is None else list(self._encodings)

    @property
    def n_sequences(self) -> int | None:
        """1 for single texts, 2 for pairs, None if not known."""
        if self._n_sequences is None and self._encodings:
            self._n_sequences = int(self._encodings[0].n_sequences)
        return self._n_sequences

    def tokens(self, batch_index: int = 0) -> list[str]:
        """Return the tokens of a row."""
        return list(self._encoding(batch_index).tokens)

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """Return which text of the pair each token is from (0 or 1); None for special and padding tokens."""
        return list(self._encoding(batch_index).sequence_ids)

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """Return which word of its text each token is from; None for special and padding tokens."""
        return list(self._encoding(batch_index).word_ids)

    def token_to_sequence(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """Find which text of a pair a token is from. Call it with (token) or (row, token); negative indices work."""
        encoding, index = self._token(batch_or_token_index, token_index)
        found: int | None = encoding.token_to_sequence(index)
        return found

    def token_to_word(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """Find the word a token is from. Call it with (token) or (row, token); negative indices work."""
        encoding, index = self._token(batch_or_token_index, token_index)
        found: int | None = encoding.token_to_word(index)
        return found

    def token_to_chars(self, batch_or_token_index: int, token_index: int | None = None) -> CharSpan | None:
        """Find a token's characters in its text; None for special tokens. Call it with (token) or (row, token)."""
        encoding, index = self._token(batch_or_token_index, token_index)
        span = encoding.token_to_chars(index)
        return None if span is None else CharSpan(*span)

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> TokenSpan | None:
        """Find the tokens of a word, None if it has none. Call it with (word) or (row, word)."""
        row, index = _row_and_index(batch_or_word_index, word_index)
        span = self._encoding(row).word_to_tokens(index, sequence_index)
        return None if span is None else TokenSpan(*span)

    def word_to_chars(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> CharSpan:
        """Find the characters of a word in its text. Call it with (word) or (row, word).

        Raises:
            TypeError: the word has no tokens in this row (as in transformers).
        """
        row, index = _row_and_index(batch_or_word_index, word_index)
        return CharSpan(*self._encoding(row).word_to_chars(index, sequence_index))

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """Find the token of a character of the text, None for blanks. Call it with (character) or (row, character)."""
        row, index = _row_and_index(batch_or_char_index, char_index)
        found: int | None = self._encoding(row).char_to_token(index, sequence_index)
        return found

    def char_to_word(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """Find the word of a character of the text, None for blanks. Call it with (character) or (row, character)."""
        row, index = _row_and_index(batch_or_char_index, char_index)
        found: int | None = self._encoding(row).char_to_word(index, sequence_index)
        return found

    def _encoding(self, row: int) -> Any:
        if not self._encodings:
            raise ValueError(
                "words, tokens and characters are known only for encodings that a tokenizer's call returned"
            )
        return self._encodings[row]

    def _token(self, first: int, second: int | None) -> tuple[Any, int]:
        row, index = _row_and_index(first, second)
        encoding = self._encoding(row)
        return encoding, index + len(encoding) if index < 0 else index


def _row_and_index(first: int, second: int | None) -> tuple[int, int]:
    return (0, first) if second is None else (first, second)


def _array(name: str, value: Any) -> np.ndarray[Any, Any]:
    try:
        array = np.asarray(value)
    except ValueError:  # numpy raises it for rows of different lengths
        array = np.empty(0, object)
    if array.dtype == object:
        raise ValueError(
            "Unable to create tensor, you should probably activate truncation and/or padding with 'padding=True' "
            f"'truncation=True' to have batched tensors with the same length. Perhaps your features (`{name}` in this "
            "case) have excessive nesting (inputs type `list` where type `int` is expected)."
        )
    return array.astype(np.int64, copy=False) if array.size == 0 or array.dtype.kind in "iu" else array
