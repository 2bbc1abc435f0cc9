"""Padding rows that were encoded apart: `tokenizer.pad`, the collator's half of a tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxpipe.processing.strategies import Padding

Rows = dict[str, list[Any]]


def collect(encoded: Any, main: str) -> tuple[Rows, bool, bool]:
    """Encodings as lists of rows.

    Args:
        encoded: a dict of rows, a dict of one row, or a list of dicts of one row; lists or arrays.
        main: the name of the row that has to be there (`input_ids`).

    Returns:
        The rows by name, whether there was a batch, and whether they came as arrays.

    Raises:
        ValueError: no `main`, rows of no known kind, or names with unlike numbers of rows.
    """
    if isinstance(encoded, (list, tuple)) and encoded and isinstance(encoded[0], Mapping):
        encoded = {name: [one[name] for one in encoded] for name in encoded[0]}
    if not isinstance(encoded, Mapping) or main not in encoded:
        names = list(encoded) if isinstance(encoded, Mapping) else type(encoded).__name__
        raise ValueError(
            "You should supply an encoding or a list of encodings to this method "
            f"that includes {main}, but you provided {names}"
        )
    arrays = _has_arrays(encoded[main])
    rows = {name: _plain(value) for name, value in encoded.items()}
    first = rows[main][0] if rows[main] else None
    if first is not None and not isinstance(first, (int, list)):
        raise ValueError(
            f"type of {first} unknown: {type(first)}. Should be one of a python, numpy, or pytorch object."
        )
    batched = isinstance(first, list)
    if not batched:
        return {name: [value] for name, value in rows.items()}, False, arrays
    if any(len(value) != len(rows[main]) for value in rows.values()):
        raise ValueError("Some items in the output dictionary have a different batch size than others.")
    return rows, True, arrays


def pad_rows(rows: Rows, main: str, padding: Padding | None, fills: Mapping[str, int], mask: bool) -> Rows:
    """Every row of `rows` at the same length; names without a fill value stay as they are.

    Args:
        rows: lists of rows by name.
        main: the name that lengths are taken from.
        padding: how far; None for not at all.
        fills: what pads the rows of a name.
        mask: whether to give an `attention_mask` where there is none.

    Raises:
        ValueError: a side that is neither "left" nor "right".
    """
    lengths = [len(row) for row in rows[main]]
    padded = dict(rows)
    if mask and "attention_mask" not in rows:
        padded["attention_mask"] = [[1] * length for length in lengths]
    if padding is None:
        return padded
    if padding.side not in ("left", "right"):
        raise ValueError(f"Invalid padding strategy:{padding.side}")
    target = padding.target(max(lengths))
    for name in padded.keys() & fills.keys():
        padded[name] = [_pad(row, [fills[name]] * (target - n), padding.side) for row, n in zip(padded[name], lengths)]
    return padded


def _pad(row: Sequence[Any], extra: list[int], side: str) -> list[Any]:
    return [*row, *extra] if side == "right" else [*extra, *row]


def _has_arrays(value: Any) -> bool:
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return isinstance(value, (np.ndarray, np.generic)) or hasattr(value, "tolist")


def _plain(value: Any) -> Any:
    """Arrays and tensors as lists, whatever they are nested in."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
