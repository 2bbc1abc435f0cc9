"""What TAPAS gets of a table: the numbers and dates in its cells, and the part of it that fits."""

from __future__ import annotations

import numpy as np
import pytest

from onnxpipe.errors import BundleError
from onnxpipe.processing.tables.text_table import TextTable
from onnxpipe.processing.text.tapas.answers import cell_probabilities, cells_of, mark_answer
from onnxpipe.processing.text.tapas.features import TableValues
from onnxpipe.processing.text.tapas.fit import Cut, Pieces, fit, word_starts
from onnxpipe.processing.text.tapas.settings import TapasSettings
from onnxpipe.processing.text.tapas.values import column_values, values_of


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", []),
        ("1,234.5 and -7", [1234.5, -7.0]),
        ("3 - 4", [3.0, 4.0]),
        ("the third of 21st", [3.0, 21.0]),
        ("1e5 inf nan", [100000.0]),
        ("10 June 1996", [(1996, 6, 10)]),
        ("June 10, 1996", [(1996, 6, 10)]),
        ("Monday, Jan 5", [(None, 1, 5)]),
        ("2010-13-01", [2010.0, (2010, None, None), 13.0, 1.0]),
        ("30.2.2001", [30.2, 0.2001]),
        ("29 february", [29.0, (None, 2, None)]),
        ("29 february 1996", [(1996, 2, 29)]),
        ("1699", [1699.0]),
        ("1990s", [(1990, None, None)]),
        ("may", [(None, 5, None)]),
        ("jan", []),
    ],
)
def test_values(text: str, values: list[object]) -> None:
    assert values_of(text) == values


def test_a_column_has_values_if_most_of_its_cells_have() -> None:
    assert column_values(["1", "x", "3 of 4", "5"]) == {0: 1.0, 2: 3.0, 3: 5.0}
    assert column_values(["1", "x", "y", "5"]) == {}
    assert column_values(["1999", "2001"]) == {0: (1999, None, None), 1: (2001, None, None)}  # a tie goes to dates


def test_ranks_and_relations() -> None:
    table = TextTable(("n", "d", "t"), (("7", "May 1999", "a"), ("3", "1998", "b"), ("7", "June 2001", "c")))
    values = TableValues.of(table)
    numbers = {(0, 0): (2, 1), (1, 0): (1, 2), (2, 0): (2, 1)}
    assert values.ranks() == numbers | {(0, 1): (2, 2), (1, 1): (1, 3), (2, 1): (3, 1)}
    less, equal, greater = 2, 1, 4
    assert values.relations("more than 5?") == {(0, 0): less, (1, 0): greater, (2, 0): less}
    assert values.relations("3 or 7") == {(0, 0): equal | less, (1, 0): equal | greater, (2, 0): equal | less}
    assert values.relations("1999")[1, 1] == greater


def _cell(*tokens: str) -> Pieces:
    return tuple(range(len(tokens))), word_starts(tokens)


def test_rows_are_dropped_from_the_end_and_long_cells_are_cut() -> None:
    cells = [[_cell("a")], [_cell("b", "##b", "c")], [_cell("d")]]
    assert fit(cells, 2, 5, -1) == Cut(2, 3)
    assert fit(cells, 2, 4, -1) == Cut(2, 2)  # of the first row its first word, which has two pieces
    assert fit(cells, 2, 3, -1) == Cut(1, 2)
    assert fit(cells, 2, 2, -1) is None
    assert fit(cells, 2, 4, 1) == Cut(2, 1)
    assert fit(cells, 2, 3, 1) == Cut(1, 1)


def test_cells_are_chosen_by_the_mean_of_their_tokens() -> None:
    types = np.zeros((6, 7), np.int64)
    types[1:, 0], types[1:, 1], types[1:, 2] = 1, [1, 1, 1, 2, 2], [0, 1, 1, 1, 2]
    logits = np.array([9.0, 9.0, 3.0, -1.0, -4.0, 0.5], np.float32)
    assert cells_of(logits, types) == [(0, 0), (1, 1)]
    assert cells_of(logits, types, threshold=0.65) == []
    assert cells_of(logits, types, np.array([1, 1, 1, 1, 1, 0])) == [(0, 0)]
    assert mark_answer(types, cell_probabilities(logits, types))[:, 3].tolist() == [0, 0, 1, 1, 0, 1]


def test_settings() -> None:
    labels = {"0": "NONE", "1": "SUM"}
    config = {"aggregation_labels": labels, "num_aggregation_labels": 2, "no_aggregation_label_index": 0}
    assert TapasSettings.of(config, "m").aggregations == ("NONE", "SUM")
    assert TapasSettings.of({**config, "num_aggregation_labels": 0}, "m").aggregations == ()
    assert TapasSettings.of({}, "m").sizes is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"aggregation_labels": {"0": "NONE"}, "num_aggregation_labels": 10**9}, "aggregation_labels no 1"),
        ({"aggregation_labels": ["NONE"], "num_aggregation_labels": 1}, "must be an object"),
        ({"aggregation_labels": {"0": "NONE"}, "num_aggregation_labels": "1"}, "num_aggregation_labels must be"),
        ({"type_vocab_sizes": [3, 256]}, "must be 7 numbers"),
        ({"type_vocab_sizes": [3, 256, 256, 2, 256, "256", 10]}, "whole number"),
        ({"max_num_rows": 0}, "max_num_rows must be"),
    ],
)
def test_settings_that_are_damaged(config: dict[str, object], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        TapasSettings.of(config, "m")
