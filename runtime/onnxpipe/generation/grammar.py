"""Constrain text to a grammar at every step of decoding: JSON by a schema, a regular expression, or any grammar.

The grammars run in llguidance (the extra `grammar`), which gives the tokens that may come next. The processor here
keeps its state per text generated so far, so rows may be sampled, reordered by a beam search, or tried and dropped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from onnxpipe.errors import UnfinishedAnswerError, UnsupportedError
from onnxpipe.generation.grammar_finish import Finisher, allowed_tokens
from onnxpipe.generation.response_format import grammar_source, matcher_class

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

Array = NDArray[Any]

_LAST_RESORT = np.float32(-1e9)
"""The score of tokens that the grammar allows if other processors have forbidden every one of them."""

_LOOSE = 8
"""With so many tokens to spare any token may come: hardly one makes the text's shortest end that much longer."""

_TRIED = 32
"""With fewer, only those of the likeliest tokens may come after which the text can still end; so many are tried."""

_SEARCHED = 4
"""For so many of them an end is searched for; the others must go with the end that is known."""


class GrammarTokenizer(Protocol):
    """The part of a tokenizer that a grammar needs."""

    @property
    def backend_tokenizer(self) -> Any: ...
    @property
    def all_special_ids(self) -> list[int]: ...
    def pieces(self) -> dict[int, bytes]: ...


def grammar_processor(
    response_format: Any,
    tokenizer: Any,
    eos_token_ids: int | Sequence[int],
    vocab_size: int,
    max_length: int | None = None,
) -> GrammarProcessor | None:
    """Make the logits processor of a `response_format`; None for plain text.

    Args:
        response_format: {"type": "text"}, {"type": "json_object"}, {"type": "json_schema", "json_schema": {"schema":
            {…}}}, {"type": "regex", "regex": …}, {"type": "grammar", "grammar": …} (Lark's notation), a JSON schema by
            itself, or a pydantic model (class). None is text.
        tokenizer: the model's (`onnxpipe.processing.Tokenizer`).
        eos_token_ids: the ids that end a text.
        vocab_size: columns of the model's logits, which may be more or fewer than the tokenizer has tokens.
        max_length: tokens after which generation stops, those of the prompt included; the text ends before it if it
            can. None for no limit.

    Raises:
        ValueError: a format of an unknown type, a schema, expression or grammar that is wrong (with llguidance's
            reason), or no id that ends a text.
        MissingDependencyError: llguidance is not installed.
    """
    source = grammar_source(response_format)
    if source is None:
        return None
    ends = (eos_token_ids,) if isinstance(eos_token_ids, (int, np.integer)) else tuple(eos_token_ids)
    if not ends:
        raise ValueError("response_format needs a model with an eos_token_id: pass eos_token_id=")
    root = _root(tokenizer, source, tuple(map(int, ends)), vocab_size)
    return GrammarProcessor(root, ends, vocab_size, tokenizer, max_length)


@dataclass
class _State:
    """The grammar's state after a text.

    Attributes:
        matcher: llguidance's; None after the end, or after a token that the grammar does not allow.
        allowed: bool (vocab,): the tokens that may come next.
        due: the length of rows at which it is looked at how the text can end.
        plan: tokens after which the text is complete, if such are known.
        plans: the same for texts that are longer by one token, by that token.
    """

    matcher: LLMatcher | None
    allowed: NDArray[np.bool_]
    due: int = 0
    plan: list[int] | None = None
    plans: dict[int, list[int]] = field(default_factory=dict)


@dataclass
class GrammarProcessor:
    """Forbids every token that the grammar does not allow next; when nothing may follow, all but the end.

    The first call's rows are the prompt, whatever padding is in them: the grammar begins after it. A call with rows
    that are not longer begins anew. Tokens that other processors have forbidden are allowed again only if the grammar
    has no others: an answer that is not well-formed is worth nothing.

    Args:
        root: the matcher at the beginning.
        ends: the ids that end a text.
        vocab_size: columns of the scores.
        tokenizer: the model's.
        max_length: tokens of a row at which generation stops; None for no limit.
    """

    root: LLMatcher
    ends: tuple[int, ...]
    vocab_size: int
    tokenizer: Any = None
    max_length: int | None = None
    _prompt: int = field(default=-1, init=False)
    _states: dict[bytes, _State] = field(default_factory=dict, init=False)
    _before: dict[bytes, _State] = field(default_factory=dict, init=False)

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """Set the scores of tokens that the grammar forbids to −∞.

        Args:
            input_ids: int64 (rows, length), prompts and generated tokens.
            scores: float32 (rows, vocab).
        """
        length = int(input_ids.shape[1])
        if self._prompt < 0 or length <= self._prompt:
            self._prompt = length
            first = self._state(self.root)
            if self.max_length is not None:  # not before the last half: most texts end earlier
                first.due = self.max_length - max(64, (self.max_length - length) // 2)
            self._states = {b"": first}
        texts = np.ascontiguousarray(input_ids[:, self._prompt :], dtype=np.int64)
        self._before, known = self._states, {**self._before, **self._states}
        self._states = {}
        masked = np.full_like(scores, -np.inf)
        for row, text in enumerate(texts):
            state = self._after(text.tobytes(), known)
            allowed = self._within(state, scores[row], length, text)[: scores.shape[1]]
            masked[row, : len(allowed)] = np.where(allowed, scores[row, : len(allowed)], -np.inf)
            if np.isneginf(masked[row].max()):
                masked[row, np.flatnonzero(allowed)] = _LAST_RESORT
        return masked

    def check_finished(self, sequences: Array) -> None:
        """Check that texts are complete.

        Args:
            sequences: int64 (rows, length), prompts and generated tokens.

        Raises:
            UnfinishedAnswerError: one was cut off.
        """
        for row in np.ascontiguousarray(sequences[:, max(self._prompt, 0) :], dtype=np.int64):
            stops = np.flatnonzero(np.isin(row, self.ends))
            if len(stops):
                continue  # the grammar allows the end only where the text is complete
            matcher = self.root.deep_copy()
            if matcher.try_consume_tokens(row.tolist()) < len(row) or not matcher.is_accepting():
                raise UnfinishedAnswerError(
                    f"response_format: the answer was cut off after {len(row)} tokens, before it had the form that "
                    "was asked for: pass a larger max_new_tokens (and no other rule that stops it)"
                )

    def _within(self, state: _State, scores: Array, length: int, text: Array) -> NDArray[np.bool_]:
        """Compute the tokens that may come next if the text is to end within `max_length`: bool (vocab,)."""
        if self.max_length is None or state.matcher is None or length < state.due:
            return state.allowed
        left = self.max_length - length
        if state.plan is None:
            state.plan = self._finisher().plan(state.matcher, text.tolist(), left)
        if state.plan is None or len(state.plan) > left:
            state.due = length + 4
            return state.allowed
        spare = left - len(state.plan)
        if spare >= _LOOSE:
            state.due = length + 1 + (spare - _LOOSE) // 4
            return state.allowed
        fitting = np.zeros_like(state.allowed)
        fitting[state.plan[:1]] = True
        fitting[[end for end in self.ends if end < len(fitting)]] = True
        fitting &= state.allowed
        useful = state.allowed[: len(scores)].copy()
        useful[self._finisher().blanks] = False  # they would take the tokens that values need
        known = np.flatnonzero(useful)
        likely = known[np.argsort(-scores[known], kind="stable")[:_TRIED]]
        for place, token in enumerate(likely.tolist()):
            if not fitting[token] and self._fits(state, token, left - 1, text, search=place < _SEARCHED):
                fitting[token] = True
        return fitting

    def _fits(self, state: _State, token: int, left: int, text: Array, *, search: bool) -> bool:
        """Whether a text can end within so many tokens after this one; keeps how."""
        assert state.matcher is not None and state.plan is not None
        matcher = state.matcher.deep_copy()
        matcher.consume_token(token)
        for plan in (state.plan[1:], state.plan):
            tried = matcher.deep_copy()
            if len(plan) <= left and tried.try_consume_tokens(plan) == len(plan) and tried.is_accepting():
                state.plans[token] = plan
                return True
        found = self._finisher().plan(matcher, [*text.tolist(), token], left) if search else None
        if found is not None:
            state.plans[token] = found
        return found is not None

    def _finisher(self) -> Finisher:
        known = _FINISHERS.setdefault(self.tokenizer, {})
        key = (self.vocab_size, self.ends)
        if key not in known:
            never = {*self.tokenizer.all_special_ids, *self.ends}
            known[key] = Finisher(self.tokenizer.pieces(), never, self.vocab_size)
        return known[key]

    def _after(self, text: bytes, known: dict[bytes, _State]) -> _State:
        """Compute the state after a text, from that of its longest known beginning."""
        size = np.dtype(np.int64).itemsize
        begin = len(text)
        while begin and text[:begin] not in known:
            begin -= size
        state = known[text[:begin]] if begin or b"" in known else self._state(self.root)
        for end in range(begin + size, len(text) + size, size):
            state = self._next(state, int(np.frombuffer(text[end - size : end], np.int64)[0]))
            known[text[:end]] = state
        self._states[text] = state
        return state

    def _next(self, state: _State, token: int) -> _State:
        if state.matcher is None or token in self.ends or not state.allowed[token]:
            # finished; or a token the grammar forbids, as in beams without any probability left: nothing can follow
            return _State(None, self._mask(self.ends))
        matcher = state.matcher.deep_copy()
        matcher.consume_token(token)
        following = self._state(matcher)
        following.due = state.due
        following.plan = state.plans.get(token, state.plan[1:] if state.plan and token == state.plan[0] else None)
        return following

    def _state(self, matcher: LLMatcher) -> _State:
        allowed = allowed_tokens(matcher, self.vocab_size)
        if matcher.is_error():
            reason = str(matcher.get_error()).partition("\n")[0]
            raise UnsupportedError(
                f"response_format: the tokenizer's tokens cannot spell a text of this grammar: {reason}"
            )
        if not allowed[: self.vocab_size].any():
            raise UnsupportedError(
                "response_format: the tokenizer's tokens cannot spell a text of this grammar: none fits"
            )
        return _State(matcher, allowed)

    def _mask(self, ids: Sequence[int]) -> NDArray[np.bool_]:
        allowed = np.zeros(max(self.vocab_size, max(ids) + 1), np.bool_)
        allowed[list(ids)] = True
        return allowed


_Key = tuple[int, int, tuple[int, ...]]
_FINISHERS: WeakKeyDictionary[Any, dict[tuple[int, tuple[int, ...]], Finisher]] = WeakKeyDictionary()
_VOCABULARIES: WeakKeyDictionary[Any, dict[_Key, LLTokenizer]] = WeakKeyDictionary()


def _root(tokenizer: GrammarTokenizer, source: str, ends: tuple[int, ...], vocab_size: int) -> LLMatcher:
    root = matcher_class()(_vocabulary(tokenizer, ends, vocab_size), source, log_level=0)
    if root.is_error():
        raise ValueError(f"response_format: {root.get_error()}")
    return root


def _vocabulary(tokenizer: GrammarTokenizer, ends: tuple[int, ...], vocab_size: int) -> LLTokenizer:
    """Make llguidance's view of a tokenizer; it takes up to a second, so it is kept as long as the tokenizer."""
    known = _VOCABULARIES.setdefault(tokenizer, {})
    key = (vocab_size, tokenizer.backend_tokenizer.get_vocab_size(with_added_tokens=True), ends)
    if key not in known:
        ids = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=True).values()
        known[key] = _make_vocabulary(tokenizer, ends, max(vocab_size, max(ids) + 1))
    return known[key]


def _make_vocabulary(tokenizer: GrammarTokenizer, ends: tuple[int, ...], size: int) -> LLTokenizer:
    from llguidance import LLTokenizer, TokenizerWrapper

    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    backend.update(padding=None, truncation=None)
    try:
        return LLTokenizer(json.dumps(backend), n_vocab=size, eos_token=list(ends))
    except ValueError:  # it reads byte-level and byte-fallback BPE only
        return LLTokenizer(TokenizerWrapper(_Pieces(tokenizer, ends[0], size)), n_vocab=size, eos_token=list(ends))


class _Pieces:
    """A tokenizer of any kind, by the bytes of its tokens."""

    def __init__(self, tokenizer: GrammarTokenizer, end: int, size: int) -> None:
        pieces = tokenizer.pieces()
        self.eos_token_id = end
        self.bos_token_id = None
        self.tokens = [pieces.get(i, b"") for i in range(size)]
        self.special_token_ids = sorted({*tokenizer.all_special_ids, end})
        special = set(self.special_token_ids)
        self._ids = {piece: i for i, piece in sorted(pieces.items(), reverse=True) if piece and i not in special}
        self._longest = max(map(len, self._ids))

    def __call__(self, text: bytes) -> list[int]:
        """Tokenize a text into pieces, the longest first; up to a byte that no piece has.

        The tokenizer's own call would put a space before the text, but the grammar forces bytes as they are.
        """
        ids: list[int] = []
        place = 0
        while place < len(text):
            ends = range(min(len(text), place + self._longest), place, -1)
            end = next((end for end in ends if text[place:end] in self._ids), None)
            if end is None:
                break
            ids.append(self._ids[text[place:end]])
            place = end
        return ids
