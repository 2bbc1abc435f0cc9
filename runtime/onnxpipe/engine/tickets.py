"""What passes between a queue and those who fill and empty it: rows on their way, batches, what a batch was."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from onnxpipe.engine.batching import Outputs, Row


@dataclass(slots=True, eq=False)
class Ticket:
    """A row on its way through the model.

    Attributes:
        row: the row.
        outputs: what the model gave for it, once it has run.
        error: why it has no outputs.
        begin: makes what a running batch takes of the row; None where rows do not join one.
        cached: tokens of the row that were not run again.
    """

    row: Row
    outputs: Outputs | None = None
    error: Exception | None = None
    begin: Callable[[Row], Any] | None = None
    cached: int = 0


def run_batch(tickets: Sequence[Ticket], run: Callable[[Sequence[Row]], list[Outputs]]) -> None:
    """Run one batch. If it fails, its rows run one by one, so that a bad row does not fail the others."""
    if not tickets:
        return
    try:
        outputs = run([ticket.row for ticket in tickets])
    except Exception as error:
        if len(tickets) == 1:
            tickets[0].error = error
        else:
            for ticket in tickets:
                run_batch([ticket], run)
        return
    for ticket, output in zip(tickets, outputs, strict=True):
        ticket.outputs = output


class Running(Protocol):
    """A batch that rows join and leave while it runs."""

    @property
    def active(self) -> int:
        """How many rows are in it."""
        ...

    def join(self, ticket: Ticket, owner: Hashable) -> None:
        """Let a row join, which belongs to somebody."""
        ...

    def step(self) -> list[Ticket]:
        """Take one step; return the rows that left, each with outputs or an error."""
        ...


@dataclass(frozen=True)
class Joining:
    """How rows join a running batch, instead of waiting for its end.

    Attributes:
        slots: how many there are in it.
        start: begins a batch of none.
        takes: how many slots each row of the call takes; at most all.
    """

    slots: int
    start: Callable[[], Running]
    takes: int = 1


@dataclass(frozen=True)
class BatchReport:
    """What one batch was.

    Attributes:
        rows: its rows.
        tokens: the sum of their lengths.
        padded: rows times the longest length.
        seconds: how long it ran.
    """

    rows: int
    tokens: int
    padded: int
    seconds: float
