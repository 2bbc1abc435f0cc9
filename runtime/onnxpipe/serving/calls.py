"""Call pipelines for requests: in threads, through the model's queue, until the client is gone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.requests import HTTPConnection, Request

from onnxpipe.engine.caller import Caller
from onnxpipe.serving.exchange import Exchange, exchange_of
from onnxpipe.serving.faults import RequestFault, fault_of
from onnxpipe.serving.served import ServedModel, retry_after
from onnxpipe.serving.settings import ServeSettings

T = TypeVar("T")

#: Seconds after which it is looked whether the client is still there.
_SOON = 0.02


class CallRunner:
    """Runs the calls of a server.

    Args:
        settings: the limits.

    Attributes:
        active: calls whose answers are being made.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._pool = ThreadPoolExecutor(settings.threads, "onnxpipe-serve")
        self.active: set[Caller] = set()

    async def answer(self, request: Request, served: ServedModel, function: Callable[[Any], T]) -> T:
        """Call a function with a view of the pipeline whose rows wait in the model's queue.

        When the client is gone before the answer is there, its rows vanish and generation stops.

        Raises:
            RequestFault: why there is no answer.
        """
        exchange = exchange_of(request)
        with self._call(exchange, served) as caller:
            loop = asyncio.get_running_loop()
            answer = loop.run_in_executor(self._pool, self._run, served, caller, function)
            gone: asyncio.Future[Any] | None = None
            try:
                await asyncio.wait({answer}, timeout=_SOON)  # watching the client costs more than most waits are long
                if not answer.done():
                    gone = asyncio.ensure_future(_disconnected(request))
                    await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not answer.done():
                    caller.cancel()
                    await asyncio.wait({answer})
                    answer.exception()
                    raise RequestFault(499, "the client is gone", "gone")  # for the log: nobody reads it
                return await answer
            except Exception as error:
                raise self._fault(error, exchange) from error
            finally:
                if gone is not None:
                    gone.cancel()
                if not answer.done():
                    caller.cancel()

    async def stream(
        self, request: HTTPConnection, served: ServedModel, function: Callable[[Any], Iterator[T]]
    ) -> AsyncIterator[T]:
        """Iterate over what a function's iterator yields; when it is not read to its end, the call is given up.

        Raises:
            RequestFault: why there is no more.
        """
        exchange = exchange_of(request)
        with self._call(exchange, served) as caller:
            loop = asyncio.get_running_loop()
            ready: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

            def tell(kind: str, value: Any = None) -> None:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody reads
                    loop.call_soon_threadsafe(ready.put_nowait, (kind, value))

            def run() -> None:
                try:
                    pieces = self._run(served, caller, function)
                    with contextlib.closing(pieces):  # type: ignore[type-var]
                        for piece in pieces:
                            if (fault := caller.fault()) is not None:
                                raise fault
                            tell("piece", piece)
                    tell("end")
                except Exception as error:
                    tell("error", error)

            running = loop.run_in_executor(self._pool, run)
            try:
                while True:
                    kind, value = await ready.get()
                    if kind == "end":
                        return
                    if kind == "error":
                        raise self._fault(value, exchange) from value
                    if exchange.first_s is None:
                        exchange.first_s = exchange.seconds
                    yield value
            finally:
                if not running.done():
                    caller.cancel()

    @contextlib.contextmanager
    def _call(self, exchange: Exchange, served: ServedModel) -> Iterator[Caller]:
        limit = self._settings.timeout_s
        deadline = None if limit is None else served.queue.clock() + limit
        caller = Caller(served.queue, exchange.owner, deadline)
        exchange.served, exchange.caller = served, caller
        self.active.add(caller)
        try:
            yield caller
        finally:
            self.active.discard(caller)

    @staticmethod
    def _run(served: ServedModel, caller: Caller, function: Callable[[Any], T]) -> T:
        if (fault := caller.fault()) is not None:
            raise fault
        return function(served.pipe.through(caller))

    @staticmethod
    def _fault(error: BaseException, exchange: Exchange) -> RequestFault:
        served, caller = exchange.served, exchange.caller
        assert served is not None and caller is not None
        return fault_of(
            error,
            admitted=caller.admitted,
            retry_s=retry_after(served.queue),
            hide=served.secrets,
            request_id=exchange.id,
        )

    def cancel_all(self) -> None:
        """Give all calls up."""
        for caller in list(self.active):
            caller.cancel()

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(wait=False, cancel_futures=True)


async def _disconnected(request: Request) -> None:
    """Wait until the client is gone; the body has been read."""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            return
