"""`/v1/audio/live`: speech by WebSocket, and its text while somebody is still speaking.

The client sends pieces of 16-bit little-endian samples as binary messages, and a text message "end" when it is over. It
gets `{"final", "partial", "seconds", "done"}`: the final text does not change any more. The query may have
`sampling_rate`, `step_s`, `window_s`, `model` and `language`.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from onnxpipe.serving.dialects.openai_audio import recognises
from onnxpipe.serving.faults import RequestFault, bad_request
from onnxpipe.serving.parameters import unknown_field

if TYPE_CHECKING:
    from onnxpipe.serving.server import ServerState

_LIMITS = {"sampling_rate": (4_000, 192_000), "step_s": (0.2, 30), "window_s": (2, 30)}
_REFUSED = 1008
_FAILED = 1011


class LiveRoutes:
    """The route of live speech."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    def routes(self) -> list[BaseRoute]:
        """Return the route."""
        return [WebSocketRoute("/v1/audio/live", self.listen)]

    async def listen(self, socket: WebSocket) -> None:
        """Transcribe one connection."""
        await socket.accept()
        try:
            await self._transcribe(socket)
        except RequestFault as fault:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await socket.send_json({"error": fault.message})
                await socket.close(_FAILED if fault.status >= 500 else _REFUSED)

    async def _transcribe(self, socket: WebSocket) -> None:
        query = dict(socket.query_params)
        served = self._state.table.for_tasks(query.pop("model", None), recognises, "/v1/audio/live")
        options = _options(query)
        pieces: queue.Queue[bytes | None] = queue.Queue()
        most = int(self._state.settings.max_seconds * 2 * options.get("sampling_rate", 16_000))

        def arriving() -> Iterator[bytes]:
            while (piece := pieces.get()) is not None:
                yield piece

        source = self._state.calls.stream(socket, served, lambda view: view.live(arriving(), **options))
        receiving = asyncio.ensure_future(_receive(socket, pieces, most))
        try:
            async for text in source:
                await socket.send_json(asdict(text))
            if receiving.done():
                receiving.result()
            await socket.close()
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            pieces.put(None)
            receiving.cancel()
            close: Any = getattr(source, "aclose", None)
            if close is not None:
                await close()


async def _receive(socket: WebSocket, pieces: queue.Queue[bytes | None], most: int) -> None:
    """Take pieces of sound until the client says that it is over, or is gone."""
    size, odd = 0, b""
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect" or message.get("text") is not None:
                return
            data = odd + (message.get("bytes") or b"")
            size += len(data)
            if size > most:
                raise bad_request("the recording is longer than this server allows")
            odd = data[len(data) // 2 * 2 :]
            if len(data) > 1:
                pieces.put(data[: len(data) // 2 * 2])
    finally:
        pieces.put(None)


def _options(query: dict[str, str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, text in query.items():
        if name == "language":
            options[name] = text
            continue
        if name not in _LIMITS:
            raise unknown_field(name, {*_LIMITS, "language", "model"}, "field of the query")
        try:
            value = float(text)
        except ValueError:
            raise bad_request(f"{name} is a number", name) from None
        least, most = _LIMITS[name]
        if not least <= value <= most:
            raise bad_request(f"{name}={text:.20} is not in {least:g} to {most:g}", name)
        options[name] = int(value) if name == "sampling_rate" else value
    return options
