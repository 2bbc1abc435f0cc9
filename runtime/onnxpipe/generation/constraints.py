"""Constraints on a text: phrases that it must contain, or one of several. The interface is transformers 4's.

No code is loaded from the Hub: the classes are this package's own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from onnxpipe.errors import UnsupportedError


class Constraint(ABC):
    """A sequence that must be generated, one token after the other.

    Attributes:
        seqlen: most tokens it takes.
        completed: whether it has been met.
    """

    seqlen: int
    completed: bool = False

    @abstractmethod
    def advance(self) -> int | list[int] | None:
        """The token or tokens that would advance it; None when it is complete."""

    @abstractmethod
    def does_advance(self, token_id: int) -> bool:
        """Whether a token advances it."""

    @abstractmethod
    def update(self, token_id: int) -> tuple[bool, bool, bool]:
        """Take a token: (it advanced, it is complete, it was reset to its beginning)."""

    @abstractmethod
    def reset(self) -> None:
        """Reset to the beginning."""

    @abstractmethod
    def remaining(self) -> int:
        """Number of tokens that are still missing."""

    @abstractmethod
    def copy(self, stateful: bool = False) -> Constraint:
        """Copy the constraint, at its beginning or, stateful, at this one's place."""


class DisjunctiveConstraint(Constraint):
    """One of several token sequences, none of which begins another.

    Args:
        nested_token_ids: the sequences.
    """

    def __init__(self, nested_token_ids: list[list[int]]) -> None:
        _check_nested(nested_token_ids)
        self.token_ids = nested_token_ids
        self.seqlen = max(len(ids) for ids in nested_token_ids)
        self.current_seq: tuple[int, ...] = ()
        self.completed = False

    def advance(self) -> list[int] | None:
        """See Constraint."""
        depth = len(self.current_seq)
        going = [ids for ids in self.token_ids if tuple(ids[:depth]) == self.current_seq]
        return list(dict.fromkeys(ids[depth] for ids in going if len(ids) > depth)) or None

    def does_advance(self, token_id: int) -> bool:
        """See Constraint."""
        return token_id in (self.advance() or ())

    def update(self, token_id: int) -> tuple[bool, bool, bool]:
        """See Constraint."""
        if not self.does_advance(token_id):
            self.reset()
            return False, False, True
        self.current_seq = (*self.current_seq, token_id)
        self.completed = self.advance() is None
        return True, self.completed, False

    def reset(self) -> None:
        """See Constraint."""
        self.completed, self.current_seq = False, ()

    def remaining(self) -> int:
        """See Constraint."""
        return 0 if self.completed else self.seqlen - len(self.current_seq)

    def copy(self, stateful: bool = False) -> DisjunctiveConstraint:
        """See Constraint."""
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__)
        if not stateful:
            other.reset()
        return other


class PhrasalConstraint(DisjunctiveConstraint):
    """One token sequence.

    Args:
        token_ids: the sequence.
    """

    def __init__(self, token_ids: list[int]) -> None:
        if not isinstance(token_ids, list) or not token_ids:
            raise UnsupportedError(f"`token_ids` has to be a non-empty list, but is {token_ids}.")
        if not all(map(_is_token, token_ids)):
            raise UnsupportedError(
                f"Each list in `token_ids` has to be a list of positive integers, but is {token_ids}."
            )
        super().__init__([token_ids])


class ConstraintState:
    """The progress of a row through all constraints: done ones, at most one under way, and those to come.

    Args:
        constraints: all of them, at their beginnings.
    """

    def __init__(self, constraints: list[Constraint]) -> None:
        self._longest = max(one.seqlen for one in constraints)
        self._pending = [one.copy() for one in constraints]
        self._done = 0
        self._current: Constraint | None = None

    @classmethod
    def after(cls, constraints: list[Constraint], ids: list[int]) -> ConstraintState:
        """Make the state of a row."""
        state = cls(constraints)
        for token in ids:
            if state.completed:
                break
            state.add(token)
        return state

    @property
    def completed(self) -> bool:
        """Whether all are met."""
        return not self._pending and self._current is None

    @property
    def bank(self) -> int:
        """Its progress: rows are ranked among those of equal progress."""
        under_way = 0 if self._current is None else self._longest - self._current.remaining()
        return self._done * self._longest + under_way

    def advance(self) -> list[int]:
        """The tokens that advance it."""
        found: list[int] = []
        for one in self._pending if self._current is None else [self._current]:
            tokens = one.advance()
            found += [tokens] if isinstance(tokens, int) else tokens or []
        return found

    def add(self, token: int) -> None:
        """Take a token."""
        if self._current is not None:
            _, complete, reset = self._current.update(token)
            if reset:
                self._pending.append(self._current.copy())
                self._current = None
            elif complete:
                self._done += 1
                self._current = None
            return
        for place, one in enumerate(self._pending):
            if one.does_advance(token):
                _, complete, _ = one.update(token)
                del self._pending[place]
                if complete:
                    self._done += 1
                else:
                    self._current = one
                return

    def plus(self, token: int) -> ConstraintState:
        """Make the state after one more token; this one does not change."""
        other = ConstraintState.__new__(ConstraintState)
        other.__dict__.update(self.__dict__)
        other._pending = [one.copy() for one in self._pending]
        other._current = None if self._current is None else self._current.copy(stateful=True)
        other.add(token)
        return other


def constraints_of(constraints: Any, force_words_ids: Any) -> list[Constraint]:
    """Make the constraints of a config.

    Raises:
        ValueError: `force_words_ids` is not lists of lists of tokens, or of lists of those.
    """
    found = list(constraints or ())
    if force_words_ids is None:
        return found
    message = (
        "`force_words_ids` has to either be a `list[list[list[int]]]` or `list[list[int]]` of positive integers, but "
        f"is {force_words_ids}."
    )
    if not isinstance(force_words_ids, list) or not force_words_ids:
        raise UnsupportedError(message)
    for words in force_words_ids:
        if not isinstance(words, list) or not words:
            raise UnsupportedError(message)
        try:
            found.append(DisjunctiveConstraint(words) if isinstance(words[0], list) else PhrasalConstraint(words))
        except ValueError as error:
            raise UnsupportedError(f"{message} {error}") from None
    return found


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and value >= 0


def _check_nested(nested: Any) -> None:
    name = "nested_token_ids"
    if not isinstance(nested, list) or not nested:
        raise UnsupportedError(f"`{name}` has to be a non-empty list, but is {nested}.")
    if any(not isinstance(ids, list) or not ids for ids in nested):
        raise UnsupportedError(f"`{name}` has to be a list of lists, but is {nested}.")
    if any(not all(map(_is_token, ids)) for ids in nested):
        raise UnsupportedError(f"Each list in `{name}` has to be a list of positive integers, but is {nested}.")
    if any(a is not b and a == b[: len(a)] for a in nested for b in nested):
        raise UnsupportedError(f"Each list in `{name}` can't be a complete subset of another list, but is {nested}.")
