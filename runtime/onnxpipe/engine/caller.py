"""A call on a queue, and the rows that it submits."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from onnxpipe.engine.tickets import Ticket
from onnxpipe.errors import CallCancelledError, CallTimeoutError

if TYPE_CHECKING:
    from onnxpipe.engine.queue import Queue
    from onnxpipe.engine.scheduler import Work


class Caller:
    """One call on a queue: whose rows they are, how long they are wanted, what they cost.

    Args:
        queue: the queue in which the rows wait.
        owner: whom the rows belong to; the rows of one owner get a part of a batch only while others wait.
        deadline: the moment of the queue's clock after which the answer is not wanted any more; None for none.

    Attributes:
        queued_s: the longest time that a row has waited, in seconds.
        run_s: the time of the batches that had a row of this call.
        tokens: the sum of the lengths of the rows.
        cached: tokens that were not run again, as they were run before.
        submitted: when the first row came to the queue, by its clock; None before.
    """

    def __init__(self, queue: Queue, owner: Hashable = None, deadline: float | None = None) -> None:
        self.queue, self.owner, self.deadline = queue, owner, deadline
        self.queued_s = self.run_s = 0.0
        self.tokens = self.cached = 0
        self.submitted: float | None = None
        self._cancelled = threading.Event()

    @property
    def admitted(self) -> bool:
        """Whether rows of the call were taken: its further rows are taken as well."""
        return self.submitted is not None

    def cancel(self) -> None:
        """Give the call up: rows that wait vanish, and generation stops at its next token."""
        self._cancelled.set()
        self.queue.forget(self)

    def stopped(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.fault() is not None

    def fault(self) -> Exception | None:
        """Return why the answer is not wanted any more; None while it is."""
        if self._cancelled.is_set():
            return CallCancelledError("the call was given up before its answer was there")
        if self.deadline is not None and self.queue.clock() > self.deadline:
            return CallTimeoutError("the answer was not there in time: try again, or with less at once")
        return None

    def run(self, tickets: Sequence[Ticket], work: Work) -> None:
        """Bring rows through the queue; return when each has outputs or an error.

        Of a call that was given up meanwhile no row has outputs: a text may have been stopped in its midst.

        Raises:
            OverloadedError: the queue is full, or closed.
        """
        self.queue.run(self, tickets, work)
        if (fault := self.fault()) is not None:
            for ticket in tickets:
                ticket.outputs, ticket.error = None, ticket.error or fault


@dataclass(slots=True, eq=False)
class Order:
    """Rows that a caller submitted together.

    Attributes:
        caller: whose they are.
        work: the steps; `run` is called for rows of equal `group`.
        left: how many have neither outputs nor an error yet.
        done: set when there is none.
    """

    caller: Caller
    work: Work
    left: int
    done: threading.Event = field(default_factory=threading.Event)

    def settle(self, count: int) -> None:
        """Count rows as done."""
        self.left -= count
        if not self.left:
            self.done.set()
