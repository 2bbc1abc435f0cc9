"""`GET /`: a page in which every loaded model can be tried. It is made of the files in `static` alone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from onnxpipe.serving.dialects.errors import endpoint
from onnxpipe.serving.faults import RequestFault

_FOLDER = Path(__file__).parent / "static"
_TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}  # fmt: skip
_HEADERS: Mapping[str, str] = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}  # fmt: skip
#: Where the page's files are.
FILES = "/static/"


class PageRoutes:
    """The routes of the page."""

    def routes(self) -> list[Route]:
        """Return the routes."""
        found = (("/", self.page), (FILES + "{name}", self.file))
        return [
            Route(path, endpoint("service", function), methods=["GET"], include_in_schema=False)
            for path, function in found
        ]

    async def page(self, request: Request) -> Response:
        """Answer with the page."""
        return _response("index.html")

    async def file(self, request: Request) -> Response:
        """Answer with a file of the page."""
        return _response(request.path_params["name"])


@cache
def page_files() -> Mapping[str, bytes]:
    """Read the files of the page, by name."""
    return {each.name: each.read_bytes() for each in sorted(_FOLDER.iterdir()) if each.suffix in _TYPES}


def _response(name: str) -> Response:
    data = page_files().get(name)
    if data is None:
        raise RequestFault(404, f"the page has no file {name!r:.100}")
    return Response(data, headers={**_HEADERS, "content-type": _TYPES[Path(name).suffix]})


def is_page(method: str, path: str) -> bool:
    """Whether a request asks for the page or one of its files, for which nobody needs a key."""
    return method in ("GET", "HEAD") and (path == "/" or path.startswith(FILES))
