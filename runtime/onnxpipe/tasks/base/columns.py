"""The columns that a table job adds for a task, and the cells that an answer puts into them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Cells = dict[str, Any]


@dataclass(frozen=True)
class ResultColumns:
    """The columns that a task adds.

    Attributes:
        names: their names, in order; none where the answer is an image, which goes to a file.
        cells: the values by column, from an answer as the pipeline gives it; columns that it leaves out stay empty.
    """

    names: tuple[str, ...]
    cells: Callable[[Any], Cells]


#: Columns from the parameters of a call and the number of the model's labels (None where that is not known).
Columns = Callable[[Mapping[str, Any], int | None], ResultColumns]


def fixed_columns(*names: str, cells: Callable[[Any], Cells]) -> Columns:
    """Columns that no parameter changes."""
    columns = ResultColumns(names, cells)
    return lambda params, labels: columns


def one_column(name: str, value: Callable[[Any], Any] = lambda answer: answer) -> Columns:
    """One column for the answer, or for what `value` takes from it."""
    return fixed_columns(name, cells=lambda answer: {name: value(answer)})


def no_columns() -> Columns:
    """No column: the answer is an image."""
    return fixed_columns(cells=lambda answer: {})


def score_columns() -> Columns:
    """The best label, its score, and the scores of all, for lists of `{"label", "score"}`."""
    return fixed_columns("label", "score", "scores", cells=_best_label)


def top_k_columns(
    *fields: str, within_labels: bool = False, by_rank: Callable[[Any], list[Any]] | None = None
) -> Columns:
    """The fields of the best answers, as many as `top_k` says: one by default.

    Args:
        *fields: keys of an answer's entries.
        within_labels: the model has no more answers than labels.
        by_rank: the entries of an answer, best first; by default the answer itself, or the one entry that it is.
    """

    def columns(params: Mapping[str, Any], labels: int | None) -> ResultColumns:
        count = int(params.get("top_k", 1) or 1)
        return ranked_columns(fields, min(count, labels or count) if within_labels else count, by_rank)

    return columns


def text_columns(key: str) -> Columns:
    """The generated text, or its token ids with `return_tensors`; several with `num_return_sequences`."""

    def columns(params: Mapping[str, Any], labels: int | None) -> ResultColumns:
        name = key.removesuffix("text") + "token_ids" if params.get("return_tensors") else key
        return ranked_columns((name,), int(params.get("num_return_sequences") or 1))

    return columns


def ranked_columns(
    fields: Sequence[str], count: int, by_rank: Callable[[Any], list[Any]] | None = None
) -> ResultColumns:
    """`label`, `score` of the best answer; with a count above 1 `label_1`, `score_1`, `label_2`, ..."""
    names = [[field if count == 1 else f"{field}_{rank}" for field in fields] for rank in range(1, count + 1)]

    def cells(answer: Any) -> Cells:
        entries = (by_rank or _as_list)(answer)[:count]
        return {
            name: entry[field] for row, entry in zip(names, entries) for name, field in zip(row, fields)
        }  # fmt: skip

    return ResultColumns(tuple(name for row in names for name in row), cells)


def mask_share(mask: Any) -> float:
    """The part of an image that a mask covers, 0 to 1: a PIL image, or a bool array."""
    return float((np.asarray(mask) > 0).mean())


def _as_list(answer: Any) -> list[Any]:
    return answer if isinstance(answer, list) else [answer]


def _best_label(answer: Sequence[Mapping[str, Any]]) -> Cells:
    scores = {entry["label"]: entry["score"] for entry in answer}
    return {"label": answer[0]["label"], "score": answer[0]["score"], "scores": scores}
