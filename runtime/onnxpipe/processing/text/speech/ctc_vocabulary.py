"""A vocabulary of characters as a `tokenizers.Tokenizer`: what CTC recognisers have instead of a tokenizer.json."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxpipe.bundle.files import read_json
from onnxpipe.errors import BundleError


def build(vocabulary: Mapping[str, int], tokens: Mapping[str, str], *, lower: bool = False) -> Any:
    """The backend: a token a character, blanks as the word delimiter, longer tokens whole.

    It has the form in which transformers.js keeps such a vocabulary, whose decoder reads a row of frames too.

    Args:
        vocabulary: ids by token.
        tokens: special tokens by role, `word_delimiter_token` among them.
        lower: texts come in lower case and the vocabulary is in capitals.
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
    """What turns letters into those capitals that the vocabulary has."""
    from tokenizers import normalizers

    letters = (chr(i) for i in range(sys.maxunicode + 1))
    pairs = ((letter, letter.upper()) for letter in letters if letter.upper() != letter)
    return [normalizers.Replace(low, up) for low, up in pairs if any(each in vocabulary for each in up)]


def read(folder: Path, target_lang: str | None) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """The vocabulary of a folder's `vocab.json`, and those of all languages, by language (empty where it has one).

    Raises:
        BundleError: no vocabulary, or none of that language.
    """
    path = folder / "vocab.json"
    found = read_json(path)
    nested = {name: value for name, value in found.items() if isinstance(value, dict)}
    if not nested:
        return _checked(found, path), {}
    if target_lang is None:
        raise BundleError(
            f"{path} has a vocabulary a language ({', '.join(sorted(nested)[:8])}, ...): pass target_lang=, or name it "
            "in tokenizer_config.json"
        )
    if target_lang not in nested:
        raise BundleError(f"{path} has no vocabulary of {target_lang!r}; it has {', '.join(sorted(nested))}")
    vocabularies = {name: _checked(value, path) for name, value in nested.items()}
    return vocabularies[target_lang], vocabularies


def _checked(vocabulary: Mapping[str, Any], path: Path) -> dict[str, int]:
    for token, i in vocabulary.items():
        if not isinstance(i, int) or isinstance(i, bool) or i < 0:
            raise BundleError(f"{path}: the id of {token!r} is {i!r}, and has to be a number")
    return dict(vocabulary)
