"""Answer the rows of a table that many processes share: with Ray Data, Dask, Spark, joblib.

import ray
from onnxpipe.scale import Map

rows = ray.data.read_parquet("reviews")
labelled = rows.map_batches(Map, fn_constructor_args=("text-classification", "sst2-bundle"), concurrency=4)
labelled.write_parquet("labelled")
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxpipe.engine.scheduler import ItemError
from onnxpipe.errors import UnsupportedError


class Map:
    """Answer one column of a batch of rows, in a process that has loaded the model once.

    Called with a batch, it returns the batch with two more columns: the answers, and what is wrong with the rows that
    have none. All other columns stay. How many rows a batch has does not matter for speed: the rows are gathered by
    length as in any call.

    Args:
        task: the task.
        model: a folder or a Hub id.
        column: the column of the inputs; or for each part of an input its column, `{"question": "q", "context": "c"}`.
        output: the column of the answers.
        error: the column of the errors: a text, or None for a row with an answer.
        **options: further keywords of `pipeline()`: `dtype`, `device`, `threads`, and the task's own options.
    """

    def __init__(
        self,
        task: str,
        model: str,
        *,
        column: str | Mapping[str, str] = "text",
        output: str = "answer",
        error: str = "error",
        **options: Any,
    ) -> None:
        from onnxpipe import factory

        if output == error:
            raise UnsupportedError(f"output and error are both {output!r}: give them different names")
        self._columns, self._output, self._error = column, output, error
        self._pipe = factory.pipeline(task, model, **options)

    def __call__(self, batch: Any) -> Any:
        """Answer a batch.

        Args:
            batch: a dict of columns (lists or arrays), or a DataFrame of pandas.

        Returns:
            The same, with the two columns.

        Raises:
            UnsupportedError: a column that is not there, or a batch of another kind.
        """
        table = hasattr(batch, "assign") and hasattr(batch, "columns")
        if not table and not isinstance(batch, Mapping):
            raise UnsupportedError(
                f"a batch is a dict of columns or a DataFrame of pandas, got {type(batch).__name__}: with Ray Data "
                'pass batch_format="numpy" or "pandas"'
            )
        answers = self._pipe(self._inputs(batch), on_error="return")
        failed = [isinstance(answer, ItemError) for answer in answers]
        found = {
            self._output: _column([None if bad else answer for answer, bad in zip(answers, failed, strict=True)]),
            self._error: _objects([
                f"{type(answer.error).__name__}: {answer.error}" if bad else None
                for answer, bad in zip(answers, failed, strict=True)
            ]),
        }  # fmt: skip
        if table:
            return batch.assign(**{name: list(values) for name, values in found.items()})
        return {**batch, **found}

    def _inputs(self, batch: Any) -> list[Any]:
        names = {"": self._columns} if isinstance(self._columns, str) else dict(self._columns)
        for name in names.values():
            if name not in batch:
                raise UnsupportedError(f"the batch has no column {name!r}; it has {', '.join(map(str, batch))}")
        columns = {part: [_plain(each) for each in batch[name]] for part, name in names.items()}
        if isinstance(self._columns, str):
            return columns[""]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _plain(value: Any) -> Any:
    """Return a cell as plain Python has it: numpy's numbers and texts are not what a tokenizer takes."""
    return value.item() if isinstance(value, np.generic) else value


def _column(answers: list[Any]) -> Any:
    """Make the column of answers: an array where all are arrays of one shape, as embeddings are, else objects."""
    if answers and all(isinstance(each, np.ndarray) for each in answers) and len({each.shape for each in answers}) == 1:
        return np.stack(answers)
    return _objects(answers)


def _objects(values: list[Any]) -> Any:
    column = np.empty(len(values), object)
    column[:] = values
    return column
