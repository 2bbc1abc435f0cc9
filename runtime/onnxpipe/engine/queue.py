"""A queue of rows that outlives a call: rows of many callers share the batches of one model.

    callers ─submit─▶ rows that wait ─cut─▶ a batch ─run─▶ outputs ─▶ each caller its own

The oldest row always goes first, so nobody starves; with it go those of the rows behind it that are nearest to it in
length, until the padded batch reaches the budget. There is no timer: an idle queue runs a row at once, and alone.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import TYPE_CHECKING, Any

from onnxpipe.engine.batching import oldest_first, shapes
from onnxpipe.engine.caller import Caller, Order
from onnxpipe.engine.tickets import BatchReport, Joining, Running, Ticket, run_batch
from onnxpipe.errors import CallCancelledError, OverloadedError, UnsupportedError

if TYPE_CHECKING:
    from onnxpipe.engine.scheduler import Work

_AHEAD = 256  # rows behind the oldest among which its company is looked for
_NEWEST = 0.2  # weight of the last batch in the mean speed


@dataclass(slots=True, eq=False)
class _Waiting:
    """A row in the queue, and since when."""

    ticket: Ticket
    order: Order
    since: float
    group: Any

    @property
    def length(self) -> int:
        return max(1, self.ticket.row.length)

    @property
    def slots(self) -> int:
        """How many slots of a running batch it takes."""
        joining = self.order.work.joining
        return 1 if joining is None else joining.takes


class Queue:
    """The rows that wait for one model, and the threads that run them.

    Args:
        workers: threads that run batches; 0 for none: then `step()` runs one batch in the calling thread.
        slots: rows of a batch that others join while it runs; 0 lets none join.
        keep: whether prompts may continue from what was run before; None leaves it to the model.
        most_cost: the sum of lengths that may wait before calls are refused.
        most_calls: the calls that may wait.
        most_length: the length of a row beyond which it is refused; None for no limit.
        on_batch: called after each batch.
        clock: seconds, for waits and deadlines.
    """

    def __init__(
        self,
        *,
        workers: int = 1,
        slots: int = 8,
        keep: bool | None = None,
        most_cost: int = 65_536,
        most_calls: int = 512,
        most_length: int | None = None,
        on_batch: Callable[[BatchReport], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock, self.slots, self.keep = clock, slots, keep
        self.most_cost, self.most_calls, self.most_length, self._on_batch = most_cost, most_calls, most_length, on_batch
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._orders: Counter[Order] = Counter()  # rows that wait, by the order that they belong to
        self._cost = 0
        self._running = 0
        self._busy = 0  # threads that run batches: at most as many as there are workers
        self._speed: float | None = None  # tokens a second
        self._kept = threading.local()  # each thread's last running batch: what it has run may be of use again
        self._closed = self._ended = False
        self._threads = [
            threading.Thread(target=self._work, name=f"onnxpipe-run-{i}", daemon=True) for i in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    # -- callers ------------------------------------------------------------------------------------------------------
    def run(self, caller: Caller, tickets: Sequence[Ticket], work: Work) -> None:
        """Bring rows through the queue; return when each has outputs or an error.

        Where nothing waits and a worker is idle, this thread runs the first batch in its place: handing rows to another
        thread and back would take as long as a tenth of a short text's run.

        Raises:
            OverloadedError, UnsupportedError: as `submit` does.
        """
        order, batch = self._submit(caller, tickets, work, here=True)
        if batch:
            try:
                self._run(batch)
            finally:
                self._rest()
        order.done.wait()

    def submit(self, caller: Caller, tickets: Sequence[Ticket], work: Work) -> Order:
        """Let rows wait for the model.

        Args:
            caller: whose they are. Once rows of a call were taken, its further rows are taken too.
            tickets: the rows; each gets outputs or an error.
            work: the steps of the call.

        Returns:
            The order, whose `done` is set when all rows have run.

        Raises:
            OverloadedError: too much is waiting, or the queue is closed.
            UnsupportedError: a row is too long.
        """
        return self._submit(caller, tickets, work)[0]

    def _submit(
        self, caller: Caller, tickets: Sequence[Ticket], work: Work, *, here: bool = False
    ) -> tuple[Order, list[_Waiting]]:
        """See `submit`; also return the batch that the calling thread is to run: none unless `here`."""
        takes = 1 if work.joining is None else work.joining.takes
        longest = max((ticket.row.length for ticket in tickets), default=0) // takes
        if self.most_length is not None and longest > self.most_length:
            said = f"an input has {longest:,} tokens, with those that it may have generated"
            raise UnsupportedError(f"{said}; the most are {self.most_length:,}: send or ask for less")
        order = Order(caller, work, len(tickets))
        if not tickets:
            order.done.set()
            return order, []
        cost = sum(max(1, ticket.row.length) for ticket in tickets)
        with self._changed:
            if not caller.admitted:
                self._admit(cost)
            elif self._ended:
                raise OverloadedError("the queue is closed")
            now = self.clock()
            caller.submitted = now if caller.submitted is None else caller.submitted
            caller.tokens += sum(ticket.row.length for ticket in tickets)
            if (fault := caller.fault()) is not None:
                for ticket in tickets:
                    ticket.error = fault
                order.settle(len(tickets))
                return order, []
            here = here and work.joining is None and not self._waiting and self._busy < len(self._threads)
            for ticket in tickets:
                group = (work.group, None if work.can_pad else shapes(ticket.row))
                self._waiting.append(_Waiting(ticket, order, now, group))
            self._orders[order] = len(tickets)
            self._cost += cost
            batch = self._cut() if here else []
            if batch:
                self._busy += 1
                self._running += len(batch)
            if self._waiting:
                self._changed.notify(len(tickets))
        return order, batch

    def _admit(self, cost: int) -> None:
        if self._closed:
            raise OverloadedError("the queue is closed")
        if self._waiting and self._cost + cost > self.most_cost:
            raise OverloadedError(f"{self._cost} tokens wait already: try again later, or send less at once")
        if len(self._orders) >= self.most_calls:
            raise OverloadedError(f"{len(self._orders)} calls wait already: try again later")

    def forget(self, caller: Caller) -> None:
        """Drop the waiting rows of a call that was given up."""
        with self._changed:
            gone = [each for each in self._waiting if each.order.caller is caller]
            if gone:
                dropped = set(map(id, gone))
                self._waiting = deque(each for each in self._waiting if id(each) not in dropped)
            for each in gone:
                self._drop(each)
            self._changed.notify_all()

    def _drop(self, each: _Waiting) -> None:
        """Settle a row that will not run; it has left `_waiting`."""
        each.ticket.error = each.order.caller.fault() or CallCancelledError("the queue was closed before the row ran")
        self._left(each)
        each.order.settle(1)

    def _left(self, each: _Waiting) -> None:
        """Count a row as one that does not wait any more."""
        self._cost -= each.length
        self._orders[each.order] -= 1
        if not self._orders[each.order]:
            del self._orders[each.order]

    # -- what can be seen ---------------------------------------------------------------------------------------------
    @property
    def rows(self) -> int:
        """How many rows wait."""
        return len(self._waiting)

    @property
    def cost(self) -> int:
        """The sum of the lengths of the rows that wait."""
        return self._cost

    @property
    def running(self) -> int:
        """How many rows are being run."""
        return self._running

    def seconds_ahead(self) -> float:
        """Estimate how long what waits now will take: its cost by the recent speed; 0 before anything has run."""
        return self._cost / self._speed if self._speed else 0.0

    # -- batches ------------------------------------------------------------------------------------------------------
    def step(self) -> bool:
        """Cut a batch and run it in this thread; return False if no row waited."""
        with self._changed:
            batch = self._cut()
            self._running += len(batch)
        if batch:
            self._run(batch)
        return bool(batch)

    def _cut(self) -> list[_Waiting]:
        """Take the rows of the next batch out of the queue."""
        looked = [self._waiting.popleft() for _ in range(min(_AHEAD, len(self._waiting)))]
        for each in looked:
            if each.order.caller.stopped():
                self._drop(each)
        alive = [each for each in looked if each.ticket.error is None]
        batch = _batch(alive)
        taken = set(map(id, batch))
        self._waiting.extendleft(each for each in reversed(alive) if id(each) not in taken)
        for each in batch:
            self._left(each)
        return batch

    def _run(self, batch: list[_Waiting]) -> None:
        tickets = [each.ticket for each in batch]
        started = self.clock()
        joining = batch[0].order.work.joining
        if joining is not None:
            self._run_joined(batch, joining)
            return
        try:
            run_batch(tickets, batch[0].order.work.run)
        except BaseException as error:  # nobody may be left waiting
            for ticket in tickets:
                if ticket.outputs is None and ticket.error is None:
                    ticket.error = RuntimeError(f"the run broke off: {type(error).__name__}")
            raise
        finally:
            self._report(batch, started, self.clock())

    def _run_joined(self, arriving: list[_Waiting], joining: Joining) -> None:
        """Run a batch that rows join as they come, until it is empty, or rows of another group wait longest."""
        if getattr(self._kept, "running", None) is None:
            self._kept.running = joining.start()
        running: Running = self._kept.running
        group = arriving[0].group
        members: dict[int, tuple[_Waiting, float]] = {}

        def leave(tickets: Sequence[Ticket]) -> None:
            for ticket in tickets:
                each, joined = members.pop(id(ticket))
                each.order.caller.cached += ticket.cached
                self._report([each], joined, self.clock())

        while arriving or members:
            started = self.clock()
            for each in arriving:
                members[id(each.ticket)] = each, started
                try:
                    running.join(each.ticket, each.order.caller.owner)
                except Exception as error:  # of this row alone: its parameters
                    each.ticket.error = error
                    leave([each.ticket])
            if members:
                try:
                    left = running.step()
                except Exception as error:
                    for each, _ in members.values():
                        each.ticket.error = error
                    left = [each.ticket for each, _ in members.values()]
                    running = self._kept.running = joining.start()
                leave(left)
            with self._changed:
                arriving = self._next(group, joining.slots - sum(each.slots for each, _ in members.values()))
                self._running += len(arriving)

    def _next(self, group: Any, free: int) -> list[_Waiting]:
        """Take the oldest rows that wait, if they are of a group and there are slots for them; nobody overtakes."""
        found: list[_Waiting] = []
        while self._waiting:
            each = self._waiting[0]
            if each.order.caller.stopped():
                self._waiting.popleft()
                self._drop(each)
                continue
            if each.group != group or each.slots > free:
                break
            free -= each.slots
            found.append(self._waiting.popleft())
            self._left(each)
        return found

    def _report(self, batch: list[_Waiting], started: float, ended: float) -> None:
        lengths = [each.length for each in batch]
        report = BatchReport(len(batch), sum(lengths), len(batch) * max(lengths), ended - started)
        for caller in {each.order.caller for each in batch}:
            caller.run_s += report.seconds
        with self._changed:
            self._running -= len(batch)
            if report.seconds > 0:
                speed = report.tokens / report.seconds
                self._speed = speed if self._speed is None else (1 - _NEWEST) * self._speed + _NEWEST * speed
            for order, count in Counter(each.order for each in batch).items():
                order.caller.queued_s = max(
                    order.caller.queued_s, *(started - each.since for each in batch if each.order is order)
                )
                order.settle(count)
            if self._closed:
                self._changed.notify_all()
        if self._on_batch is not None:
            self._on_batch(report)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._ended and (not self._waiting or self._busy >= len(self._threads)):
                    self._changed.wait()
                if self._ended:
                    return
                self._busy += 1
            try:
                self.step()
            finally:
                self._rest()

    def _rest(self) -> None:
        """Let another thread run what waits, after this one has run a batch."""
        with self._changed:
            self._busy -= 1
            if self._waiting:
                self._changed.notify_all()

    def close(self, drain_s: float | None = None) -> None:
        """Take no more calls; let the rows that wait run, and end the threads.

        Args:
            drain_s: seconds after which rows that still wait are given up; None for no limit.
        """
        until = None if drain_s is None else self.clock() + drain_s
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            while self._threads and (self._waiting or self._running):
                left = None if until is None else until - self.clock()
                if left is not None and left <= 0:
                    break
                self._changed.wait(left)
            self._ended = True
            rest, self._waiting = self._waiting, deque()
            for each in rest:
                self._drop(each)
            self._changed.notify_all()


def _batch(alive: Sequence[_Waiting]) -> list[_Waiting]:
    """Choose the rows of the next batch: the oldest, and company of its group."""
    if not alive:
        return []
    work, group = alive[0].order.work, alive[0].group
    if (joining := work.joining) is not None:
        used = accumulate(each.slots for each in alive)
        same = takewhile(lambda pair: pair[0].group == group and pair[1] <= joining.slots, zip(alive, used))
        return [each for each, _ in same]
    fit = [each for each in alive if each.group == group]
    owners = [each.order.caller.owner for each in fit]
    chosen = oldest_first([each.length for each in fit], owners, work.token_budget, work.most_rows, work.padding)
    return [fit[i] for i in chosen]
