"""Check the values of a tokenizer's configuration: each key has a kind, and an error names the file and the key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from onnxpipe.errors import BundleError
from onnxpipe.processing.text.vocabulary import ROLES

_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def is_flag(value: Any) -> bool:
    """Check for true, false or null."""
    return value is None or isinstance(value, bool)


def is_length(value: Any) -> bool:
    """Check for a number of tokens, at least one, or null."""
    return value is None or (
        isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value) and value >= 1
    )


def is_text(value: Any) -> bool:
    """Check for a text or null."""
    return value is None or isinstance(value, str)


def is_token(value: Any) -> bool:
    """Check for a token: a text, an `AddedToken`, a dict of its fields, or null."""
    if isinstance(value, Mapping):
        return isinstance(value.get("content"), str) and all(is_flag(value.get(name)) for name in _FLAGS)
    return is_text(value) or hasattr(value, "content")


def _is_whole(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _is_side(value: Any) -> bool:
    return value in ("left", "right")


def _is_tokens(value: Any) -> bool:
    items = value.values() if isinstance(value, Mapping) else value
    return value is None or (
        isinstance(value, (Mapping, list, tuple)) and all(item is not None and is_token(item) for item in items)
    )


def _is_names(value: Any) -> bool:
    return value is None or (isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value))


def _is_box(value: Any) -> bool:
    return value is None or (
        isinstance(value, (list, tuple))
        and len(value) == 4
        and all(type(edge) is int and 0 <= edge <= 1000 for edge in value)
    )


def _is_template(value: Any) -> bool:
    if isinstance(value, list):
        return all(
            isinstance(entry, Mapping) and all(isinstance(entry.get(key), str) for key in ("name", "template"))
            for entry in value
        )
    return is_text(value) or (isinstance(value, Mapping) and all(isinstance(text, str) for text in value.values()))


_KINDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(
        ("model_max_length", "max_len", "max_row_id", "max_column_id", "max_cell_length"),
        (is_length, "a finite number of at least 1"),
    ),
    "cell_trim_length": (_is_whole, "a whole number"),
    **dict.fromkeys(("padding_side", "truncation_side"), (_is_side, "'left' or 'right'")),
    **dict.fromkeys(
        ("add_blank", "add_bos_token", "add_eos_token", "add_prefix_space", "clean_up_tokenization_spaces",
         "do_lower_case", "do_upper_case", "is_uroman", "legacy", "legacy_behaviour", "normalize", "phonemize",
         "separate_vocabs", "split_special_tokens", "strip_accents", "strip_column_names",
         "tokenize_chinese_chars", "trim_offsets"),
        (is_flag, "true, false or null"),
    ),
    **dict.fromkeys(ROLES, (is_token, "a token: a text, or an object with its text as 'content'")),
    **dict.fromkeys(("extra_special_tokens", "additional_special_tokens"), (_is_tokens, "tokens: a list of texts")),
    **dict.fromkeys(("model_input_names", "chat_control_tokens"), (_is_names, "a list of texts")),
    **dict.fromkeys(
        ("src_lang", "tgt_lang", "target_lang", "language", "replace_word_delimiter_char"), (is_text, "a text")
    ),
    **dict.fromkeys(
        ("cls_token_box", "pad_token_box", "sep_token_box"), (_is_box, "a box: four whole numbers from 0 to 1000")
    ),
    "chat_template": (_is_template, "a text, or a list of objects with 'name' and 'template'"),
}  # fmt: skip


def check_settings(values: Mapping[str, Any], file: Path | None) -> None:
    """Check the values of a file, or of the caller's overrides.

    Args:
        values: by key; keys of no kind are left alone.
        file: where they are from; None for overrides.

    Raises:
        BundleError: a value of the file is of another kind.
        ValueError: one of the overrides.
    """
    for key, value in values.items():
        fits, kind = _KINDS.get(key, (None, ""))
        if fits is None or fits(value):
            continue
        if file is None:
            raise ValueError(f"{key}={value!r:.80} is not possible: pass {kind}")
        raise BundleError(f"{file}: {key} must be {kind}, not {value!r:.80}")
