"""Build a `tokenizers.Tokenizer` from a vocabulary of characters, which CTC models have instead of a tokenizer.json."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxpipe.bundle.files import read_json
from onnxpipe.errors import BundleError


def build(vocabulary: Mapping[str, int], tokens: Mapping[str, str], *, lower: bool = False) -> Any:
    """Build the backend: one token per character, the word delimiter for blanks, longer tokens whole.

    It has the form that transformers.js uses for such vocabularies; its decoder can also read the tokens of frames.

    Args:
        vocabulary: ids by token.
        tokens: special tokens by role, `word_delimiter_token` among them.
        lower: whether texts are in lower case and the vocabulary in capitals.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    delimiter = tokens.get("word_delimiter_token", "|")
    backend = Tokenizer(models.WordLevel(dict(vocabulary), unk_token=tokens.get("unk_token", "<unk>")))
    steps = [normalizers.Replace(" ", delimiter), *(_capitals(vocabulary) if lower else ())]
    backend.normalizer = normalizers.Sequence(steps) if len(steps) > 1 else steps[0]
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.CTC(tokens.get("pad_token", "<pad>"), delimiter, cleanup=True)
    special = set(tokens.values())
    for token, _ in sorted(vocabulary.items(), key=lambda item: item[1]):
        if len(token) > 1:
            whole = AddedToken(token, lstrip=True, rstrip=True, normalized=False, special=token in special)
            backend.add_tokens([whole])
    return backend


def _capitals(vocabulary: Mapping[str, int]) -> list[Any]:
    """Build normalizers that turn letters into those capitals that the vocabulary has."""
    from tokenizers import normalizers

    letters = (chr(i) for i in range(sys.maxunicode + 1))
    pairs = ((letter, letter.upper()) for letter in letters if letter.upper() != letter)
    return [normalizers.Replace(low, up) for low, up in pairs if any(each in vocabulary for each in up)]


def read(folder: Path, target_lang: str | None) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Read the vocabulary of a folder's `vocab.json`; also return those by language (empty if it has only one).

    Raises:
        BundleError: no vocabulary, or none for that language.
    """
    path = folder / "vocab.json"
    found = read_json(folder, path.name)
    nested = {name: value for name, value in found.items() if isinstance(value, dict)}
    if not nested:
        return _checked(found, path), {}
    if target_lang is None:
        raise BundleError(
            f"{path} has one vocabulary per language ({', '.join(sorted(nested)[:8])}, ...): pass target_lang=, or set "
            "it in tokenizer_config.json"
        )
    if target_lang not in nested:
        raise BundleError(f"{path} has no vocabulary for {target_lang!r}; it has {', '.join(sorted(nested))}")
    vocabularies = {name: _checked(value, path) for name, value in nested.items()}
    return vocabularies[target_lang], vocabularies


def _checked(vocabulary: Mapping[str, Any], path: Path) -> dict[str, int]:
    for token, i in vocabulary.items():
        if not isinstance(i, int) or isinstance(i, bool) or i < 0:
            raise BundleError(f"{path}: the id of {token!r} is {i!r}; it must be a whole number of 0 or more")
    return dict(vocabulary)
