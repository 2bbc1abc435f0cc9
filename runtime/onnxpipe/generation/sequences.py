"""Logits processors that search for sequences of tokens: repeated n-grams, bad words, biased sequences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxpipe.errors import UnsupportedError
from onnxpipe.generation.processors import AddingLogitsProcessor, LogitsProcessor, Tokens, token_array
from onnxpipe.generation.protocols import Array

_Prepared = list[tuple[Array, Array, Array]]


class NoRepeatNGramLogitsProcessor(LogitsProcessor):
    """Forbids tokens that would complete an n-gram which the row, its prompt included, has already."""

    any_rows = True
    only_adds = True

    def __init__(self, ngram_size: int) -> None:
        self.ngram_size = _size("ngram_size", ngram_size)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        if input_ids.shape[-1] < self.ngram_size:
            return scores
        return _without(scores, input_ids, _tail(input_ids, self.ngram_size), self.ngram_size)


class EncoderNoRepeatNGramLogitsProcessor(LogitsProcessor):
    """Forbids tokens that would complete an n-gram of the encoder's input (of a decoder: of the prompt)."""

    def __init__(self, encoder_ngram_size: int, encoder_input_ids: Array) -> None:
        self.ngram_size = _size("encoder_ngram_size", encoder_ngram_size)
        self.encoder_input_ids = np.atleast_2d(encoder_input_ids)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        size, source = self.ngram_size, self.encoder_input_ids
        if input_ids.shape[-1] < size - 1 or source.shape[-1] < size:
            return scores
        source = np.repeat(source, len(scores) // len(source), axis=0)
        return _without(scores, source, _tail(input_ids, size), size)


class SequenceBiasLogitsProcessor(AddingLogitsProcessor):
    """Adds a bias to the last token of a sequence where the row ends in the tokens before it.

    Args:
        sequence_bias: {(token, ...): bias} or [[[token, ...], bias], ...]; sequences of one token always apply.
    """

    any_rows = True

    def __init__(self, sequence_bias: Mapping[tuple[int, ...], float] | list[list[Any]]) -> None:
        _check_bias(sequence_bias)
        if isinstance(sequence_bias, list):
            sequence_bias = {tuple(ids): bias for ids, bias in sequence_bias}
        self.sequence_bias = dict(sequence_bias)
        self._prepared: _Prepared | None = None

    def add_to(self, input_ids: Array, scores: Array) -> None:
        """See the class."""
        if self._prepared is None:
            self._prepared = _prepare_bias(self.sequence_bias, scores.shape[-1])
        for heads, lasts, biases in self._prepared:
            width = heads.shape[1]
            if not width:
                scores[:, lasts] += biases
            elif width <= input_ids.shape[1]:
                rows, which = np.nonzero((input_ids[:, None, -width:] == heads).all(-1))
                np.add.at(scores, (rows, lasts[which]), biases[which])


class NoBadWordsLogitsProcessor(SequenceBiasLogitsProcessor):
    """Never these sequences of tokens. An entry that is one end token alone is left out.

    Args:
        bad_words_ids: lists of tokens.
        eos_token_id: the end tokens.
    """

    def __init__(self, bad_words_ids: list[list[int]], eos_token_id: Tokens | None = None) -> None:
        _check_bad_words(bad_words_ids)
        ends = [] if eos_token_id is None else token_array(eos_token_id).tolist()
        kept = [tuple(ids) for ids in bad_words_ids if not (len(ids) == 1 and ids[0] in ends)]
        self.sequence_bias = dict.fromkeys(kept, -math.inf)
        self._prepared = None


def _size(name: str, size: int) -> int:
    if not isinstance(size, int) or size <= 0:
        raise UnsupportedError(f"`{name}` has to be a strictly positive integer, but is {size}")
    return size


def _tail(ids: Array, size: int) -> Array:
    return ids[:, ids.shape[1] + 1 - size :]


def _without(scores: Array, source: Array, tails: Array, size: int) -> Array:
    """Forbid tokens that follow `tails` (rows, size - 1) anywhere in `source` (rows, length)."""
    places = source.shape[1] - size + 1
    matches = np.ones((len(source), places), bool)
    for offset in range(size - 1):
        matches &= source[:, offset : offset + places] == tails[:, offset, None]
    rows, starts = np.nonzero(matches)
    if not rows.size:
        return scores
    banned = source[rows, starts + size - 1]
    inside = banned < scores.shape[-1]
    out = scores.copy()
    out[rows[inside], banned[inside]] = -math.inf
    return out


def _prepare_bias(biases: Mapping[tuple[int, ...], float], vocab: int) -> _Prepared:
    """Make, per length of the head, which may be 0: heads (n, length), lasts (n,), biases (n,)."""
    outside = [token for ids in biases for token in ids if token >= vocab]
    if outside:
        raise UnsupportedError(
            f"The model vocabulary size is {vocab}, but the following tokens were being biased: {outside}"
        )
    groups: dict[int, list[tuple[tuple[int, ...], float]]] = {}
    for ids, bias in biases.items():
        if ids:
            groups.setdefault(len(ids) - 1, []).append((ids, bias))
    return [
        (
            np.array([ids[:-1] for ids, _ in group], np.int64),
            np.array([ids[-1] for ids, _ in group], np.int64),
            np.array([bias for _, bias in group], np.float32),
        )
        for group in groups.values()
    ]


def _is_token(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and bool(value >= 0)


def _check_bias(bias: Any) -> None:
    if not isinstance(bias, (dict, list)) or not bias:
        raise UnsupportedError(
            f"`sequence_bias` has to be a non-empty dictionary, or non-empty list of lists but is {bias}."
        )
    if isinstance(bias, list):
        for item in bias:
            pair = isinstance(item, (list, tuple)) and len(item) == 2
            if not pair or not isinstance(item[0], list) or not all(map(_is_token, item[0])) or not _is_float(item[1]):
                raise UnsupportedError(
                    "Each element in `sequence_bias` has to be a non-empty list of lists of positive integers and "
                    f"float, but is {bias}."
                )
        return
    if any(not isinstance(ids, tuple) for ids in bias):
        raise UnsupportedError(f"`sequence_bias` has to be a dict with tuples as keys, but is {bias}.")
    if any(not ids or not all(map(_is_token, ids)) for ids in bias):
        raise UnsupportedError(
            f"Each key in `sequence_bias` has to be a non-empty tuple of positive integers, but is {bias}."
        )
    if not all(map(_is_float, bias.values())):
        raise UnsupportedError(f"`sequence_bias` has to be a dict with floats as values, but is {bias}.")


def _is_float(value: Any) -> bool:
    return isinstance(value, float)


def _check_bad_words(words: Any) -> None:
    if not isinstance(words, list) or not words:
        raise UnsupportedError(f"`bad_words_ids` has to be a non-empty list, but is {words}.")
    if any(not isinstance(ids, list) for ids in words):
        raise UnsupportedError(f"`bad_words_ids` has to be a list of lists, but is {words}.")
    if any(not ids or not all(map(_is_token, ids)) for ids in words):
        raise UnsupportedError(f"Each list in `bad_words_ids` has to be a list of positive integers, but is {words}.")
