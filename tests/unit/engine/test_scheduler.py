"""The scheduler by itself: order, batches, laziness, errors, memory."""

from __future__ import annotations

import dataclasses
import itertools
import random
import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest

from onnxpipe.engine.batching import Padding, Row, groups, split, stack
from onnxpipe.engine.scheduler import ItemError, Work, answer, run_rows


def row(length: int, value: int = 1) -> Row:
    return Row({"input_ids": np.full(length, value, np.int64), "attention_mask": np.ones(length, np.int64)}, length)


def echo(batches: list[list[int]] | None = None, bad: int | None = None) -> Work:
    """Inputs are lengths; the answer is the sum of the rows' lengths, computed from padded batches."""

    def run(rows: Any) -> list[dict[str, Any]]:
        if batches is not None:
            batches.append([r.length for r in rows])
        if bad in [r.length for r in rows]:
            raise RuntimeError("the model fails")
        feeds = stack(rows, Padding(0, "right"))
        return split({"n": feeds["attention_mask"].sum(1)}, rows, frozenset(), Padding())

    def encode(value: int) -> list[Row]:
        if value < 0:
            raise ValueError("negative")
        return [row(value)] if value < 100 else [row(50), row(value - 50)]

    return Work(encode, run, lambda pairs: sum(int(out["n"]) for _, out in pairs))


@pytest.mark.parametrize("batch_size", [None, 1, 2, 4, 7])
@pytest.mark.parametrize("num_workers", [0, 3])
def test_order_is_kept(batch_size: int | None, num_workers: int) -> None:
    lengths = [random.Random(0).randrange(1, 300) for _ in range(200)]
    for hurry in (False, True):
        got = answer(lengths, echo(), batch_size=batch_size, num_workers=num_workers, hurry=hurry)
        assert list(got) == lengths


@pytest.mark.parametrize("lengths", [[3, 1, 2] * 30, [3, -1, 2, 120]])
def test_what_is_encoded_at_once_is_what_is_encoded_one_by_one(lengths: list[int]) -> None:
    calls: list[list[int]] = []

    def encode_many(values: Any) -> list[Row] | None:
        calls.append(values)
        if min(values) < 0:
            raise ValueError("of which?")
        return [row(value) for value in values] if max(values) < 100 else None

    together = dataclasses.replace(echo(), encode_many=encode_many)
    for size in (None, 7):
        found, expected = (
            [str(each) for each in answer(lengths, work, batch_size=size, on_error="return", hurry=False)]
            for work in (together, echo())
        )
        assert found == expected
    assert calls
    calls.clear()
    list(answer(iter(lengths), together, on_error="return"))  # a stream is not read ahead for it
    assert not calls


def test_what_is_decoded_at_once_is_what_is_decoded_one_by_one() -> None:
    calls: list[int] = []

    def decode_many(many: Any) -> list[Any] | None:
        calls.append(len(many))
        answers = [echo().decode(rows) for rows in many]
        if 13 in answers:
            raise ValueError("of which?")
        return answers if 7 not in answers else None

    together = dataclasses.replace(echo(), decode_many=decode_many)
    for lengths in ([3, 1, 120] * 20, [3, 13, 2], [3, 7, 2], [3, -1, 2, 120]):
        for size in (None, 2):
            found, expected = (
                [str(each) for each in answer(lengths, work, batch_size=size, on_error="return", hurry=False)]
                for work in (together, echo())
            )
            assert found == expected
    assert max(calls) > 2  # inputs that end together are decoded in one call


def test_batch_size_is_honoured_across_inputs() -> None:
    batches: list[list[int]] = []
    assert list(answer([10, 120, 5, 6], echo(batches), batch_size=2)) == [10, 120, 5, 6]
    assert batches == [[10, 50], [70, 5], [6]]


def test_rows_of_like_length_share_a_batch() -> None:
    batches: list[list[int]] = []
    lengths = [1, 90, 2, 91, 3, 92]
    assert list(answer(lengths, echo(batches), hurry=False)) == lengths
    assert batches[0] == [92, 91, 90, 3, 2, 1] or all(max(b) - min(b) < 10 for b in batches)


def test_budget_of_padded_tokens() -> None:
    rows = [row(n) for n in (300, 200, 100, 100, 50, 2000)]
    cut = groups(rows, 600)
    assert sorted(i for group in cut for i in group) == list(range(6))
    for group in cut:
        longest = max(rows[i].length for i in group)
        assert len(group) == 1 or longest * len(group) <= 600


def test_without_a_padding_token_only_equal_lengths_meet() -> None:
    rows = [row(n) for n in (3, 4, 3, 5, 4)]
    assert all(len({rows[i].length for i in group}) == 1 for group in groups(rows, 1000, can_pad=False))
    with pytest.raises(ValueError, match="without pad_token"):
        stack([row(3), row(4)], Padding(None))


def test_rows_that_cannot_be_padded_are_cut_by_shape() -> None:
    batches: list[list[int]] = []
    work = dataclasses.replace(echo(batches), can_pad=False)
    lengths = [3, 4, 3, 5, 4, 3]
    assert list(answer(lengths, work, batch_size=4)) == lengths
    assert batches == [[3, 3], [4], [5], [4], [3]]


def test_padding_sides_and_splitting() -> None:
    rows = [row(2, 7), row(3, 8)]
    right, left = (stack(rows, Padding(9, side))["input_ids"].tolist() for side in ("right", "left"))
    assert right == [[7, 7, 9], [8, 8, 8]]
    assert left == [[9, 7, 7], [8, 8, 8]]
    hidden = np.arange(6).reshape(2, 3)
    assert split({"h": hidden}, rows, frozenset({"h"}), Padding(9, "right"))[0]["h"].tolist() == [0, 1]
    assert split({"h": hidden}, rows, frozenset({"h"}), Padding(9, "left"))[0]["h"].tolist() == [1, 2]
    assert split({"h": hidden}, rows, frozenset(), Padding(9, "left"))[0]["h"].tolist() == [0, 1, 2]


def test_nothing_runs_before_it_is_asked_for_and_the_first_answer_comes_at_once() -> None:
    seen: list[int] = []

    def source() -> Any:
        for i in itertools.count(1):
            seen.append(i)
            yield 1 + i % 50

    stream = answer(source(), echo())
    assert seen == []
    next(stream)
    assert len(seen) <= 2


def test_a_bad_item_raises_in_its_turn_with_its_index() -> None:
    stream = answer([1, 2, -1, 3], echo(), hurry=False)
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(ValueError, match="negative") as caught:
        next(stream)
    assert caught.value.index == 2  # type: ignore[attr-defined]
    assert any("input 2" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("batch_size", [None, 2])
def test_on_error_return_keeps_the_rest(batch_size: int | None) -> None:
    got = list(answer([1, -1, 2, 33, 3], echo(bad=33), batch_size=batch_size, on_error="return", hurry=False))
    assert [got[0], got[2], got[4]] == [1, 2, 3]
    assert isinstance(got[1], ItemError) and isinstance(got[1].error, ValueError) and got[1].index == 1
    assert isinstance(got[3], ItemError) and str(got[3]) == "input 3: RuntimeError: the model fails"


def test_a_failing_batch_is_run_row_by_row() -> None:
    batches: list[list[int]] = []
    got = list(answer([5, 33, 6], echo(batches, bad=33), batch_size=3, on_error="return"))
    assert got[0] == 5 and got[2] == 6 and isinstance(got[1], ItemError)
    assert batches == [[5, 33, 6], [5], [33], [6]]


@pytest.mark.parametrize(("count", "beside"), [(7, False), (8, True)])
def test_many_batches_run_side_by_side(count: int, beside: bool) -> None:
    narrow: list[list[int]] = []
    work = dataclasses.replace(echo(bad=33), beside=2, run_beside=echo(narrow, bad=33).run, token_budget=100)
    lengths = [*range(90, 91 - count, -1), 33, 33]  # of a batch each, but for the last two
    got = list(answer(lengths, work, on_error="return", hurry=False))
    assert got[:-2] == lengths[:-2] and all(isinstance(each, ItemError) for each in got[-2:])
    assert bool(narrow) is beside
    some = answer(lengths, work, hurry=False)
    assert next(some) == 90
    some.close()  # type: ignore[attr-defined] # a generator


def rows_of_one(value: int, work: Work) -> Any:
    return work.decode(run_rows(list(work.encode(value)), work))


@pytest.mark.parametrize("length", [1, 99, 120, 5_000])
def test_one_input_is_answered_as_a_list_of_it(length: int) -> None:
    batches: dict[str, list[list[int]]] = {"one": [], "list": []}
    assert [rows_of_one(length, echo(batches["one"]))] == list(answer([length], echo(batches["list"]), hurry=False))
    assert batches["one"] == batches["list"]


@pytest.mark.parametrize(
    ("value", "error"), [(-1, ValueError), (7, RuntimeError), (57, RuntimeError), (120, RuntimeError)]
)
def test_one_input_raises_its_own_error(value: int, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"negative|the model fails"):
        rows_of_one(value, echo(bad=70 if value == 120 else value))


def test_workers_encode_beside_the_model() -> None:
    threads: set[str] = set()

    def encode(n: int) -> list[Row]:
        threads.add(threading.current_thread().name)
        return [row(n)]

    work = Work(encode, lambda rows: [{"n": np.ones(1)} for _ in rows], len)
    list(answer(range(1, 30), work, num_workers=2))
    assert threads and all(name.startswith("onnxpipe-encode") for name in threads)
    threads.clear()
    list(answer(range(1, 30), work))
    assert threads == {threading.current_thread().name}


def test_interrupts_are_not_swallowed() -> None:
    def run(rows: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(answer([1], Work(lambda n: [row(n)], run, len)))


def test_memory_stays_flat_over_a_long_stream() -> None:
    work = Work(lambda n: [row(n)], lambda rows: [{"n": np.ones(1)} for _ in rows], lambda pairs: 1)
    peaks = []
    for count in (20_000, 100_000):
        tracemalloc.start()
        total = sum(answer((1 + i % 64 for i in range(count)), work))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert total == count
    # Windows grow at the pace of the machine, by a few MB; a row that stayed would take hundreds of bytes.
    assert peaks[1] < peaks[0] + 80_000 * 50


def test_a_window_bounds_what_is_read_ahead() -> None:
    read = 0

    def source() -> Any:
        nonlocal read
        for value in itertools.repeat(3, 1000):
            read += 1
            yield value

    work = dataclasses.replace(echo(), window=8)
    for number, _ in enumerate(answer(source(), work), 1):
        assert read <= number + 16
