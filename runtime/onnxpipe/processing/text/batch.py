"""Resolve a tokenizer's call, and build its rows from the backend's encodings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from onnxpipe.processing.text.batch_encoding import BatchEncoding
from onnxpipe.processing.text.strategies import Limits, PaddingStrategy, Truncation, resolve


@dataclass(frozen=True, slots=True)
class ResolvedCall:
    """A tokenizer's call after its arguments and the tokenizer's defaults were combined.

    Attributes:
        pad: how far to pad; None for no padding.
        cut: where to truncate; None for no truncation.
        split: whether special tokens that occur in a text are split.
        add_special_tokens, words, return_tensors, overflow: as in the call (`is_split_into_words`,
            `return_overflowing_tokens`).
        names: the names of the rows to return, in their order.
        length: return the number of tokens of each row.
        warn: warn of rows that are longer than the model's limit.
    """

    pad: PaddingStrategy | None
    cut: Truncation | None
    split: bool
    add_special_tokens: bool
    words: bool
    return_tensors: Any
    overflow: bool
    names: tuple[str, ...]
    length: bool
    warn: bool


#: The rows that a call may return beside `input_ids`.
OPTIONAL = ("token_type_ids", "attention_mask", "special_tokens_mask", "offset_mapping")


@lru_cache(maxsize=64, typed=True)
def resolve_call(
    limits: Limits,
    split: bool,
    add_special_tokens: bool,
    words: bool,
    return_tensors: Any,
    overflow: bool,
    wanted: tuple[bool | None, ...],
    usual: tuple[str, ...],
    length: bool,
    verbose: bool,
    *lengths: Any,
) -> ResolvedCall:
    """Combine a call's arguments with the tokenizer's defaults; see `ResolvedCall`.

    `wanted` tells which of `OPTIONAL` to return, None for those that are `usual`; `lengths` are the arguments of
    `resolve` after the limits, each by itself, so that True and 1 are not the same call.

    Raises:
        ValueError: as `resolve` does.
    """
    pad, cut, most = resolve(limits, *lengths, verbose=verbose)
    optional = (name for name, want in zip(OPTIONAL, wanted, strict=True) if want or (want is None and name in usual))
    return ResolvedCall(
        pad=pad,
        cut=cut,
        split=split,
        add_special_tokens=add_special_tokens,
        words=words,
        return_tensors=return_tensors,
        overflow=overflow,
        names=("input_ids", *optional),
        length=length,
        warn=verbose and most is None,
    )


_FIELDS = {
    "input_ids": "ids",
    "token_type_ids": "type_ids",
    "attention_mask": "attention_mask",
    "special_tokens_mask": "special_tokens_mask",
    "offset_mapping": "offsets",
}
"""Name of a row -> the attribute of an encoding that holds it."""


def build_batch(encodings: Sequence[Any], call: ResolvedCall, *, batched: bool) -> BatchEncoding:
    """Collect the rows that `call` names from encodings (`tokenizers.Encoding`) that are truncated and padded."""
    samples = list(range(len(encodings)))
    if call.overflow:
        windows = [[encoding, *encoding.overflowing] for encoding in encodings]
        samples = [i for i, parts in enumerate(windows) for _ in parts]
        encodings = [part for parts in windows for part in parts]
    data: dict[str, Any] = {name: [getattr(e, _FIELDS[name]) for e in encodings] for name in call.names}
    if not batched and call.return_tensors is None and not call.overflow:
        data = {name: rows[0] for name, rows in data.items()}
    if call.length:
        data["length"] = [len(encoding) for encoding in encodings]
    if call.overflow:
        data["overflow_to_sample_mapping"] = samples
    return BatchEncoding(data, list(encodings), call.return_tensors)
