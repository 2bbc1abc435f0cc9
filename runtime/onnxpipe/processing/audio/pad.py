"""Truncate and pad rows of different lengths by the options of a call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxpipe.processing.audio.io.arrays import Array
from onnxpipe.processing.audio.settings import ResolvedFeatureCall
from onnxpipe.processing.padding_strategy import padding_strategy


@dataclass(frozen=True)
class PaddedRows:
    """Rows after padding.

    Attributes:
        rows: (length,) or (length, features) each.
        masks: int32 (length,) each, 1 for the recording, 0 for padding.
        lengths: the length of each row without padding.
        side: the side that the padding is on.
    """

    rows: list[Array]
    masks: list[Array]
    lengths: list[int]
    side: str

    def filled(self, rows: Sequence[Array], value: float) -> list[Array]:
        """Replace the padding of rows, which have the same lengths as these, by a value."""
        return [
            row if mask.all() else np.where(mask.reshape(-1, *[1] * (row.ndim - 1)) > 0, row, row.dtype.type(value))
            for row, mask in zip(rows, self.masks)
        ]

    def unpadded(self, i: int) -> Array:
        """Return row i without its padding."""
        row, length = self.rows[i], self.lengths[i]
        return row[len(row) - length :] if self.side == "left" else row[:length]


def pad(rows: Sequence[Array], call: ResolvedFeatureCall, value: float, side: str) -> PaddedRows:
    """Truncate and pad rows.

    Args:
        rows: (length,) or (length, features) each.
        call: its `padding`, `truncation`, `max_length` and `pad_to_multiple_of` are used.
        value: the value of padding.
        side: "right" or "left".

    Raises:
        ValueError: a length is needed and not set, or an unknown strategy.
    """
    strategy = padding_strategy(call.padding)
    if call.truncation:
        if call.max_length is None:
            raise ValueError("When setting ``truncation=True``, make sure that ``max_length`` is defined.")
        end = _rounded(call.max_length, call.pad_to_multiple_of)
        rows = [row[:end] for row in rows]
    if strategy == "do_not_pad":
        targets = [len(row) for row in rows]
    elif strategy == "max_length" and call.max_length is None:
        raise ValueError("When setting ``padding='max_length'``, make sure that max_length is defined")
    else:
        longest = max(len(row) for row in rows) if strategy == "longest" else int(call.max_length or 0)
        target = _rounded(longest, call.pad_to_multiple_of)
        targets = [max(target, len(row)) for row in rows]
    missing = [target - len(row) for row, target in zip(rows, targets)]
    return PaddedRows(
        [_filled(row, count, value, side) for row, count in zip(rows, missing)],
        [_filled(np.ones(len(row), np.int32), count, 0, side) for row, count in zip(rows, missing)],
        [len(row) for row in rows],
        side,
    )


def _rounded(length: int, multiple: int | None) -> int:
    return -(-length // multiple) * multiple if multiple else length


def _filled(row: Array, count: int, value: float, side: str) -> Array:
    """Add `count` entries to a row."""
    if not count:
        return row
    more = (count, 0) if side == "left" else (0, count)
    return np.pad(row, [more, *[(0, 0)] * (row.ndim - 1)], constant_values=value)


def unit_variance(rows: Sequence[Array]) -> list[Array]:
    """Scale rows to mean 0 and variance 1."""
    return [(row - row.mean()) / np.sqrt(row.var() + 1e-7) for row in rows]


def normalize(padded: PaddedRows, masked: bool, value: float) -> list[Array]:
    """Scale padded rows to mean 0 and variance 1.

    Args:
        padded: the rows.
        masked: whether padding is left out of mean and variance, and replaced by `value`; else it counts too, as for
            models that were trained without an attention mask.
        value: see `masked`.
    """
    if not masked:
        return unit_variance(padded.rows)
    scaled = []
    for i, row in enumerate(padded.rows):
        own = padded.unpadded(i)
        scaled.append((row - own.mean()) / np.sqrt(own.var() + 1e-7))
    return padded.filled(scaled, value)
