"""What the recipes of the zoo's tokenizers share."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

SIZE = 1000
"""Tokens of a vocabulary, those aside that some families put after it."""


@dataclass(frozen=True)
class SyntheticTokenizer:
    """A tokenizer to save: `config` is tokenizer_config.json, `backend` tokenizer.json, `files` the others."""

    config: dict[str, Any]
    backend: Tokenizer | None = None
    files: dict[str, bytes] = field(default_factory=dict)


def to_json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def add_marks(tokenizer: Tokenizer, tokens: list[str], **flags: bool) -> None:
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False, **flags) for token in tokens])


def added_tokens(tokenizer: Tokenizer) -> dict[str, dict[str, Any]]:
    """`added_tokens_decoder`, as tokenizer_config.json writes it."""
    return {
        str(i): {
            "content": token.content,
            "lstrip": token.lstrip,
            "normalized": token.normalized,
            "rstrip": token.rstrip,
            "single_word": token.single_word,
            "special": token.special,
        }
        for i, token in sorted(tokenizer.get_added_tokens_decoder().items())
    }


def starts_with(tokenizer: Tokenizer, token: str) -> None:
    single, pair = f"{token}:0 $A:0", f"{token}:0 $A:0 {token}:1 $B:1"
    known = [(token, tokenizer.token_to_id(token))]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=known)


def unigram(pieces: list[tuple[str, float]], unknown: str, *, cut: bool = True) -> Tokenizer:
    """Build a Unigram tokenizer over `pieces`, as XLM-RoBERTa's files describe it.

    Args:
        unknown: the piece of what no piece covers.
        cut: no piece spans two words.
    """
    place = [piece for piece, _ in pieces].index(unknown)
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=place, byte_fallback=False))
    space = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), space]) if cut else space
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    return tokenizer
