"""The queue by itself: what shares a batch, who waits, who is refused, what is given up."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from onnxpipe.engine.batching import Padding, Row, split, stack
from onnxpipe.engine.caller import Caller, Order
from onnxpipe.engine.queue import Queue
from onnxpipe.engine.scheduler import ItemError, Work, answer
from onnxpipe.engine.tickets import BatchReport, Ticket
from onnxpipe.errors import CallCancelledError, CallTimeoutError, OverloadedError, UnsupportedError


def row(length: int) -> Row:
    return Row({"input_ids": np.ones(length, np.int64)}, length)


class Model:
    """Counts the ones of each row; remembers the lengths of each batch."""

    def __init__(self, bad: int | None = None) -> None:
        self.batches: list[list[int]] = []
        self.bad = bad

    def run(self, rows: Any) -> list[dict[str, Any]]:
        self.batches.append([each.length for each in rows])
        if self.bad in self.batches[-1]:
            raise RuntimeError("the model fails")
        feeds = stack(rows, Padding())
        return split({"n": feeds["input_ids"].sum(1)}, rows, frozenset(), Padding())

    def work(self, **changes: Any) -> Work:
        return Work(
            encode=lambda lengths: [row(n) for n in (lengths if isinstance(lengths, list) else [lengths])],
            run=self.run,
            decode=lambda pairs: sum(int(out["n"]) for _, out in pairs),
            **{"token_budget": 100, **changes},
        )


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def put(queue: Queue, work: Work, *lengths: int, owner: str = "", deadline: float | None = None) -> Order:
    return queue.submit(Caller(queue, owner, deadline), [Ticket(row(n)) for n in lengths], work)


def test_the_oldest_goes_first_with_those_of_nearest_length() -> None:
    queue, model = Queue(workers=0), Model()
    for length in (20, 90, 21, 5, 22, 19, 23):
        put(queue, model.work(), length)
    while queue.step():
        pass
    assert model.batches == [[20, 21, 19, 22], [90], [5, 23]]
    assert (queue.rows, queue.cost, queue.running) == (0, 0, 0)


def test_an_idle_queue_runs_a_row_at_once_and_alone() -> None:
    queue, model = Queue(workers=0), Model()
    put(queue, model.work(), 400)  # longer than the budget
    assert queue.step() and not queue.step()
    assert model.batches == [[400]]


def test_rows_of_one_owner_leave_room_for_others() -> None:
    queue, model = Queue(workers=0), Model()
    greedy = put(queue, model.work(), *[10] * 20, owner="a")
    modest = put(queue, model.work(), 10, 10, owner="b")
    queue.step()
    assert model.batches == [[10] * 10] and modest.done.is_set() and greedy.left == 12
    queue.step()
    assert len(model.batches[1]) == 10  # nobody else waits


def test_groups_and_shapes_do_not_mix() -> None:
    queue, model = Queue(workers=0), Model()
    for group in ("x", "y", "x"):
        put(queue, model.work(group=group), 10)
    put(queue, model.work(group="y", can_pad=False), 10, 11)
    while queue.step():
        pass
    assert model.batches == [[10, 10], [10], [10], [11]]


def test_no_more_rows_than_the_call_asks_for() -> None:
    queue, model = Queue(workers=0), Model()
    put(queue, model.work(most_rows=2), 1, 1, 1)
    while queue.step():
        pass
    assert model.batches == [[1, 1], [1]]


def test_a_bad_row_fails_alone() -> None:
    queue, model = Queue(workers=0), Model(bad=7)
    caller = Caller(queue)
    tickets = [Ticket(row(n)) for n in (6, 7, 8)]
    queue.submit(caller, tickets, model.work())
    queue.step()
    assert [ticket.error is None for ticket in tickets] == [True, False, True]
    assert model.batches == [[6, 7, 8], [6], [7], [8]] or model.batches[0] == [6, 7, 8]


def test_full_queues_refuse_and_say_how_long_it_takes() -> None:
    clock, model = Clock(), Model()
    queue = Queue(workers=0, most_cost=100, most_calls=3, clock=clock)
    assert queue.seconds_ahead() == 0
    put(queue, model.work(), 60)
    with pytest.raises(OverloadedError, match="60 tokens wait"):
        put(queue, model.work(), 50)
    put(queue, model.work(), 1)
    put(queue, model.work(), 1)
    with pytest.raises(OverloadedError, match="3 calls wait"):
        put(queue, model.work(), 1)

    def slow(rows: Any) -> Any:
        clock.now += 2
        return Model().run(rows)

    queue = Queue(workers=0, clock=clock)
    put(queue, Work(lambda value: [], slow, lambda pairs: None), 10)
    queue.step()
    put(queue, model.work(), 100)
    assert queue.seconds_ahead() == 20


def test_rows_that_are_too_long_are_refused() -> None:
    queue, model = Queue(workers=0, most_length=50), Model()
    put(queue, model.work(), 50)
    with pytest.raises(UnsupportedError, match="51 tokens"):
        put(queue, model.work(), 51)
    assert queue.rows == 1


def test_further_rows_of_a_call_are_taken() -> None:
    queue, model = Queue(workers=0, most_cost=10), Model()
    caller = Caller(queue)
    queue.submit(caller, [Ticket(row(10))], model.work())
    queue.submit(caller, [Ticket(row(10))], model.work())
    assert queue.cost == 20


def test_given_up_and_late_rows_do_not_run() -> None:
    clock, model = Clock(), Model()
    queue = Queue(workers=0, clock=clock)
    left, late = Caller(queue), Caller(queue, deadline=5.0)
    tickets = [Ticket(row(3)), Ticket(row(4))]
    orders = [queue.submit(caller, [ticket], model.work()) for caller, ticket in zip((left, late), tickets)]
    left.cancel()
    assert isinstance(tickets[0].error, CallCancelledError) and orders[0].done.is_set()
    clock.now = 6.0
    assert not queue.step()
    assert isinstance(tickets[1].error, CallTimeoutError) and orders[1].done.is_set()
    assert model.batches == [] and queue.cost == 0
    after = queue.submit(left, [Ticket(row(3))], model.work())
    assert after.done.is_set() and queue.rows == 0


def test_a_row_brings_little_padding() -> None:
    queue, model = Queue(workers=0), Model()
    for length in (20, 24, 17, 21, 15, 30):
        put(queue, model.work(padding=3), length)
    while queue.step():
        pass
    # 24 would pad the row of 20 by four tokens, and 15 would be padded by six
    assert model.batches == [[20, 21], [24], [17, 15], [30]]


def test_a_caller_runs_its_rows_itself_where_a_worker_is_idle() -> None:
    threads: list[str] = []
    model, entered, gate = Model(), threading.Event(), threading.Event()

    def run(rows: Any) -> Any:
        threads.append(threading.current_thread().name)
        if rows[0].length == 7:
            entered.set()
            assert gate.wait(60)
        return model.run(rows)

    queue = Queue(workers=1)
    work = Work(lambda length: [row(length)], run, lambda pairs: int(pairs[0][1]["n"]), caller=Caller(queue))
    answers: list[int] = []
    first = threading.Thread(target=lambda: answers.extend(answer([7], work, hurry=False)), name="first")
    first.start()
    assert entered.wait(60)
    order = put(queue, work, 5)
    assert queue.rows == 1  # the one worker's place is taken
    gate.set()
    assert order.done.wait(60)
    first.join(60)
    assert answers == [7] and threads == ["first", "onnxpipe-run-0"]
    queue.close()


def test_threads_answer_many_callers_and_every_row_comes_back_to_its_own() -> None:
    reports: list[BatchReport] = []
    queue, model = Queue(workers=2, on_batch=reports.append), Model(bad=33)
    got: dict[int, Any] = {}

    def call(n: int) -> None:
        work = model.work(caller=Caller(queue, owner=n % 3))
        got[n] = list(answer([n, [n, n + 1], 33], work, on_error="return", hurry=False))

    threads = [threading.Thread(target=call, args=(n,)) for n in range(1, 25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for n in range(1, 25):
        assert got[n][:2] == [n, 2 * n + 1] and isinstance(got[n][2], ItemError)
    queue.close()
    with pytest.raises(OverloadedError, match="closed"):
        put(queue, model.work(), 1)
    assert sum(report.rows for report in reports) == 24 * 4
    assert all(report.padded >= report.tokens for report in reports)


def test_closing_answers_what_waits_or_gives_it_up() -> None:
    gate, model = threading.Event(), Model()

    def run(rows: Any) -> Any:
        gate.wait(60)
        return model.run(rows)

    work = Work(lambda value: [], run, lambda pairs: None, token_budget=1)
    queue = Queue(workers=1)
    orders = [put(queue, work, 1) for _ in range(3)]
    queue.close(drain_s=0)
    gate.set()
    assert all(order.done.wait(60) for order in orders)
    assert len(model.batches) <= 1

    queue = Queue(workers=1)
    orders = [put(queue, work, 1) for _ in range(3)]
    queue.close()
    assert all(order.done.is_set() for order in orders)
