"""Read the special and added tokens that a tokenizer's files declare, and add them to a backend."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxpipe.bundle.files import has_file, read_json
from onnxpipe.errors import BundleError
from onnxpipe.processing.text.languages import LanguageConfig
from onnxpipe.processing.text.setting_kinds import check_settings, is_token
from onnxpipe.processing.text.vocabulary import ROLES


def named_tokens(merged: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Collect the special tokens by role, and those of them that come with flags."""
    by_role = {k: v for k, v in merged.items() if k in ROLES or (k.endswith("_token") and _is_token(v))}
    if isinstance(merged.get("extra_special_tokens"), dict):
        by_role.update(merged["extra_special_tokens"])
    named, specs = {}, {}
    for role, value in by_role.items():
        if value is None:
            continue
        if not _is_token(value):
            raise TypeError(f"Special token {role} has to be either str or AddedToken but got: {type(value)}")
        named[role] = str(token_of(value))
        if not isinstance(value, str):
            specs[named[role]] = token_of(value)
    return named, specs


def extra_tokens(merged: Mapping[str, Any]) -> list[Any]:
    """Collect the special tokens without a role, under either of their names."""
    for name in ("extra_special_tokens", "additional_special_tokens"):
        tokens = merged.get(name)
        if tokens and isinstance(tokens, (list, tuple)):
            return list(tokens)
    return []


def added_tokens(folder: Path, config: Mapping[str, Any], *, literal: bool = False) -> dict[int, Any]:
    """Read the added tokens, by id, of the config or of (older) `added_tokens.json`; see `TokenizerFamily.literal`."""
    from tokenizers import AddedToken

    if "added_tokens_decoder" in config:
        listed = config["added_tokens_decoder"]
        tokens = listed if isinstance(listed, dict) else {}
        if tokens is not listed or not all(_is_id(i) and is_token(t) and _is_token(t) for i, t in tokens.items()):
            raise BundleError(
                f"{folder / 'tokenizer_config.json'}: added_tokens_decoder must map ids to tokens, not {listed!r:.80}"
            )
        plain = {"normalized": False} if literal else {}
        return {int(i): token_of(t if isinstance(t, str) else {**t, **plain}) for i, t in tokens.items()}
    if has_file(folder, "tokenizer.json"):
        return {}  # tokenizer.json has them all, with their flags
    ids = optional_json(folder, "added_tokens.json")
    for token, i in ids.items():
        if isinstance(i, bool) or not isinstance(i, int) or i < 0:
            raise BundleError(f"{folder / 'added_tokens.json'} must map tokens to ids, and {token!r:.80} has {i!r:.80}")
    return {i: AddedToken(token, normalized=True) for token, i in ids.items()}


def _is_id(key: str) -> bool:
    return key.isascii() and key.isdigit() and len(key) < 10


def legacy_tokens(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Read `special_tokens_map.json`, which counts only in folders from before `added_tokens_decoder` existed."""
    if "added_tokens_decoder" in config:
        return {}
    tokens = optional_json(folder, "special_tokens_map.json")
    check_settings(tokens, folder / "special_tokens_map.json")
    return tokens


def with_languages(extra: list[Any], backend: Any, languages: LanguageConfig) -> list[Any]:
    """Add the tokens of all languages to the special tokens: not every checkpoint lists them."""
    matches = re.compile(languages.codes).fullmatch
    found = {token: i for token, i in backend.get_vocab(with_added_tokens=True).items() if matches(token)}
    listed = {str(token) for token in extra}
    missing = [token for token in sorted(found, key=found.__getitem__) if token not in listed]
    return [*extra, *missing] if listed & found.keys() else [*missing, *extra]


def add_missing(
    backend: Any, added: Mapping[int, Any], named: Mapping[str, str], specs: Mapping[str, Any], extra: list[Any]
) -> None:
    """Add to the backend the tokens that only the configuration lists, and those whose flags differ there."""
    from tokenizers import AddedToken

    present = backend.get_added_tokens_decoder().values()
    same = {repr(token) for token in present}
    tokens = [token for _, token in sorted(added.items()) if repr(token) not in same]
    known = {token.content for token in present} | {str(token) for token in tokens}
    for token in [*(specs.get(token, token) for token in named.values()), *extra]:
        if str(token) not in known:
            known.add(str(token))
            tokens.append(token)
    special = set(named.values())
    ready = [AddedToken(token, special=True) if isinstance(token, str) else token for token in tokens]
    for token in ready:
        token.special = token.special or token.content in special
    if ready:
        backend.add_tokens(ready)


def _is_token(value: Any) -> bool:
    return isinstance(value, str) or hasattr(value, "content") or (isinstance(value, dict) and "content" in value)


def token_of(token: Any) -> Any:
    """Build an `AddedToken` from a dict of its fields (as configs hold it); return anything else as it is."""
    from tokenizers import AddedToken

    if not isinstance(token, dict):
        return token
    fields = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
    return AddedToken(**{"special": True, **{k: v for k, v in token.items() if k in fields}})


def optional_json(folder: Path, name: str) -> dict[str, Any]:
    """Read a JSON object of a folder; an empty one where there is no such file."""
    return read_json(folder, name) if has_file(folder, name) else {}
