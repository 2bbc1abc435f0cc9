"""What every request passes first: its id, the Host header, the key, and whether the server takes more work."""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from onnxpipe.serving.dialects.errors import error_response
from onnxpipe.serving.exchange import Exchange, new_id
from onnxpipe.serving.faults import RequestFault
from onnxpipe.serving.metrics import ServerMetrics
from onnxpipe.serving.page import is_page
from onnxpipe.serving.settings import ServeSettings
from onnxpipe.serving.tracing import Tracing

access = logging.getLogger("onnxpipe.access")

#: Paths that need no key: orchestrators ask them.
_OPEN = frozenset({"/health", "/ping", "/v2/health/live", "/v2/health/ready"})
_ID_LENGTH = 128


class Front:
    """The outermost part of the application.

    Args:
        app: the rest.
        settings: keys, hosts, limits.
        metrics: note each answer.
        draining: tells whether the server is stopping.
        tracing: notes each answer, too; None for no traces.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: ServeSettings,
        metrics: ServerMetrics,
        draining: Callable[[], bool],
        tracing: Tracing | None = None,
    ) -> None:
        self._app, self._settings, self._metrics, self._draining = app, settings, metrics, draining
        self._tracing = tracing
        self._keys = [key.encode() for key in settings.keys]
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        exchange = Exchange(_id_of(headers), _owner(scope, headers))
        scope.setdefault("state", {})["exchange"] = exchange
        status, whole = [0], [False]

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.body":
                whole[0] = not message.get("more_body", False)
            if message["type"] == "http.response.start":
                status[0] = message["status"]
                out = MutableHeaders(scope=message)
                for name, value in {"x-request-id": exchange.id, **exchange.headers()}.items():
                    out[name] = value
                out.setdefault("x-content-type-options", "nosniff")
                if "traceparent" in headers:
                    out["traceparent"] = headers["traceparent"][:_ID_LENGTH]
            await send(message)

        fault = self._refusal(scope, headers)
        path = _path(scope)
        self._running += 1
        try:
            if fault is None:
                await self._app(scope, receive, answer)
            elif scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": fault.message[:100]})
            else:
                await error_response(path, fault)(scope, receive, answer)
        finally:
            self._running -= 1
            exchange.ended = exchange.started + exchange.seconds
            if scope["type"] == "http":
                code = status[0] if whole[0] else 499  # the client was gone before it had the whole answer
                self._metrics.request(exchange, code)
                _log(exchange, scope["method"], path, code)
                if self._tracing is not None and path not in _OPEN:
                    self._tracing.request(exchange, scope["method"], path[:200], code, headers)

    def _refusal(self, scope: Scope, headers: Mapping[str, str]) -> RequestFault | None:
        settings, path = self._settings, _path(scope)
        if settings.hosts is not None and _host_name(headers.get("host", "")) not in settings.hosts:
            return RequestFault(403, "this server is not known by the name in the Host header", "unknown_host")
        if path in _OPEN or scope.get("method") == "OPTIONS" or is_page(scope.get("method", ""), path):
            return None
        if self._keys and not self._has_key(headers):
            return RequestFault(
                401, "the key is missing or wrong: send it as Authorization: Bearer KEY", "invalid_api_key"
            )
        if scope.get("method") == "GET":
            return None
        if self._draining():
            return RequestFault(503, "the server is stopping: try again", "stopping", retry_s=1)
        if self._running >= settings.max_calls:
            return RequestFault(429, f"{self._running} requests are being answered: try again", "overloaded", retry_s=1)
        return None

    def _has_key(self, headers: Mapping[str, str]) -> bool:
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "")
        # all are compared, so that the time tells nothing
        return any([hmac.compare_digest(given.encode(), key) for key in self._keys])  # noqa: C419


def _path(scope: Scope) -> str:
    """Return the path below that where the application is mounted."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _id_of(headers: Mapping[str, str]) -> str:
    """Take the request's id from the client, if it is one that a log can hold."""
    given = headers.get("x-request-id", "")
    fits = 0 < len(given) <= _ID_LENGTH and given.isascii() and given.isprintable()
    return given if fits else new_id()


def _owner(scope: Scope, headers: Mapping[str, str]) -> str:
    """Tell whom a request belongs to: its key, or else its address."""
    key = headers.get("authorization") or headers.get("x-api-key")
    client = scope.get("client") or ("",)
    return f"key {key}" if key else str(client[0])


def _host_name(host: str) -> str:
    """Cut the port off a Host header."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() and not host.endswith("]") else host
    return name.strip("[]").lower()


def local_hosts(extra: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names of this machine to itself, by which a page on another site cannot reach it."""
    return ("localhost", "127.0.0.1", "::1", *extra)


def _log(exchange: Exchange, method: str, path: str, code: int) -> None:
    """Write one line of JSON for a request; never what was in it."""
    line: dict[str, Any] = {
        "id": exchange.id, "method": method, "path": path[:200], "code": code, "ms": round(1000 * exchange.seconds, 1),
    }  # fmt: skip
    if exchange.served is not None:
        line |= {"model": exchange.served.name, "task": exchange.served.task}
    if exchange.caller is not None:
        line |= {
            "queue_ms": round(1000 * exchange.caller.queued_s, 1), "run_ms": round(1000 * exchange.caller.run_s, 1),
            "tokens": exchange.caller.tokens,
        }  # fmt: skip
    access.info(json.dumps(line))
