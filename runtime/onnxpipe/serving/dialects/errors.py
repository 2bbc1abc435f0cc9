"""The bodies of errors, in each dialect's shape."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from onnxpipe.serving.bodies import json_response
from onnxpipe.serving.exchange import exchange_of
from onnxpipe.serving.faults import RequestFault

logger = logging.getLogger("onnxpipe.serving")

Endpoint = Callable[[Request], Awaitable[Response]]


class HasRoutes(Protocol):
    """A dialect."""

    def routes(self) -> Sequence[BaseRoute]:
        """Return its routes."""
        ...


#: OpenAI's types of errors, by status.
_TYPES: Mapping[int, str] = {
    401: "authentication_error", 403: "permission_error", 404: "not_found_error", 408: "timeout_error",
    413: "invalid_request_error", 429: "rate_limit_error",
}  # fmt: skip
_TEI_TYPES: Mapping[int, str] = {
    401: "unauthenticated", 413: "validation", 422: "validation", 424: "backend", 429: "overloaded", 503: "unhealthy",
}  # fmt: skip
#: The first parts of paths that are TEI's.
_TEI_PATHS = frozenset({"embed", "embed_all", "embed_sparse", "rerank", "similarity", "tokenize", "decode", "info"})


def openai_error(fault: RequestFault) -> dict[str, Any]:
    """Return the object of an error, as OpenAI's SDK reads it."""
    kind = _TYPES.get(fault.status) or ("invalid_request_error" if fault.status < 500 else "server_error")
    return {"error": {"message": fault.message, "type": kind, "param": fault.param, "code": fault.code}}


def _openai(fault: RequestFault) -> tuple[int, Any]:
    return fault.status, openai_error(fault)


def _plain(fault: RequestFault) -> tuple[int, Any]:
    return fault.status, {"error": fault.message}


def _tei(fault: RequestFault) -> tuple[int, Any]:
    """TEI answers what it cannot take by 422, and a failed model by 424."""
    empty = fault.code == "empty"
    many = fault.status == 413 and fault.code == "too_many"
    status = 422 if (fault.status == 400 and not empty) or many else 424 if fault.status == 500 else fault.status
    return status, {"error": fault.message, "error_type": "empty" if empty else _TEI_TYPES.get(status, "backend")}


_SHAPES: Mapping[str, Callable[[RequestFault], tuple[int, Any]]] = {
    "openai": _openai, "tei": _tei, "huggingface": _plain, "kserve": _plain, "rerank": _plain, "service": _plain,
}  # fmt: skip


def dialect_of(path: str) -> str:
    """Tell whose shape a path has."""
    first, _, rest = path.strip("/").partition("/")
    if first == "v1":
        return "rerank" if rest == "rerank" else "openai"
    if first == "v2":
        return "rerank" if rest == "rerank" else "kserve"
    return "tei" if first in _TEI_PATHS else "huggingface"


def error_response(path: str, fault: RequestFault, dialect: str | None = None) -> Response:
    """Answer with an error, in the shape of the path's dialect."""
    status, body = _SHAPES[dialect or dialect_of(path)](fault)
    return json_response(body, status, replace(fault, status=status).headers)


def endpoint(dialect: str, function: Endpoint) -> Endpoint:
    """Make an endpoint whose errors have the shape of a dialect; of what nobody foresaw only an id is said."""

    @functools.wraps(function)
    async def answered(request: Request) -> Response:
        exchange = exchange_of(request)
        exchange.dialect = dialect
        try:
            return await function(request)
        except RequestFault as fault:
            return error_response(request.url.path, fault, dialect)
        except Exception as error:
            logger.error("request %s failed", exchange.id, exc_info=error)
            message = f"the server failed; its log says more under the id {exchange.id}"
            return error_response(request.url.path, RequestFault(500, message, "internal_error"), dialect)

    return answered
