"""Resolve the padding and truncation arguments of a tokenizer's call, as transformers does."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from operator import index
from typing import Any, NamedTuple

from onnxpipe.processing.padding_strategy import padding_strategy, truncation_strategy

UNLIMITED = int(1e30)
"""`model_max_length` of a tokenizer that has none (transformers' value)."""

_LARGE = int(1e20)
"""A `model_max_length` above this means no limit (transformers' value)."""


@dataclass(frozen=True, slots=True)
class Truncation:
    """Where to truncate.

    Attributes:
        max_length: the most tokens of a row, special tokens included.
        stride: tokens that a window repeats from the window before it.
        strategy: "only_first", "only_second" or "longest_first".
        direction: the side that is cut off, "left" or "right".
    """

    max_length: int
    stride: int
    strategy: str
    direction: str


@dataclass(frozen=True, slots=True)
class PaddingStrategy:
    """How far to pad.

    Attributes:
        length: tokens of every row; None for the length of the longest row.
        multiple: the length is rounded up to a multiple of this; None for no rounding.
        side: "left" or "right".
    """

    length: int | None
    multiple: int | None
    side: str

    def target(self, longest: int) -> int:
        """Compute the length to pad to, if the longest row has `longest` tokens."""
        length = longest if self.length is None else self.length
        if self.multiple and length % self.multiple:
            length += self.multiple - length % self.multiple
        return length


class Limits(NamedTuple):
    """The tokenizer's own limits, for what a call leaves open."""

    model_max_length: int
    truncation_side: str
    padding_side: str


def resolve(
    limits: Limits,
    padding: Any,
    truncation: Any,
    max_length: int | None,
    stride: int,
    pad_to_multiple_of: int | None,
    padding_side: str | None,
    *,
    verbose: bool = True,
) -> tuple[PaddingStrategy | None, Truncation | None, int | None]:
    """Resolve a call's arguments to its padding, its truncation and its maximum length.

    `max_length` alone turns truncation on. Where neither the call nor the tokenizer has a maximum, truncation and
    padding to the maximum are off. Source: transformers 5.23, which agrees with 4.57.

    Raises:
        ValueError: an unknown strategy, a number out of its range, or a truncation length that is not a multiple of
            `pad_to_multiple_of`.
    """
    max_length = None if max_length is None else _whole("max_length", max_length, 1)
    stride = _whole("stride", stride, 0)
    if pad_to_multiple_of is not None:
        pad_to_multiple_of = _whole("pad_to_multiple_of", pad_to_multiple_of, 1)
    if max_length is not None and padding is False and truncation is None:
        truncation = "longest_first"
    pad, cut = padding_strategy(padding), truncation_strategy(truncation)
    if padding is True and verbose and max_length is not None and cut == "do_not_truncate":
        warnings.warn(
            "`max_length` is ignored when `padding`=`True` and there is no truncation strategy. "
            "To pad to max length, use `padding='max_length'`.",
            stacklevel=3,
        )
    if max_length is None and (pad == "max_length" or cut != "do_not_truncate"):
        if limits.model_max_length > _LARGE:
            pad, cut = ("do_not_pad" if pad == "max_length" else pad), "do_not_truncate"
        else:
            max_length = limits.model_max_length
    if (
        pad != "do_not_pad"
        and cut != "do_not_truncate"
        and pad_to_multiple_of is not None
        and max_length is not None
        and max_length % pad_to_multiple_of != 0
    ):
        raise ValueError(
            f"Truncation and padding are both activated but truncation length ({max_length}) is not a multiple of "
            f"pad_to_multiple_of ({pad_to_multiple_of})."
        )
    side = limits.padding_side if padding_side is None else padding_side
    length = max_length if pad == "max_length" else None
    window = (
        None
        if cut == "do_not_truncate" or max_length is None
        else Truncation(max_length, stride, cut, limits.truncation_side)
    )
    return None if pad == "do_not_pad" else PaddingStrategy(length, pad_to_multiple_of, side), window, max_length


def _whole(name: str, value: Any, least: int) -> int:
    """Return a whole number of at least `least`.

    Raises:
        ValueError: something else.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or not least <= (number := index(value)) <= UNLIMITED:
        raise ValueError(f"{name}={value!r} is not possible: pass a whole number of at least {least}")
    return number
