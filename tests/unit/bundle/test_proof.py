"""The numbers of a certificate, each computed by hand here."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxpipe.bundle.proof import (
    MOST_RELATIVE,
    TOLERANCES,
    Difference,
    Tolerance,
    agreement,
    certified_tolerance,
    compare,
    read_golden,
    scales,
)  # fmt: skip
from onnxpipe.errors import BundleError

MASK = np.array([[1, 1, 0], [1, 0, 0]])


def test_equal_answers() -> None:
    value = {"last_hidden_state": np.random.default_rng(0).normal(size=(2, 3, 4))}
    assert compare(value, value, MASK) == Difference(0.0, 0.0, 1.0, 1.0, 3)
    assert agreement(value, value, MASK) == 1.0


def test_padding_is_left_out() -> None:
    reference = np.ones((2, 3, 4))
    got = reference.copy()
    got[0, 2] = got[1, 1] = 1e9
    assert compare({"x": reference}, {"x": got}, MASK).max_absolute == 0
    assert compare({"x": reference}, {"x": got}).max_absolute > 1
    scores, other = np.ones((2, 3)), np.array([[1, 1, 9], [1, 9, 9.0]])
    assert compare({"start_logits": scores}, {"start_logits": other}, MASK).max_absolute == 0
    # Three labels and three tokens: logits of a sentence have no padding.
    assert compare({"logits": scores}, {"logits": other}, MASK).max_absolute == 8


def test_numbers() -> None:
    found = compare({"logits": np.array([[3.0, 4.0], [0.0, 5.0]])}, {"logits": np.array([[4.0, 3.0], [0.0, 5.0]])})
    assert found.max_absolute == 1.0
    assert found.max_relative == pytest.approx(1 / 5)
    assert found.cosine_min == pytest.approx(24 / 25)
    assert found.cosine_mean == pytest.approx((24 / 25 + 1) / 2)
    assert found.vectors == 2
    assert agreement({"l": np.array([[3.0, 4.0], [0.0, 5.0]])}, {"l": np.array([[4.0, 3.0], [0.0, 5.0]])}) == 0.5


def test_the_worst_output_counts() -> None:
    reference = {"a": np.full((1, 4), 100.0), "b": np.full((1, 4), 0.01)}
    got = {"a": np.full((1, 4), 100.1), "b": np.full((1, 4), 0.02)}
    found = compare(reference, got)
    assert found.max_relative == pytest.approx(1.0)
    assert found.max_absolute == pytest.approx(0.1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none(bad: float) -> None:
    reference = np.ones((1, 4))
    got = reference.copy()
    got[0, 1] = bad
    found = compare({"x": reference}, {"x": got})
    assert found.max_absolute == math.inf
    assert all(tolerance.faults(found) for tolerance in TOLERANCES.values())


def test_single_numbers_zeros_and_empties() -> None:
    one = compare({"logits": np.array([[0.5], [-0.1]])}, {"logits": np.array([[0.5], [0.1]])})
    assert one.vectors == 1  # a regression's rows are one vector: a single number has no direction
    assert one.cosine_min == pytest.approx(0.24 / 0.26)
    zeros = np.zeros((1, 3))
    assert compare({"x": zeros}, {"x": zeros}).cosine_min == 1.0
    assert compare({"x": zeros}, {"x": zeros + 1}).cosine_min == 0.0
    assert compare({"x": zeros}, {"x": zeros + 1}).max_relative == math.inf
    assert compare({"x": np.zeros((0, 3))}, {"x": np.zeros((0, 3))}).vectors == 0


def test_missing_outputs_and_shapes() -> None:
    value = np.ones((1, 2))
    for got in ({}, {"y": value}, {"x": np.ones((2, 2))}):
        with pytest.raises(BundleError):
            compare({"x": value}, got)
    with pytest.raises(BundleError):
        compare({}, {"x": value})


def test_several_cases() -> None:
    all_of_them = Difference.worst([Difference(0.1, 1.0, 0.9, 0.95, 1), Difference(0.2, 0.5, 0.8, 0.99, 3)])
    assert all_of_them == Difference(0.2, 1.0, 0.8, pytest.approx(0.98), 4)


def test_tolerances() -> None:
    good = Difference(1e-5, 1e-5, 0.9999, 0.9999, 1)
    assert not any(tolerance.faults(good, 1.0) for tolerance in TOLERANCES.values())
    assert TOLERANCES["fp32"].faults(Difference(2e-4, 0, 1, 1, 1)) == ["relative difference 0.0002 > 0.0001"]
    assert TOLERANCES["fp16"].faults(Difference(0, 0, 0.99, 1, 1), 0.98) == [
        "lowest cosine 0.99000 < 0.999",
        "same decision in 98.00% < 99%",
    ]
    assert TOLERANCES["int8"].faults(Difference(1, 1, 0.5, 0.98, 1), None) == ["mean cosine 0.98000 < 0.99"]
    assert TOLERANCES["q4"].faults(Difference(1, 1, 0.5, 0.96, 1)) == []
    assert Tolerance(max_relative=1.0).faults(Difference(math.nan, 0, 0, 0, 1))


def test_golden(tmp_path: Path) -> None:
    arrays = {
        "model/0/input/input_ids": np.array([[1, 2]]),
        "model/0/output/logits": np.array([[0.5, 0.25]], np.float32),
        "model/10/input/input_ids": np.array([[3]]),
        "model/2/input/input_ids": np.array([[4]]),
    }
    np.savez_compressed(tmp_path / "golden.npz", **arrays)
    cases = read_golden(tmp_path)
    assert [(case.graph, case.number) for case in cases] == [("model", 0), ("model", 2), ("model", 10)]
    np.testing.assert_array_equal(cases[0].inputs["input_ids"], [[1, 2]])
    assert cases[0].outputs["logits"].dtype == np.float32
    assert cases[1].outputs == {}


def test_a_difference_is_relative_to_the_scale_over_all_cases() -> None:
    """A lone logit near zero in one case is not a large difference if it is large in others."""
    cases = [({"logits": np.array([[1e-4]])}, None), ({"logits": np.array([[-5.0]])}, None)]
    scale = scales(cases)
    assert scale == {"logits": 5.0}
    got = {"logits": np.array([[2e-4]])}
    assert compare(cases[0][0], got).max_relative == pytest.approx(1.0)
    assert compare(cases[0][0], got, scales=scale).max_relative == pytest.approx(2e-5)
    hidden, mask = np.array([[[1.0], [9.0]]]), np.array([[1, 0]])
    assert scales([({"x": hidden}, mask)]) == {"x": 1.0}  # what stands at padding does not count


def test_a_tie_may_fall_either_way() -> None:
    reference = {"logits": np.array([[1.0, 0.999, -1.0], [1.0, 0.9, -1.0]])}
    assert agreement(reference, {"logits": reference["logits"][:, [1, 0, 2]]}) == 0.5


@pytest.mark.parametrize(
    ("entry", "limit"),
    [
        (None, 1e-4),
        ({"tolerance": {"max_relative": 8e-4}}, 8e-4),
        ({"tolerance": {"max_relative": 1e-9}}, 1e-4),
        ({"tolerance": {"max_relative": 0.5}}, MOST_RELATIVE),
        ({"tolerance": {"max_relative": "0.5"}}, 1e-4),
        ({"tolerance": []}, 1e-4),
    ],
    ids=["no certificate", "wider", "narrower", "too wide", "a text", "a list"],
)
def test_a_certificate_may_widen_the_limit_of_float32(entry: Any, limit: float) -> None:
    assert certified_tolerance("fp32", entry).max_relative == limit
    assert certified_tolerance("int8", entry).max_relative is None
