"""Constrain text to a grammar at every step of decoding: JSON by a schema, a regular expression, or any grammar.

The grammars run in llguidance (the extra `grammar`), which gives the tokens that may come next. The processor here
keeps its state per text generated so far, so rows may be sampled, reordered by a beam search, or tried and dropped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from onnxpipe.errors import MissingDependencyError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

Array = NDArray[Any]

KINDS = ("text", "json_object", "json_schema", "regex", "grammar")
"""The types of a `response_format`."""

_WRAPPER = frozenset({"name", "description", "strict", "schema"})
"""The keys of OpenAI's wrapper of a schema."""

_KEYS: Mapping[Any, frozenset[str]] = {
    "text": frozenset(),
    "json_object": frozenset({"schema"}),
    "json_schema": frozenset({"json_schema", "schema"}),
    "regex": frozenset({"regex", "pattern"}),
    "grammar": frozenset({"grammar"}),
}
"""The keys that a `response_format` may have beside its type."""

_LAST_RESORT = np.float32(-1e9)
"""The score of tokens that the grammar allows if other processors have forbidden every one of them."""

_JSON: dict[str, Any] = {"whitespace_pattern": r"[\x20\x0A\x0D\x09]{1,4}"}
"""At most four blanks between parts of JSON: a model that begins to repeat them would spend all its tokens on them."""


class GrammarTokenizer(Protocol):
    """The part of a tokenizer that a grammar needs."""

    @property
    def backend_tokenizer(self) -> Any: ...
    @property
    def all_special_ids(self) -> list[int]: ...
    def pieces(self) -> dict[int, bytes]: ...


def grammar_processor(
    response_format: Any, tokenizer: Any, eos_token_ids: int | Sequence[int], vocab_size: int
) -> GrammarProcessor | None:
    """Make the logits processor of a `response_format`; None for plain text.

    Args:
        response_format: {"type": "text"}, {"type": "json_object"}, {"type": "json_schema", "json_schema": {"schema":
            {…}}}, {"type": "regex", "regex": …}, {"type": "grammar", "grammar": …} (Lark's notation), a JSON schema by
            itself, or a pydantic model (class). None is text.
        tokenizer: the model's (`onnxpipe.processing.Tokenizer`).
        eos_token_ids: the ids that end a text.
        vocab_size: columns of the model's logits, which may be more or fewer than the tokenizer has tokens.

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
    return GrammarProcessor(_root(tokenizer, source, tuple(map(int, ends)), vocab_size), ends, vocab_size)


def grammar_source(response_format: Any) -> str | None:
    """Make llguidance's grammar of a `response_format`; None for plain text. See `grammar_processor`."""
    if response_format is None:
        return None
    schema = getattr(response_format, "model_json_schema", None)
    if callable(schema):
        return _json_grammar(schema())
    if not isinstance(response_format, Mapping):
        raise ValueError(f'response_format must be a dict with a "type" of {", ".join(KINDS)}, not {response_format!r}')
    kind = response_format.get("type")
    unknown = response_format.keys() - {"type"} - _KEYS[kind] if isinstance(kind, str) and kind in _KEYS else set()
    if unknown:
        raise ValueError(f"response_format: {', '.join(map(repr, sorted(unknown)))} means nothing to type {kind!r}")
    if kind == "text":
        return None
    if kind == "json_object" and "schema" not in response_format:
        return _json_grammar({"type": "object"})
    if kind == "json_object":
        return _json_grammar({"allOf": [{"type": "object"}, _schema_of(response_format)]})
    if kind == "json_schema":
        return _json_grammar(_schema_of(response_format))
    if kind == "regex":
        return str(_matcher().grammar_from_regex(_text(response_format, "regex", "pattern")))
    if kind == "grammar":
        return str(_matcher().grammar_from_lark(_text(response_format, "grammar")))
    if kind in ("object", "array", "string", "number", "integer", "boolean", "null") or (
        kind is None and response_format.keys() & {"$ref", "$defs", "properties", "anyOf", "oneOf", "allOf", "enum"}
    ):
        return _json_grammar(response_format)
    raise ValueError(f"response_format: type {kind!r} is not one of {', '.join(KINDS)}, nor is it a JSON schema")


@dataclass
class _State:
    """The grammar's state after a text.

    Attributes:
        matcher: llguidance's; None after the end, or after a token that the grammar does not allow.
        allowed: bool (vocab,): the tokens that may come next.
    """

    matcher: LLMatcher | None
    allowed: NDArray[np.bool_]


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
    """

    root: LLMatcher
    ends: tuple[int, ...]
    vocab_size: int
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
            self._states = {b"": self._state(self.root)}
        texts = np.ascontiguousarray(input_ids[:, self._prompt :], dtype=np.int64)
        self._before, known = self._states, {**self._before, **self._states}
        self._states = {}
        masked = np.full_like(scores, -np.inf)
        for row, text in enumerate(texts):
            state = self._after(text.tobytes(), known)
            allowed = state.allowed[: scores.shape[1]]
            masked[row, : len(allowed)] = np.where(allowed, scores[row, : len(allowed)], -np.inf)
            if np.isneginf(masked[row].max()):
                masked[row, np.flatnonzero(allowed)] = _LAST_RESORT
        return masked

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
        return self._state(matcher)

    def _state(self, matcher: LLMatcher) -> _State:
        bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")
        if matcher.is_error():
            reason = str(matcher.get_error()).partition("\n")[0]
            raise ValueError(f"response_format: the tokenizer's tokens cannot spell a text of this grammar: {reason}")
        allowed = np.zeros(max(self.vocab_size, len(bits)), np.bool_)
        allowed[: len(bits)] = bits
        if not allowed[: self.vocab_size].any():
            raise ValueError("response_format: the tokenizer's tokens cannot spell a text of this grammar: none fits")
        return _State(matcher, allowed)

    def _mask(self, ids: Sequence[int]) -> NDArray[np.bool_]:
        allowed = np.zeros(max(self.vocab_size, max(ids) + 1), np.bool_)
        allowed[list(ids)] = True
        return allowed


_Key = tuple[int, int, tuple[int, ...]]
_VOCABULARIES: WeakKeyDictionary[Any, dict[_Key, LLTokenizer]] = WeakKeyDictionary()


def _root(tokenizer: GrammarTokenizer, source: str, ends: tuple[int, ...], vocab_size: int) -> LLMatcher:
    root = _matcher()(_vocabulary(tokenizer, ends, vocab_size), source, log_level=0)
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


def _json_grammar(schema: Any) -> str:
    try:
        return str(_matcher().grammar_from_json_schema(json.dumps(schema), defaults=_JSON))
    except (TypeError, ValueError) as error:
        raise ValueError(f"response_format: {error}") from error


def _schema_of(response_format: Mapping[str, Any]) -> Any:
    entry = response_format.get("json_schema", response_format.get("schema"))
    schema = getattr(entry, "model_json_schema", None)
    if callable(schema):
        return schema()
    if isinstance(entry, Mapping) and set(entry) <= _WRAPPER:  # OpenAI's wrapper; a bare schema has other keywords
        entry = entry.get("schema")
        schema = getattr(entry, "model_json_schema", None)
        if callable(schema):
            return schema()
    if entry is True:  # JSON Schema's schema of anything
        return {}
    if not isinstance(entry, Mapping):
        found = "there is none" if entry is None else f"it is {entry!r:.80}"
        raise ValueError(
            'response_format: {"type": "json_schema"} needs "json_schema": {"schema": {…}}, the schema a dict; '
            f"{found}"
        )
    return entry


def _text(response_format: Mapping[str, Any], *names: str) -> str:
    for name in names:
        if isinstance(text := response_format.get(name), str):
            if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
                raise ValueError(f'response_format: "{name}" has a lone surrogate, which is no character')
            return text
    raise ValueError(f'response_format: {{"type": "{names[0]}"}} needs "{names[0]}": a str')


def _matcher() -> Any:
    try:
        from llguidance import LLMatcher
    except ImportError as error:
        raise MissingDependencyError(
            'response_format needs llguidance; install it with: pip install "onnxpipe[grammar]"'
        ) from error
    return LLMatcher
