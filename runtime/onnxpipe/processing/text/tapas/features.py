"""Features of a table's values for TAPAS: their ranks in the column, and how they compare with the question's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from onnxpipe.processing.tables.text_table import TextTable
from onnxpipe.processing.text.tapas.values import Value, column_values, sort_key, values_of

#: A cell: its row and its column, from 0.
Place = tuple[int, int]

_EQUAL, _QUESTION_LESS, _QUESTION_GREATER = 1, 2, 4


@dataclass(frozen=True)
class TableValues:
    """The values of a table.

    Attributes:
        columns: for each column its values by row; empty for a column of texts.
    """

    columns: tuple[Mapping[int, Value], ...]

    @classmethod
    def of(cls, table: TextTable) -> TableValues:
        """Find the values of all columns."""
        return cls(tuple(column_values(table.column(index)) for index in range(len(table.columns))))

    def ranks(self) -> dict[Place, tuple[int, int]]:
        """Rank each cell among the distinct values of its column, from 1: from the smallest, and from the largest."""
        ranks = {}
        for column, values in enumerate(self.columns):
            key = sort_key([*values.values()])
            if key is None:
                continue
            order = {each: rank for rank, each in enumerate(sorted({key(value) for value in values.values()}), 1)}
            for row, value in values.items():
                rank = order[key(value)]
                ranks[row, column] = (rank, len(order) + 1 - rank)
        return ranks

    def relations(self, question: str) -> dict[Place, int]:
        """Compare each cell with the values of the question: bits for equal, less, greater, of all that compare."""
        relations: dict[Place, int] = {}
        for asked in values_of(question):
            for column, values in enumerate(self.columns):
                key = sort_key([*values.values(), asked]) if values else None
                if key is None:
                    continue
                for row, value in values.items():
                    relations[row, column] = relations.get((row, column), 0) | _relation(key(asked), key(value))
        return relations


def _relation(asked: Iterable[float], cell: Iterable[float]) -> int:
    first, second = tuple(asked), tuple(cell)
    return _EQUAL if first == second else _QUESTION_LESS if first < second else _QUESTION_GREATER
