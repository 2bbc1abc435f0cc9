"""Tokenizers of characters or phonemes: build the `tokenizers.Tokenizer`, and decode ids to text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxpipe.bundle.files import has_file, read_json
from onnxpipe.bundle.known_folders import known_folder
from onnxpipe.errors import BundleError, ModelNotFoundError
from onnxpipe.processing.text.vocabulary import whole_ids


def build(folder: Path, tokens: Mapping[str, str], added: Mapping[str, Any] | None) -> Any:
    """Build the backend of a VITS, which has no tokenizer.json; it takes texts that are split into characters.

    Args:
        folder: has a `vocab.json`, or a tokenizer.json, of which only the vocabulary is used.
        tokens: special tokens by role; those that the vocabulary lacks get the ids after it.
        added: tokens by id, as tokenizer_config.json holds them (`added_tokens_decoder`).

    Raises:
        ModelNotFoundError: neither file.
        BundleError: a damaged file.
    """
    from tokenizers import Tokenizer, models

    vocabulary = _read(folder)
    for number, token in (added or {}).items():
        content = token.get("content") if isinstance(token, Mapping) else token
        if not isinstance(content, str) or not number.isdecimal():
            raise BundleError(f"added_tokens_decoder in {folder / 'tokenizer_config.json'}: {number}: {token}")
        vocabulary.setdefault(content, int(number))
    for token in tokens.values():
        vocabulary.setdefault(token, max(vocabulary.values(), default=-1) + 1)
    return Tokenizer(models.WordLevel(vocabulary, unk_token=tokens.get("unk_token", "<unk>")))


def decode_characters(tokenizer: Any, token_ids: Any, skip_special_tokens: bool, clean_up: bool | None) -> Any:
    """Decode as `Tokenizer.decode`, but with the tokenizer's own `convert_tokens_to_string`."""
    ids = token_ids.tolist() if hasattr(token_ids, "tolist") else token_ids
    if isinstance(ids, (list, tuple)) and ids and hasattr(ids[0], "__len__"):
        return [decode_characters(tokenizer, row, skip_special_tokens, clean_up) for row in ids]
    ids = whole_ids([ids] if isinstance(ids, int) else ids)
    text = tokenizer.convert_tokens_to_string(tokenizer.convert_ids_to_tokens(ids, skip_special_tokens))
    wanted = tokenizer.clean_up_tokenization_spaces if clean_up is None else clean_up
    return tokenizer._clean_up(text) if wanted else text


def _read(folder: Path) -> dict[str, int]:
    vocabulary: Any
    path = folder / "vocab.json"
    if has_file(folder, path.name):
        vocabulary = read_json(folder, path.name)
    elif has_file(folder, "tokenizer.json"):
        path = folder / "tokenizer.json"
        model = read_json(folder, path.name).get("model")
        vocabulary = model.get("vocab") if isinstance(model, dict) else None
    elif (known := known_folder(folder)) is not None and known.vocabulary:
        return dict(known.vocabulary)
    else:
        raise ModelNotFoundError(f"{folder} has neither vocab.json nor tokenizer.json")
    if not (isinstance(vocabulary, dict) and all(isinstance(i, int) and i >= 0 for i in vocabulary.values())):
        raise BundleError(f"{path} has no vocabulary: expected tokens with their ids")
    return dict(vocabulary)
