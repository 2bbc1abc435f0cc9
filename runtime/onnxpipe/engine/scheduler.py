"""The one scheduler of all tasks: inputs in, answers out, in order, in bounded memory.

    input ─encode─▶ rows ─batch─▶ feeds ─run─▶ outputs ─split─▶ rows ─decode─▶ result

With `batch_size` the rows go in batches of exactly that many, in order (if rows of different shapes cannot be
padded, each such batch is split by shape). Without it, rows are gathered into a window,
sorted by length, and cut into batches under a budget of padded tokens; 256 to 2048 tokens were found equally fast on
CPUs, 8192 was 30 % slower. The window of a stream starts at one row and doubles, so that the first answer comes at
once; it also closes when filling it takes longer than `_PATIENCE`, so that a slow source is not held back.

An input may have more rows than fit into memory (an hour of audio): with `lazy` they are made as they are needed, and
released once they have run.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Literal

from onnxpipe.engine.batching import Outputs, Row, groups, shapes
from onnxpipe.engine.caller import Caller
from onnxpipe.engine.tickets import Joining, Ticket, run_batch

__all__ = [
    "TOKEN_BUDGET",
    "WINDOW_ROWS",
    "Answered",
    "ItemError",
    "OnError",
    "Outputs",
    "Work",
    "answer",
    "run_rows",
]

#: The rows of one input with their outputs.
Answered = list[tuple[Row, Outputs]]
OnError = Literal["raise", "return"]

TOKEN_BUDGET = 1024
WINDOW_ROWS = 1024
_PATIENCE = 0.05  # seconds
_HEAD = 4  # rows of a lazy input that a worker makes ahead of the model
_MANY = 4  # batches for each that may run beside others: fewer could leave one thread alone with the last
_TOGETHER = 64  # inputs of a list that are encoded at once


@dataclass(frozen=True, slots=True)
class ItemError:
    """Takes the place of an answer when `on_error="return"`.

    Attributes:
        index: position of the input among those passed to the pipeline, from 0.
        error: the error that it caused.
    """

    index: int
    error: Exception

    def __str__(self) -> str:
        return f"input {self.index}: {type(self.error).__name__}: {self.error}"


@dataclass(frozen=True, slots=True)
class Work:
    """The steps from an input to its answer. `run` runs a batch; `decode` gets one input's rows with their outputs.

    `encode_many` gives a row for each of several inputs, and `decode_many` an answer for the rows of each, which costs
    less than one by one; None, or an error, if they cannot.
    `can_pad` tells whether rows of different shapes may share a batch (they may not without a padding token).
    `token_budget` limits a batch that the scheduler cuts (its rows times the longest `Row.length`). `window` is the
    number of rows that are gathered before they are sorted by length: a stream reads ahead no further. With `lazy` the
    rows of one input are gathered no further ahead than that, and lose their feeds once they have run.

    With `run_beside`, which may be called from several threads at once, many batches are run `beside` each other.

    With a `caller` the rows do not run in the calling thread, but wait in the caller's queue, where they share batches
    with the rows of other calls of the same `group`; these know their call's `seed`, and a batch of them has no more
    than `most_rows`, each of which brings no more than `padding` tokens of padding. With `joining` they join a batch
    that runs already, each by what `begin` makes of it.
    """

    encode: Callable[[Any], Iterable[Row]]
    run: Callable[[Sequence[Row]], list[Outputs]]
    decode: Callable[[Answered], Any]
    encode_many: Callable[[Sequence[Any]], Sequence[Row] | None] | None = None
    decode_many: Callable[[Sequence[Answered]], Sequence[Any] | None] | None = None
    can_pad: bool = True
    token_budget: int = TOKEN_BUDGET
    window: int = WINDOW_ROWS
    lazy: bool = False
    caller: Caller | None = None
    beside: int = 1
    run_beside: Callable[[Sequence[Row]], list[Outputs]] | None = None
    group: Any = None
    seed: int | None = None
    most_rows: int | None = None
    padding: int | None = None
    joining: Joining | None = None
    begin: Callable[[Row], Any] | None = None


@dataclass(slots=True)
class _Item:
    index: int
    tickets: list[Ticket] = field(default_factory=list)
    missing: int = 0
    error: Exception | None = None
    rest: Iterator[Row] | None = None  # rows that are still to be made

    def add(self, row: Row, work: Work) -> None:
        row.index, row.seed = self.index, work.seed
        row.stopped = None if work.caller is None else work.caller.stopped
        self.tickets.append(Ticket(row, begin=work.begin))
        self.missing += 1

    def take(self, ticket: Ticket, lazy: bool) -> None:
        """Take note of a row that has run."""
        if ticket.outputs is None:
            self.error = self.error or ticket.error
            return
        self.missing -= 1
        if lazy:
            ticket.row = replace(ticket.row, feeds={})

    @property
    def done(self) -> bool:
        return self.error is not None or (self.missing == 0 and self.rest is None)

    @property
    def answered(self) -> Answered:
        return [(ticket.row, ticket.outputs) for ticket in self.tickets if ticket.outputs is not None]


def answer(
    inputs: Iterable[Any],
    work: Work,
    *,
    batch_size: int | None = None,
    num_workers: int = 0,
    on_error: OnError = "raise",
    hurry: bool = True,
) -> Iterator[Any]:
    """Answer `inputs`, one answer each, in order.

    Args:
        inputs: any iterable; read no further ahead than one window.
        work: the steps from an input to its answer.
        batch_size: rows per batch; None lets the scheduler group rows of similar length.
        num_workers: threads that encode ahead; 0 encodes in the calling thread.
        on_error: "raise" raises the error of the first bad input when its turn comes (with its index as a note and in
            `error.index`); "return" puts an `ItemError` in its place.
        hurry: answer the first inputs before a whole window was read; False where all inputs are at hand anyway.
    """
    encoded = _encode_all(inputs, work, num_workers)
    windows = _by_count(encoded, batch_size, work) if batch_size else _by_window(encoded, hurry, work)
    waiting: deque[_Item] = deque()
    for items, batches in windows:
        waiting.extend(items)
        if work.caller is not None:  # the queue cuts them
            batches = [[slot for batch in batches for slot in batch]]
        for _ in _after_each(batches, work):
            yield from _finish_ended(waiting, work, on_error)
        yield from _finish_ended(waiting, work, on_error)


def run_rows(rows: Sequence[Row], work: Work) -> Answered:
    """Run the rows of one input in batches of similar length.

    Raises:
        Exception: the error that a row caused.
    """
    item = _Item(0, [Ticket(row) for row in rows], len(rows))
    for batch in _cut([(item, n) for n in range(len(rows))], work):
        _run(batch, work)
    if item.error is not None:
        raise item.error
    return item.answered


_Slot = tuple[_Item, int]  # an item and the number of its row
_Window = tuple[list[_Item], list[list[_Slot]]]  # items that begin in it, and the batches to run


def _encode_all(inputs: Iterable[Any], work: Work, workers: int) -> Iterator[_Item]:
    def one(index: int, value: Any) -> _Item:
        item = _Item(index)
        try:
            if work.lazy:
                item.rest = iter(work.encode(value))
            rows = work.encode(value) if item.rest is None else islice(item.rest, _HEAD if workers else 0)
            for row in list(rows):
                item.add(row, work)
        except Exception as error:  # kept until the item's turn comes
            item.error = error
        return item

    def several(first: int, values: list[Any]) -> Iterable[_Item]:
        rows = _rows_of(values, work)
        if rows is None:
            yield from (one(i, value) for i, value in enumerate(values, first))
            return
        for i, row in enumerate(rows, first):
            item = _Item(i)
            item.add(row, work)
            yield item

    if not workers:
        if isinstance(inputs, list):
            for first in range(0, len(inputs), _TOGETHER):
                yield from several(first, inputs[first : first + _TOGETHER])
        else:
            yield from (one(i, value) for i, value in enumerate(inputs))
        return
    with ThreadPoolExecutor(workers, "onnxpipe-encode") as pool:
        ahead: deque[Future[_Item]] = deque()
        for i, value in enumerate(inputs):
            ahead.append(pool.submit(one, i, value))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _rows_of(values: list[Any], work: Work) -> Sequence[Row] | None:
    """Encode several inputs at once, one row each; None where they have to be encoded one by one."""
    if work.encode_many is None or len(values) == 1:
        return None
    try:
        return work.encode_many(values)
    except Exception:  # one by one it is seen whose error it is
        return None


def _arriving(items: Iterable[_Item], work: Work) -> Iterator[tuple[list[_Item], list[_Slot]]]:
    """Yield items that begin and rows that are ready, as they come; both empty when an item turns out to have ended."""
    for item in items:
        yield [item], [(item, n) for n in range(len(item.tickets))]
        while item.rest is not None and item.error is None:
            try:
                item.add(next(item.rest), work)
            except StopIteration:
                item.rest = None
                yield [], []
            except Exception as error:  # kept until the item's turn comes
                item.error = error
                yield [], []
            else:
                yield [], [(item, len(item.tickets) - 1)]


def _by_count(items: Iterable[_Item], batch_size: int, work: Work) -> Iterator[_Window]:
    """Cut batches of exactly `batch_size` rows, in order; rows of different inputs share a batch."""
    queue: list[_Slot] = []
    for begun, slots in _arriving(items, work):
        queue.extend(slots)
        batches = []
        while len(queue) >= batch_size:
            batches += _by_shape(queue[:batch_size], work)
            del queue[:batch_size]
        yield begun, batches
    yield [], _by_shape(queue, work)


def _by_shape(slots: list[_Slot], work: Work) -> list[list[_Slot]]:
    """Split the slots into batches whose rows can be stacked, in order."""
    batches: dict[Any, list[_Slot]] = {}
    for item, n in slots:
        batches.setdefault(None if work.can_pad else shapes(item.tickets[n].row), []).append((item, n))
    return list(batches.values())


def _by_window(items: Iterator[_Item], hurry: bool, work: Work) -> Iterator[_Window]:
    """Cut batches of similar length from windows of many rows."""
    size = 1 if hurry else work.window
    fresh: list[_Item] = []
    slots: list[_Slot] = []
    opened = time.monotonic()
    for begun, arrived in _arriving(items, work):
        fresh += begun
        slots += arrived
        if len(slots) >= size or not slots or (hurry and time.monotonic() - opened > _PATIENCE):
            yield fresh, _cut(slots, work)
            grown = size if not slots else min(2 * size, work.window)
            fresh, slots, size = [], [], grown
            opened = time.monotonic()
    yield fresh, _cut(slots, work)


def _cut(slots: list[_Slot], work: Work) -> list[list[_Slot]]:
    rows = [item.tickets[n].row for item, n in slots]
    return [[slots[i] for i in group] for group in groups(rows, work.token_budget, can_pad=work.can_pad)]


def _after_each(batches: list[list[_Slot]], work: Work) -> Iterator[None]:
    """Run batches, in order or, where there are many, side by side; yield after each that has run."""
    if work.run_beside is None or len(batches) < _MANY * work.beside:
        for batch in batches:
            _run([slot for slot in batch if slot[0].error is None], work)
            yield
        return
    pool = ThreadPoolExecutor(work.beside, "onnxpipe-run")
    try:
        alive = [[slot for slot in batch if slot[0].error is None] for batch in batches]
        running = [(batch, pool.submit(run_batch, _tickets(batch), work.run_beside)) for batch in alive]
        for batch, run in running:
            run.result()
            _take(batch, work)
            yield
    finally:
        pool.shutdown(cancel_futures=True)  # whoever has read enough does not wait for the rest


def _run(batch: list[_Slot], work: Work) -> None:
    """Run rows: one batch of them here, or in the batches that the caller's queue cuts."""
    if work.caller is None:
        run_batch(_tickets(batch), work.run)
    else:
        work.caller.run(_tickets(batch), work)
    _take(batch, work)


def _tickets(batch: list[_Slot]) -> list[Ticket]:
    return [item.tickets[n] for item, n in batch]


def _take(batch: list[_Slot], work: Work) -> None:
    for item, n in batch:
        item.take(item.tickets[n], work.lazy)


def _finish_ended(waiting: deque[_Item], work: Work, on_error: OnError) -> Iterator[Any]:
    """Answer the inputs that have ended, up to the first that has not."""
    ended = []
    while waiting and waiting[0].done:
        ended.append(waiting.popleft())
    answers = _answers_of(ended, work)
    if answers is not None:
        yield from answers
        return
    for item in ended:
        yield _finish(item, work, on_error)


def _answers_of(items: Sequence[_Item], work: Work) -> Sequence[Any] | None:
    """Decode the rows of several inputs at once; None where they have to be decoded one by one."""
    if work.decode_many is None or len(items) < 2 or any(item.error is not None for item in items):
        return None
    try:
        return work.decode_many([item.answered for item in items])
    except Exception:  # decoded one by one, each input gets its own answer or error
        return None


def _finish(item: _Item, work: Work, on_error: OnError) -> Any:
    error = item.error
    if error is None:
        try:
            return work.decode(item.answered)
        except Exception as failure:
            error = failure
    if on_error == "return":
        return ItemError(item.index, error)
    error.index = item.index  # type: ignore[attr-defined]
    error.add_note(f"onnxpipe: this is input {item.index} (from 0) of those passed to the pipeline")
    raise error
