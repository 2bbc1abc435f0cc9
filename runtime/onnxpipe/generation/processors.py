"""Logits processors that need only the rows so far: penalties, lengths, forced and forbidden tokens.

Class names, arguments and messages are transformers'. Each takes int64 (rows, length) and float32 (rows, vocab) and
returns new scores of that shape, or the same array if nothing changes; -inf forbids a token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from onnxpipe.errors import UnsupportedError
from onnxpipe.generation.numerics import log_softmax
from onnxpipe.generation.protocols import Array

Tokens = int | Iterable[int]


class LogitsProcessor:
    """Base of logits processors.

    Attributes:
        any_rows: a row's new scores depend on that row alone, whatever its number, so that finished rows can be left
            out. If it is not set, it is always called with all rows.
        only_adds: it adds to scores or forbids tokens, whatever the scores are: a number added to all scores before it
            does not change the softmax of its result.
    """

    any_rows: bool = False
    only_adds: bool = False

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """Compute new scores, float32 (rows, vocab), for the token after int64 (rows, length)."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(input_ids, scores)")


class AddingLogitsProcessor(LogitsProcessor):
    """Base of processors that add to some of the scores, whatever the scores are."""

    only_adds = True

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """Add to a copy."""
        out = scores.copy()
        self.add_to(input_ids, out)
        return out

    def add_to(self, input_ids: Array, scores: Array) -> None:
        """Add to float32 (rows, vocab), in place, for the token after int64 (rows, length)."""
        raise NotImplementedError(f"{type(self).__name__} must define add_to(input_ids, scores)")


class LogitsProcessorList(list[Callable[[Array, Array], Any]]):
    """Processors in their order."""

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """Apply all of them in turn."""
        for processor in self:
            scores = processor(input_ids, scores)
        return np.asarray(scores)

    def overwrite(self, input_ids: Array, scores: Array) -> Array:
        """Apply all of them in turn to scores that nobody needs afterwards, in place where that is possible."""
        for processor in self:
            if (
                isinstance(processor, AddingLogitsProcessor)
                and type(processor).__call__ is AddingLogitsProcessor.__call__
            ):
                processor.add_to(input_ids, scores)
            else:
                scores = processor(input_ids, scores)
        return np.asarray(scores)

    @property
    def normalise(self) -> bool:
        """Whether logits and their log-softmax give the same scores: the last is a log-softmax, the others only add."""
        *others, last = self or [None]
        return isinstance(last, LogitNormalization) and all(getattr(each, "only_adds", False) for each in others)

    @property
    def before_normalisation(self) -> LogitsProcessorList | None:
        """The processors before the log-softmax that is the last step of scores; None if there are others after it."""
        return LogitsProcessorList(self[:-1]) if self.normalise else None if self else self


class MinLengthLogitsProcessor(LogitsProcessor):
    """Forbids end tokens before `min_length` tokens, the prompt's included."""

    any_rows = True
    only_adds = True

    def __init__(self, min_length: int, eos_token_id: Tokens) -> None:
        if not isinstance(min_length, int) or min_length < 0:
            raise ValueError(f"`min_length` has to be a non-negative integer, but is {min_length}")
        self.min_length = min_length
        self.eos_token_id = token_array(eos_token_id)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        return forbid(scores, self.eos_token_id) if input_ids.shape[-1] < self.min_length else scores


class MinNewTokensLengthLogitsProcessor(LogitsProcessor):
    """Forbids end tokens before `min_new_tokens` tokens after the prompt."""

    any_rows = True
    only_adds = True

    def __init__(self, prompt_length_to_skip: int, min_new_tokens: int, eos_token_id: Tokens) -> None:
        for name, value in (("prompt_length_to_skip", prompt_length_to_skip), ("min_new_tokens", min_new_tokens)):
            if not isinstance(value, int) or value < 0:
                raise ValueError(f"`{name}` has to be a positive integer, but is {value}")
        self.prompt_length_to_skip = prompt_length_to_skip
        self.min_new_tokens = min_new_tokens
        self.eos_token_id = token_array(eos_token_id)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        new = input_ids.shape[-1] - self.prompt_length_to_skip
        return forbid(scores, self.eos_token_id) if new < self.min_new_tokens else scores


class RepetitionPenaltyLogitsProcessor(LogitsProcessor):
    """Lowers scores of tokens that a row has already (Keskar et al. 2019): divided by `penalty`, or times it below 0.

    Args:
        penalty: above 1 against repetition, below 1 for it.
        prompt_ignore_length: leading positions that do not count: one number, or one per row (left padding).
    """

    def __init__(self, penalty: float, prompt_ignore_length: int | Array | None = None) -> None:
        self.penalty = checked_penalty(penalty)
        if isinstance(prompt_ignore_length, int) and prompt_ignore_length < 0:
            raise ValueError(f"`prompt_ignore_length` has to be a positive integer, but is {prompt_ignore_length}")
        if isinstance(prompt_ignore_length, np.ndarray) and prompt_ignore_length.ndim != 1:
            raise ValueError("`prompt_ignore_length` must be 1D")
        self.prompt_ignore_length = prompt_ignore_length
        self.any_rows = not isinstance(prompt_ignore_length, np.ndarray)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        vocab = scores.shape[-1]
        ignored = self.prompt_ignore_length
        if isinstance(ignored, int):
            input_ids = input_ids[:, ignored:]
        elif ignored is not None:
            if len(ignored) != len(input_ids):
                raise UnsupportedError("Incompatible `prompt_ignore_length` batch size")
            input_ids = np.where(np.arange(input_ids.shape[1]) < ignored[:, None], vocab, input_ids)
        return penalized(scores, input_ids, self.penalty)


class EncoderRepetitionPenaltyLogitsProcessor(LogitsProcessor):
    """Raises the score of tokens of the encoder's input (or of a decoder's prompt): repetition penalty 1 / penalty."""

    def __init__(self, penalty: float, encoder_input_ids: Array) -> None:
        self.penalty = 1 / checked_penalty(penalty)
        self.encoder_input_ids = encoder_input_ids

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        copies = max(1, len(scores) // len(self.encoder_input_ids))
        return penalized(scores, np.repeat(self.encoder_input_ids, copies, axis=0), self.penalty)


class PrefixConstrainedLogitsProcessor(LogitsProcessor):
    """Allows only the tokens that a function returns for a row.

    Args:
        prefix_allowed_tokens_fn: (number of the prompt, int64 (length,)) to token ids.
        num_beams: rows per prompt.
    """

    def __init__(self, prefix_allowed_tokens_fn: Callable[[int, Array], Sequence[int]], num_beams: int) -> None:
        self._allowed = prefix_allowed_tokens_fn
        self._num_beams = num_beams

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        mask = np.full_like(scores, -math.inf)
        for row, ids in enumerate(input_ids):
            prompt = row // self._num_beams
            allowed = np.asarray(self._allowed(prompt, ids), np.int64)
            if not allowed.size:
                raise UnsupportedError(
                    f"`prefix_allowed_tokens_fn` returned an empty list for batch ID {prompt}. This means that the "
                    "constraint is unsatisfiable. Please check your implementation of `prefix_allowed_tokens_fn`"
                )
            mask[row, allowed] = 0
        allowed_scores = scores + mask
        # If other processors left none of the allowed tokens in any beam of a prompt, the function has priority.
        dead = np.isneginf(allowed_scores.max(-1)).reshape(-1, self._num_beams).all(-1)
        return np.where(np.repeat(dead, self._num_beams)[:, None], mask, allowed_scores)


class ForcedBOSTokenLogitsProcessor(LogitsProcessor):
    """Forces this token after a start of one token."""

    any_rows = True
    only_adds = True

    def __init__(self, bos_token_id: int) -> None:
        self.bos_token_id = bos_token_id

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        return only(scores, self.bos_token_id) if input_ids.shape[-1] == 1 else scores


class ForcedEOSTokenLogitsProcessor(LogitsProcessor):
    """Forces one of these tokens as the last one before `max_length`."""

    any_rows = True
    only_adds = True

    def __init__(self, max_length: int, eos_token_id: Tokens) -> None:
        self.max_length = max_length
        self.eos_token_id = positive_tokens(eos_token_id)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        return only(scores, self.eos_token_id) if input_ids.shape[-1] == self.max_length - 1 else scores


class InfNanRemoveLogitsProcessor(LogitsProcessor):
    """Replaces NaN by 0, infinity by the largest float, -infinity by the smallest."""

    any_rows = True

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        limits = np.finfo(scores.dtype)
        return np.nan_to_num(scores, nan=0.0, posinf=float(limits.max), neginf=float(limits.min))


class ExponentialDecayLengthPenalty(LogitsProcessor):
    """Makes end tokens more likely, the longer the text is.

    Args:
        exponential_decay_length_penalty: (new tokens before it begins, factor of growth).
        eos_token_id: the end tokens.
        input_ids_seq_length: length of the prompt.
    """

    any_rows = True

    def __init__(
        self,
        exponential_decay_length_penalty: tuple[int, float],
        eos_token_id: Tokens | None,
        input_ids_seq_length: int,
    ) -> None:
        if eos_token_id is None:
            raise ValueError("`exponential_decay_length_penalty` needs an `eos_token_id`")
        self.regulation_start = exponential_decay_length_penalty[0] + input_ids_seq_length
        self.regulation_factor = exponential_decay_length_penalty[1]
        self.eos_token_id = positive_tokens(eos_token_id)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        steps = input_ids.shape[-1] - self.regulation_start
        if steps <= 0:
            return scores
        out = scores.copy()
        end = out[:, self.eos_token_id]
        most = np.finfo(np.float32).max
        with np.errstate(over="ignore"):
            growth = np.float32(np.clip(np.float64(self.regulation_factor) ** steps - 1, -most, most))
            bonus = np.where(np.isfinite(end), np.abs(end), 0) * growth
        out[:, self.eos_token_id] = end + bonus
        return out


class SuppressTokensLogitsProcessor(LogitsProcessor):
    """Forbids these tokens."""

    any_rows = True
    only_adds = True

    def __init__(self, suppress_tokens: Iterable[int]) -> None:
        self.suppress_tokens = token_array(suppress_tokens)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        return forbid(scores, self.suppress_tokens)


class SuppressTokensAtBeginLogitsProcessor(LogitsProcessor):
    """Forbids these tokens when a row has `begin_index` tokens."""

    any_rows = True
    only_adds = True

    def __init__(self, begin_suppress_tokens: Iterable[int], begin_index: int) -> None:
        self.begin_suppress_tokens = token_array(begin_suppress_tokens)
        self.begin_index = begin_index

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        return forbid(scores, self.begin_suppress_tokens) if input_ids.shape[-1] == self.begin_index else scores


class LogitNormalization(LogitsProcessor):
    """Applies log-softmax, so that the scores are log-probabilities again."""

    any_rows = True

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """See the class."""
        return log_softmax(scores)


def token_array(tokens: Tokens) -> Array:
    """Make int64 (n,) of one token or several."""
    return np.atleast_1d(np.asarray(tokens if isinstance(tokens, (int, np.ndarray)) else list(tokens), np.int64))


def positive_tokens(tokens: Tokens) -> Array:
    """The same, for tokens that must not be negative."""
    array = token_array(tokens)
    if (array < 0).any():
        raise ValueError(f"`eos_token_id` has to be a list of positive integers, but is {array}")
    return array


def checked_penalty(penalty: float) -> float:
    """Check a penalty."""
    if not isinstance(penalty, float) or not penalty > 0:
        raise ValueError(f"`penalty` has to be a strictly positive float, but is {penalty}")
    return penalty


def forbid(scores: Array, tokens: Array) -> Array:
    """Copy the scores with -inf for these tokens; ids outside the vocabulary do nothing."""
    out = scores.copy()
    out[:, tokens[(tokens >= 0) & (tokens < scores.shape[-1])]] = -math.inf
    return out


def only(scores: Array, tokens: int | Array) -> Array:
    """Make scores of 0 for these tokens and -inf for all others."""
    out = np.full_like(scores, -math.inf)
    out[:, tokens] = 0
    return out


def penalized(scores: Array, ids: Array, penalty: float) -> Array:
    """Penalize each token of `ids`, int64 (rows, n), once; ids of `vocab` and above do nothing."""
    out = np.concatenate((scores, np.zeros((len(scores), 1), scores.dtype)), axis=1)
    ids = np.minimum(ids, scores.shape[-1])
    chosen = np.take_along_axis(out, ids, 1)
    factor = scores.dtype.type(penalty)
    np.put_along_axis(out, ids, np.where(chosen < 0, chosen * factor, chosen / factor), 1)
    return out[:, :-1]
