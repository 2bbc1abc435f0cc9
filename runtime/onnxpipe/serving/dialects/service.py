"""What every server answers: health, the list of models, metrics, its own description, reload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from onnxpipe.serving.bodies import json_response
from onnxpipe.serving.dialects.errors import endpoint
from onnxpipe.serving.faults import RequestFault
from onnxpipe.serving.metrics import CONTENT_TYPE
from onnxpipe.serving.openapi import describe
from onnxpipe.serving.served import ServedModel

if TYPE_CHECKING:
    from onnxpipe.serving.server import ServerState


class ServiceRoutes:
    """The routes of the service itself."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """Return the routes."""
        found = [
            ("/health", self.health, "GET"), ("/ping", self.health, "GET"), ("/v1/models", self.models, "GET"),
            ("/v1/models/{name:path}", self.model, "GET"), ("/metrics", self.metrics, "GET"),
            ("/openapi.json", self.openapi, "GET"), ("/info", self.info, "GET"), ("/admin/reload", self.reload, "POST"),
        ]  # fmt: skip
        return [
            Route(path, endpoint("openai" if path.startswith("/v1") else "service", function), methods=[method])
            for path, function, method in found
        ]

    async def health(self, request: Request) -> Response:
        """Tell whether requests are answered: 503 while models are loaded, and when the server stops."""
        state = self._state
        if state.draining or not state.ready:
            return json_response({"status": "stopping" if state.draining else "loading"}, 503, {"retry-after": "1"})
        return json_response({"status": "ok"})

    async def models(self, request: Request) -> Response:
        """List the models, as OpenAI does."""
        return json_response({"object": "list", "data": [_entry(each) for each in self._state.table.models.values()]})

    async def model(self, request: Request) -> Response:
        """Describe one model."""
        return json_response(_entry(self._state.table.find(request.path_params["name"])))

    async def metrics(self, request: Request) -> Response:
        """Write the metrics."""
        return Response(self._state.metrics.text(), media_type=CONTENT_TYPE)

    async def openapi(self, request: Request) -> Response:
        """Describe all endpoints."""
        return json_response(describe(self._state.table, self._state.settings, request.app.routes))

    async def info(self, request: Request) -> Response:
        """Describe the models and limits, as TEI does; of several models the first is described at the top."""
        settings, models = self._state.settings, list(self._state.table.models.values())
        first = models[0].info() if models else {}
        limits = {
            "max_client_batch_size": settings.max_inputs, "max_concurrent_requests": settings.max_calls,
            "max_new_tokens": settings.max_new_tokens,
        }  # fmt: skip
        return json_response({**first, **limits, "models": [each.info() for each in models]})

    async def reload(self, request: Request) -> Response:
        """Load the models anew; the old ones answer until the new ones can, and stay if these cannot."""
        state = self._state
        if not state.settings.keys:
            raise RequestFault(403, "reloading needs a server with keys; or send the process SIGHUP", "forbidden")
        if state.reload is None:
            raise RequestFault(501, "this server was given loaded models: it cannot load them anew", "no_loader")
        await run_in_threadpool(state.reload)
        return json_response({"models": sorted(state.table.models)})


def _entry(served: ServedModel) -> dict[str, Any]:
    return {"id": served.name, "object": "model", "created": served.created, "owned_by": "onnxpipe"}
