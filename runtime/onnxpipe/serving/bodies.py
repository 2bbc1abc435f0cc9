"""Read requests: count bytes while they come, parse JSON strictly, answer with JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from onnxpipe.processing.json_text import parse_json
from onnxpipe.serving.faults import RequestFault, bad_request

if TYPE_CHECKING:  # Triton's backend reads inputs without the web stack
    from starlette.requests import Request
    from starlette.responses import Response

_DEPTH = 32


async def read_body(request: Request, limit: int) -> bytes:
    """Read the whole body; a second call returns it again.

    Raises:
        RequestFault: 413, as soon as it is longer than `limit`; 499: the client was gone before its end.
    """
    from starlette.requests import ClientDisconnect

    known: bytes | None = getattr(request.state, "body", None)
    if known is not None:
        return known
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise _too_large(limit)
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise _too_large(limit)
            parts.append(part)
    except ClientDisconnect:
        raise RequestFault(499, "the client is gone", "gone") from None  # for the log: nobody reads it
    request.state.body = b"".join(parts)
    return bytes(request.state.body)


def _too_large(limit: int) -> RequestFault:
    return RequestFault(413, f"the request is larger than {limit:,} bytes: send less at once", "too_large")


def parse_body(body: bytes) -> Any:
    """Parse a body of JSON.

    Raises:
        RequestFault: 400: not JSON (NaN is none), a key that stands twice, nested deeper than 32, or half a character.
    """
    try:
        value = parse_json(body.decode("utf-8"), strict=True)
        check_tree(value)
    except ValueError as error:
        raise bad_request(f"the body is not JSON that is read here: {error}") from error
    return value


def check_tree(value: Any) -> None:
    """Raise ValueError if JSON is nested too deeply, or a text of it has half a character."""
    layer = [value]
    for _ in range(_DEPTH):
        below: list[Any] = []
        for each in layer:
            if isinstance(each, dict):
                below += each.keys()
                below += each.values()
            elif isinstance(each, list):
                below += each
            elif isinstance(each, str):
                try:
                    each.encode()
                except UnicodeEncodeError:
                    raise ValueError("a text has half of a surrogate pair") from None
        if not below:
            return
        layer = below
    raise ValueError(f"it is nested deeper than {_DEPTH}")


async def read_object(request: Request, limit: int) -> dict[str, Any]:
    """Read a body that is a JSON object."""
    value = parse_body(await read_body(request, limit))
    if not isinstance(value, dict):
        raise bad_request(f"the body must be a JSON object, got {json_type(value)}")
    return value


def json_type(value: Any) -> str:
    """Name the type of a JSON value."""
    names: Mapping[type, str] = {
        dict: "an object", list: "a list", str: "a text", bool: "a boolean", type(None): "null", int: "a number",
        float: "a number",
    }  # fmt: skip
    return names.get(type(value), type(value).__name__)


def to_json(value: Any) -> bytes:
    """Write a value of plain Python as JSON. Numbers that JSON lacks become null."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with JSON."""
    from starlette.responses import Response

    return Response(to_json(value), status, headers, "application/json")
