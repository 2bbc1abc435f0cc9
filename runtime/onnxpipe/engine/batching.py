"""Rows to batches and back: stack rows into padded feeds, split a batch's outputs into rows.

A *row* is one input of the model: a sentence, a label pair of zero-shot, a window of a long document. Padding is
invisible outside this file: the arrays that come back have a row's own length, so an answer does not depend on the
other rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Outputs = dict[str, Array]

#: The value at the padded positions of an input, by its name; 0 for every other name.
_PAD_VALUES: Mapping[str, int] = {"special_tokens_mask": 1, "p_mask": 1}


#: The part of a batch that rows of one owner may take while others wait.
_SHARE = 4


@dataclass(slots=True)
class Row:
    """One row of a batch.

    Attributes:
        feeds: the model's inputs without a batch axis, e.g. `input_ids` of shape `(length,)`.
        length: the row's cost in a batch; for text its number of tokens.
        extra: further data that the task needs beside the outputs (offsets, the label of a pair, ...).
        index: position of the row's input among those passed to the pipeline; set by the scheduler.
        seed: that of the row's call, where rows of several calls share a batch; set by the scheduler.
        stopped: tells whether nobody waits for the row's answer any more; set by the scheduler.
    """

    feeds: Mapping[str, Array]
    length: int
    extra: Any = None
    index: int = 0
    seed: int | None = None
    stopped: Callable[[], bool] | None = None


@dataclass(frozen=True, slots=True)
class Padding:
    """The way in which rows of different lengths are padded to one.

    Attributes:
        token_id: fills `input_ids`; None if there is no padding (no padding token, images), and then only rows of equal
            shapes can share a batch.
        side: the side that is padded.
    """

    token_id: int | None = 0
    side: Literal["left", "right"] = "right"


def stack(rows: Sequence[Row], padding: Padding) -> dict[str, Array]:
    """Stack rows to feeds with a batch axis, each input padded on its first axis to the longest row.

    Raises:
        ValueError: the rows have different inputs, or need a padding token and there is none.
    """
    names = rows[0].feeds.keys()
    if len(rows) == 1:
        return {name: np.asarray(array)[np.newaxis] for name, array in rows[0].feeds.items()}
    for row in rows:
        if row.feeds.keys() != names:
            raise ValueError(
                "The elements of the batch contain different keys. Cannot batch them "
                f"({sorted(row.feeds)} != {sorted(names)})"
            )
    return {name: _stack_one(name, [row.feeds[name] for row in rows], padding) for name in names}


def _stack_one(name: str, arrays: list[Array], padding: Padding) -> Array:
    longest = max(len(a) for a in arrays)
    if all(len(a) == longest for a in arrays):
        return np.stack(arrays)
    if name == "input_ids" and padding.token_id is None:
        raise ValueError(
            "Pipeline with tokenizer without pad_token cannot do batching. You can try to set it with "
            "`pipe.tokenizer.pad_token_id = model.config.eos_token_id`."
        )
    fill = padding.token_id if name == "input_ids" else _PAD_VALUES.get(name, 0)
    out = np.full((len(arrays), longest, *arrays[0].shape[1:]), fill, arrays[0].dtype)
    for i, array in enumerate(arrays):
        out[(i, slice(longest - len(array), None)) if padding.side == "left" else (i, slice(len(array)))] = array
    return out


def split(
    outputs: Mapping[str, Array], rows: Sequence[Row], per_token: frozenset[str], padding: Padding
) -> list[dict[str, Array]]:
    """Split a batch's outputs into rows, without the batch axis; those named in `per_token` lose padded positions."""
    longest = max(row.length for row in rows)
    answers = []
    for i, row in enumerate(rows):
        keep = slice(longest - row.length, None) if padding.side == "left" else slice(row.length)
        answers.append({name: value[i][keep] if name in per_token else value[i] for name, value in outputs.items()})
    return answers


def groups(rows: Sequence[Row], token_budget: int, *, can_pad: bool = True) -> list[list[int]]:
    """Group the indices of `rows` into batches of similar length whose padded size is within `token_budget` tokens.

    Longest first, so that the largest buffers are allocated once. A row longer than the budget gets a batch of its own.
    Without `can_pad` only rows of equal shapes share a batch.
    """
    order = sorted(range(len(rows)), key=lambda i: -rows[i].length)
    batches: list[list[int]] = []
    open_batches: dict[Any, list[int]] = {}  # by the shapes that its rows must have in common
    for i in order:
        kind = None if can_pad else shapes(rows[i])
        batch = open_batches.get(kind)
        if batch and (len(batch) + 1) * rows[batch[0]].length <= token_budget:
            batch.append(i)
        else:
            open_batches[kind] = [i]
            batches.append(open_batches[kind])
    return batches


def oldest_first(
    lengths: Sequence[int],
    owners: Sequence[Hashable],
    token_budget: int,
    most: int | None = None,
    padding: int | None = None,
) -> list[int]:
    """Choose the rows of a batch: the first, and those nearest to it in length whose padded size the budget allows.

    Args:
        lengths: of the rows, the oldest first.
        owners: whom each belongs to. The rows of one owner take a quarter of the budget at most while others' are left.
        token_budget: padded tokens.
        most: rows; None for any number.
        padding: the most tokens of padding that one more row may bring; None for any number.
    """
    order = sorted(range(1, len(lengths)), key=lambda i: abs(lengths[i] - lengths[0]))  # of equals the older first
    several = len(set(owners)) > 1
    chosen, longest, rows_of = [0], lengths[0], Counter(owners[:1])
    rest: list[int] = []
    for candidates in (order, rest):
        for i in candidates:
            longer = max(longest, lengths[i])
            padded = (len(chosen) + 1) * longer
            if (most is not None and len(chosen) >= most) or padded > token_budget:
                continue
            if padding is not None and padded - len(chosen) * longest - lengths[i] > padding:
                continue
            if candidates is order and several and (rows_of[owners[i]] + 1) * longer * _SHARE > token_budget:
                rest.append(i)
                continue
            chosen.append(i)
            longest = longer
            rows_of[owners[i]] += 1
    return chosen


def shapes(row: Row) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """List names and shapes of the row's feeds: rows for which these are equal can be stacked without padding."""
    return tuple((name, np.shape(array)) for name, array in row.feeds.items())
