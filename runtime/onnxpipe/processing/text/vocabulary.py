"""Convert tokens to ids and back; know the added tokens and the special tokens by their roles."""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from onnxpipe.processing.text.backend_lock import BackendLock

ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class _Token:
    """A special token by its role: a string or None; settable, without adding it to the vocabulary."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, vocabulary: Vocabulary | None, owner: type) -> str | None:
        return None if vocabulary is None else vocabulary._named.get(self._name)

    def __set__(self, vocabulary: Vocabulary, token: Any) -> None:
        vocabulary._name_token(self._name, token)


class _TokenId:
    """The id of a special token, None where there is no such token; settable by id."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name.removesuffix("_id")

    def __get__(self, vocabulary: Vocabulary | None, owner: type) -> int | None:
        token = None if vocabulary is None else vocabulary._named.get(self._name)
        return None if token is None or vocabulary is None else vocabulary._id(token)

    def __set__(self, vocabulary: Vocabulary, token_id: int | None) -> None:
        vocabulary._name_token(
            self._name, None if token_id is None else vocabulary.convert_ids_to_tokens(int(token_id))
        )


class Vocabulary:
    """The vocabulary of a tokenizer: its tokens, added tokens and special tokens.

    Args:
        backend: the `tokenizers.Tokenizer`.
        named: special tokens by role; roles beyond the usual seven are allowed (`image_token`, ...).
        extra: further special tokens, without a role.
        source: the file that the backend was loaded from, for errors.
    """

    bos_token = _Token()
    eos_token = _Token()
    unk_token = _Token()
    sep_token = _Token()
    pad_token = _Token()
    cls_token = _Token()
    mask_token = _Token()
    bos_token_id = _TokenId()
    eos_token_id = _TokenId()
    unk_token_id = _TokenId()
    sep_token_id = _TokenId()
    pad_token_id = _TokenId()
    cls_token_id = _TokenId()
    mask_token_id = _TokenId()

    def __init__(
        self, backend: Any, named: Mapping[str, str], extra: Iterable[str], source: str = "the tokenizer"
    ) -> None:
        self._lock = BackendLock(backend, source)
        self._named = dict(named)
        self._extra = list(extra)

    def __getattr__(self, name: str) -> Any:
        """Get a special token of another role, or its id: `tokenizer.image_token`, `tokenizer.image_token_id`."""
        named = self.__dict__.get("_named", {})
        if name in named:
            return named[name]
        if name.endswith("_id") and name[:-3] in named:
            return self._id(named[name[:-3]])
        raise AttributeError(f"{type(self).__name__} has no attribute {name}")

    # -- the vocabulary ---------------------------------------------------------------------------------------------
    @property
    def backend_tokenizer(self) -> Any:
        """The `tokenizers.Tokenizer` inside. Every call sets its truncation and padding anew."""
        return self._lock.backend

    @property
    def is_fast(self) -> bool:
        """True: all tokenizers of this package are fast ones."""
        return True

    @property
    def vocab_size(self) -> int:
        """The number of tokens of the model, without added tokens."""
        return int(self.backend_tokenizer.get_vocab_size(with_added_tokens=False))

    def __len__(self) -> int:
        """The number of tokens of the model and added tokens."""
        return int(self.backend_tokenizer.get_vocab_size(with_added_tokens=True))

    def __bool__(self) -> bool:
        return True

    def get_vocab(self) -> dict[str, int]:
        """Return the id of every token, added tokens included."""
        return dict(self.backend_tokenizer.get_vocab(with_added_tokens=True))

    @property
    def vocab(self) -> dict[str, int]:
        """The same as `get_vocab()`."""
        return self.get_vocab()

    @property
    def added_tokens_decoder(self) -> dict[int, Any]:
        """The added tokens (`tokenizers.AddedToken`) by id."""
        return dict(sorted(self.backend_tokenizer.get_added_tokens_decoder().items()))

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """The ids of the added tokens, in the order of the ids."""
        return {token.content: token_id for token_id, token in self.added_tokens_decoder.items()}

    def get_added_vocab(self) -> dict[str, int]:
        """Return `added_tokens_encoder`."""
        return self.added_tokens_encoder

    def convert_tokens_to_ids(self, tokens: str | Iterable[str]) -> Any:
        """Look up the id of a token, or of each token; the unknown token's id (or None) if the vocabulary lacks it."""
        return self._id(tokens) if isinstance(tokens, str) else [self._id(token) for token in tokens]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """Look up the token of an id, or of each id; None for ids beyond the vocabulary.

        Args:
            ids: an int, or ints in any sequence or array.
            skip_special_tokens: leave out special tokens (of a sequence).

        Raises:
            ValueError: an id that is no whole number, or is negative.
        """
        token_of = self.backend_tokenizer.id_to_token
        if isinstance(ids, (int, np.integer)):
            return token_of(*whole_ids([ids]))
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        return [token_of(i) for i in whole_ids(ids) if i not in skipped]

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """Count the special tokens that are added to a text, or to a pair of texts."""
        with self._lock.reported():
            return int(self.backend_tokenizer.num_special_tokens_to_add(pair))

    # -- special tokens ---------------------------------------------------------------------------------------------
    @property
    def special_tokens_map(self) -> dict[str, str]:
        """The special tokens that have a role, by role."""
        usual = {role: self._named[role] for role in ROLES if role in self._named}
        return {**usual, **self._named}

    @property
    def all_special_tokens(self) -> list[str]:
        """Every special token, each once: those with a role, then the others."""
        return list(dict.fromkeys([*self.special_tokens_map.values(), *self._extra]))

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of `all_special_tokens`."""
        return [token_id for token_id in map(self._id, self.all_special_tokens) if token_id is not None]

    @property
    def additional_special_tokens(self) -> list[str]:
        """Special tokens without a role (the name of transformers 4)."""
        return list(self._extra)

    @additional_special_tokens.setter
    def additional_special_tokens(self, tokens: Sequence[Any] | None) -> None:
        self._extra = [str(token) for token in tokens or ()]

    @property
    def additional_special_tokens_ids(self) -> list[int | None]:
        """The ids of `additional_special_tokens`."""
        return [self._id(token) for token in self._extra]

    @property
    def extra_special_tokens(self) -> list[str]:
        """Special tokens without a role (the name of transformers 5)."""
        return list(self._extra)

    @extra_special_tokens.setter
    def extra_special_tokens(self, tokens: Sequence[Any] | None) -> None:
        self.additional_special_tokens = tokens

    @property
    def extra_special_tokens_ids(self) -> list[int | None]:
        """The ids of `extra_special_tokens`."""
        return [self._id(token) for token in self._extra]

    # -- adding -----------------------------------------------------------------------------------------------------
    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Add tokens that are never split; known tokens keep their ids. The model must have embeddings for the new ids.

        Args:
            new_tokens: a token (str or `tokenizers.AddedToken`), or a sequence of them.
            special_tokens: whether decoding may skip them.

        Returns:
            The number of tokens that were not among the added tokens yet.
        """
        if not new_tokens:
            return 0
        tokens = list(new_tokens) if isinstance(new_tokens, (list, tuple)) else [new_tokens]
        add = self.backend_tokenizer.add_special_tokens if special_tokens else self.backend_tokenizer.add_tokens
        return int(self._lock.run_exclusively(lambda: add(tokens)))

    def add_special_tokens(
        self, special_tokens_dict: Mapping[str, Any], replace_extra_special_tokens: bool = True
    ) -> int:
        """Assign roles to tokens, and add those that the vocabulary lacks.

        Args:
            special_tokens_dict: token by role; under `extra_special_tokens` or `additional_special_tokens` a list.
            replace_extra_special_tokens: whether that list replaces the present one or is appended to it.

        Returns:
            The number of tokens that were not among the added tokens yet.

        Raises:
            ValueError: a key that is not a role, or a value that is not a token.
        """
        added: list[Any] = []
        for key, value in special_tokens_dict.items():
            if key in ("extra_special_tokens", "additional_special_tokens"):
                added += self._take_extra(key, value, replace_extra_special_tokens)
            elif key in ROLES or key in self._named:
                added.append(_as_special(key, value))
                self._name_token(key, value)
            else:
                known = [*ROLES, "extra_special_tokens"]
                raise ValueError(f"Key {key} is not a valid special token. Valid keys are: {known}")
        return self.add_tokens(added, special_tokens=True)

    def _take_extra(self, key: str, value: Any, replace: bool) -> list[Any]:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"Tokens {value} for key {key} should all be str or AddedToken instances")
        tokens = [_as_special(key, token) for token in value if replace or str(token) not in self._extra]
        self._extra = ([] if replace and tokens else self._extra) + [str(token) for token in tokens]
        return tokens

    def _name_token(self, role: str, token: Any) -> None:
        if token is None:
            self._named.pop(role, None)
        elif isinstance(token, str) or hasattr(token, "content"):
            self._named[role] = str(token)
        else:
            raise ValueError(f"Cannot set a non-string value as the {role}")

    def _id(self, token: str) -> int | None:
        found: int | None = self._lock.backend.token_to_id(token)
        if found is not None:
            return found
        unknown = self._named.get("unk_token")
        return None if unknown is None else self._lock.backend.token_to_id(unknown)


def _as_special(key: str, token: Any) -> Any:
    from tokenizers import AddedToken

    if isinstance(token, str):
        return AddedToken(token, lstrip=False, rstrip=False, normalized=False, special=True)
    if isinstance(token, AddedToken):
        return token
    raise ValueError(f"Token {token} for key {key} should be a str or an AddedToken instance")


def whole_ids(ids: Iterable[Any]) -> list[int]:
    """Return token ids as ints.

    Raises:
        ValueError: one of them is no whole number, or none that a token could have.
    """
    try:
        found = [operator.index(i) for i in ids]
    except TypeError:
        raise ValueError(f"token ids are whole numbers, and these are {reprlib.repr(ids)}") from None
    wrong = next((i for i in found if not 0 <= i <= _LAST_ID), None)
    if wrong is not None:
        raise ValueError(
            f"no token has the id {wrong}: ids count from 0; leave out -100, which marks what is not scored"
        )
    return found


#: The backend's ids have 32 bits.
_LAST_ID = (1 << 32) - 1
