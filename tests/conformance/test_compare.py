"""The comparison finds what differs, and the table says what ran."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conformance.compare import same
from conformance.table import END, START, render, write


@pytest.mark.parametrize(
    ("expected", "got", "path"),
    [
        ([{"score": 0.5}], [{"score": 0.5002}], "$[0]['score']: expected 0.5, got 0.5002"),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, "$: expected the keys ['a', 'b'], got ['b', 'a']"),
        ([[1]], [1], "$[0]: expected list [1], got int 1"),
        ((1, 2), [1, 2], "$: expected tuple (1, 2), got list [1, 2]"),
        ([1, 2], [1], "$: expected 2 items, got 1: [1, 2] and [1]"),
        ({"start": 3}, {"start": 3.0}, "$['start']: expected int 3, got float 3.0"),
        ("a", "b", "$: expected 'a', got 'b'"),
        (np.zeros((1, 2)), np.array([[0.0, 0.1]]), "$[0, 1]: expected 0.0, got 0.1"),
    ],
)
def test_first_difference(expected: object, got: object, path: str) -> None:
    assert same(expected, got) == path


def test_floats_within_the_tolerance_are_the_same() -> None:
    assert same([{"score": 0.5}, 200.0], [{"score": 0.50009}, 200.01]) is None
    assert same(np.ones((2, 2), np.float32), np.ones((2, 2), np.float32) + np.float32(5e-5)) is None


def test_arrays_of_another_kind_differ() -> None:
    assert same(np.ones(2, np.float32), np.ones(2, np.float64)) == "$: expected float32(2,), got float64(2,)"


def test_table_is_written_between_the_markers(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{START}\nold\n{END}\nafter\n", encoding="utf-8")
    results = {("fill-mask", "bert"): (12, 0), ("fill-mask", "roberta"): (3, 1)}
    write(readme, results)
    assert readme.read_text(encoding="utf-8") == f"before\n{START}\n{render(results)}\n{END}\nafter\n"
    row = next(line for line in render(results).splitlines() if line.startswith("| fill-mask"))
    assert "| ✓ 12 |" in row
    assert "| ✗ 3 of 4 |" in row
    assert "not run" in row
    assert "– token-classification, bart: transformers has no BartForTokenClassification." in render(results)


def test_readme_without_markers_is_left_alone(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("nothing here\n", encoding="utf-8")
    with pytest.raises(ValueError, match="add both lines"):
        write(readme, {})
    assert readme.read_text(encoding="utf-8") == "nothing here\n"
