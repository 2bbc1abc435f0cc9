"""Audio as tokens: codebooks that are delayed against each other (MusicGen), or interleaved in one row (Bark)."""

from __future__ import annotations

import math

import numpy as np

from onnxpipe.errors import UnsupportedError
from onnxpipe.generation.numerics import softmax
from onnxpipe.generation.processors import LogitsProcessor, Tokens, positive_tokens
from onnxpipe.generation.protocols import Array

#: In a pattern: a code that is to be generated.
OPEN = -1


def delays(codebooks: int, channels: int) -> Array:
    """Compute the delay of each codebook in frames, int64 (codebooks,); the channels' codebooks are interleaved."""
    return np.arange(codebooks) // channels


def delay_pattern(codes: Array, max_length: int, channels: int, pad: int) -> Array:
    """Lay out the codes of each codebook and frame, delayed (Copet et al. 2023, arXiv:2306.05284, section 2.1).

    With 4 codebooks and a `max_length` of 8, P for `pad`:

        P . . . . P P P
        P P . . . . P P
        P P P . . . . P
        P P P P . . . .

    Args:
        codes: int64 (rows, codebooks, length): `pad`, and the codes to continue.
        max_length: frames in all.
        channels: 1, or 2 for stereo.
        pad: the token for "no code".

    Returns:
        int64 (rows, codebooks, max_length): OPEN where a code is to be generated.
    """
    rows, codebooks, length = codes.shape
    pattern = np.full((rows, codebooks, max_length), OPEN, np.int64)
    if not is_delayed(max_length, codebooks, channels):
        return pattern
    late = delays(codebooks, channels)
    for book, by in enumerate(late):
        end = min(by + length, max_length)
        pattern[:, book, by:end] = codes[:, book, : end - by]
        pattern[:, book, : by + 1] = pad
        pattern[:, book, max_length - (late[-1] - by) :] = pad
    return pattern


def is_delayed(max_length: int, codebooks: int, channels: int) -> bool:
    """Whether there is room for the delays; with fewer frames all codebooks begin at once."""
    return max_length >= 2 * (codebooks // channels) - 1


def undelayed(ids: Array, max_length: int, channels: int) -> Array:
    """Undo the delays: the codes of whole frames, int64 (rows, codebooks, frames).

    Args:
        ids: int64 (rows, codebooks, length): as generated, `length` being `max_length` or less.
        max_length, channels: as for the pattern.
    """
    codebooks, length = ids.shape[1:]
    if not is_delayed(max_length, codebooks, channels):
        return ids[:, :, 1:]
    late = delays(codebooks, channels)
    frames = max(length - 1 - int(late[-1]), 0)
    return np.stack([ids[:, book, by + 1 : by + 1 + frames] for book, by in enumerate(late)], axis=1)


class AlternatingCodebooksLogitsProcessor(LogitsProcessor):
    """Allows codes of the first codebook and of the second in turn.

    Args:
        input_start_len: length of the prompt, after which the first codebook begins.
        semantic_vocab_size: tokens that are not codes, before those of the first codebook.
        codebook_size: codes of a codebook.
    """

    any_rows = True
    only_adds = True

    def __init__(self, input_start_len: int, semantic_vocab_size: int, codebook_size: int) -> None:
        if not isinstance(input_start_len, int) or input_start_len < 0:
            raise UnsupportedError(
                f"`input_starting_length` has to be a non-negative integer, but is {input_start_len}"
            )
        self.input_start_len = input_start_len
        self.semantic_vocab_size = semantic_vocab_size
        self.codebook_size = codebook_size

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        out = np.full_like(scores, -math.inf)
        second = self.semantic_vocab_size + self.codebook_size
        is_first = (input_ids.shape[-1] - self.input_start_len) % 2 == 0
        kept = slice(self.semantic_vocab_size, second) if is_first else slice(second, None)
        out[:, kept] = scores[:, kept]
        return out


class BarkEosPrioritizerLogitsProcessor(LogitsProcessor):
    """Forces the end where its probability is above `min_eos_p`.

    Args:
        eos_token_id: the end tokens.
        min_eos_p: None changes nothing.
    """

    any_rows = True

    def __init__(self, eos_token_id: Tokens, min_eos_p: float | None) -> None:
        self.eos_token_id = positive_tokens(eos_token_id)
        if min_eos_p is not None and min_eos_p <= 0:
            raise UnsupportedError(f"`min_eos_p` has to be a positive float, but is {min_eos_p}")
        self.min_eos_p = min_eos_p

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        if not self.min_eos_p:
            return scores
        ends = (softmax(scores)[:, self.eos_token_id] > self.min_eos_p).any(axis=1)
        out = scores.copy()
        out[ends] = -math.inf
        out[np.ix_(ends, self.eos_token_id)] = scores[np.ix_(ends, self.eos_token_id)]
        return out
