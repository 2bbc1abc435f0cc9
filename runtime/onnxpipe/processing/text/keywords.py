"""Types of the keyword arguments of a tokenizer's loader and of its call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from onnxpipe.bundle.hub_options import FileKeywords


class TokenizerOverrides(TypedDict, total=False):
    """Settings that `from_pretrained` and `from_folder` take instead of those of the files; None clears a token."""

    model_max_length: int
    max_len: int
    padding_side: str
    truncation_side: str
    model_input_names: Sequence[str]
    clean_up_tokenization_spaces: bool
    split_special_tokens: bool
    chat_template: str | dict[str, str] | None
    bos_token: Any
    eos_token: Any
    unk_token: Any
    sep_token: Any
    pad_token: Any
    cls_token: Any
    mask_token: Any
    extra_special_tokens: Any
    additional_special_tokens: Any
    add_prefix_space: bool
    trim_offsets: bool
    do_lower_case: bool
    strip_accents: bool | None
    tokenize_chinese_chars: bool
    add_bos_token: bool
    add_eos_token: bool
    src_lang: str | None
    tgt_lang: str | None
    legacy: bool
    legacy_behaviour: bool
    language: str | None
    task: str | None
    predict_timestamps: bool
    target_lang: str | None
    word_delimiter_token: Any
    replace_word_delimiter_char: str
    add_blank: bool
    is_uroman: bool
    normalize: bool
    phonemize: bool


class TokenizerKeywords(FileKeywords, TokenizerOverrides, total=False):
    """The keywords of `from_pretrained`: the Hub's, and settings that replace those of the files."""


class TokenizerCallOptions(TypedDict, total=False):
    """The keywords of a tokenizer's call that `encode`, `tokenize` and the two `..._plus` pass on."""

    padding: Any
    truncation: Any
    max_length: int | None
    stride: int
    is_split_into_words: bool
    pad_to_multiple_of: int | None
    padding_side: str | None
    return_tensors: Any
    return_token_type_ids: bool | None
    return_attention_mask: bool | None
    return_overflowing_tokens: bool
    return_special_tokens_mask: bool
    return_offsets_mapping: bool
    return_length: bool
    split_special_tokens: bool | None
    verbose: bool
