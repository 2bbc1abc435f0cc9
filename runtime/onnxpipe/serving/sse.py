"""Server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from starlette.responses import StreamingResponse

from onnxpipe.serving.bodies import to_json
from onnxpipe.serving.faults import RequestFault

#: Seconds without an event after which a comment keeps proxies awake.
_AWAKE_S = 15.0


def event(value: Any, name: str | None = None) -> bytes:
    """Write one event."""
    head = b"" if name is None else b"event: " + name.encode() + b"\n"
    return head + b"data: " + to_json(value) + b"\n\n"


async def events(
    source: AsyncIterator[bytes], error: Callable[[RequestFault], Any], last: bytes = b""
) -> AsyncGenerator[bytes, None]:
    """Begin a stream of events: an error before the first is raised here, so that it has its own status.

    Args:
        source: the events, written.
        error: makes the body of the event for an error after the first.
        last: what ends the stream.

    Raises:
        RequestFault: there is no first event.
    """
    first = await anext(source, None)
    return _rest(first, source, error, last)


async def event_stream(
    source: AsyncIterator[bytes], error: Callable[[RequestFault], Any], last: bytes = b""
) -> StreamingResponse:
    """Answer with a stream of events; see `events`."""
    body = await events(source, error, last)
    return StreamingResponse(body, media_type="text/event-stream", headers={"cache-control": "no-cache"})


async def _rest(
    first: bytes | None, source: AsyncIterator[bytes], error: Callable[[RequestFault], Any], last: bytes
) -> AsyncGenerator[bytes, None]:
    coming: asyncio.Future[bytes] | None = None
    try:
        if first is not None:
            yield first
        while first is not None:
            coming = asyncio.ensure_future(anext(source))
            while not (await asyncio.wait({coming}, timeout=_AWAKE_S))[0]:
                yield b": still working\n\n"
            try:
                yield coming.result()
            except StopAsyncIteration:
                break
        yield last
    except RequestFault as fault:
        yield event(error(fault))
        yield last
    finally:
        if coming is not None:
            coming.cancel()  # nothing where it has ended, maybe in the moment in which the client left
            await asyncio.wait({coming})
            if not coming.cancelled():
                coming.exception()  # nobody else asks for it
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()
