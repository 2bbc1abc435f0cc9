"""`app()`: an ASGI application that answers with pipelines."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from onnxpipe.serving.packages import check_packages

check_packages("starlette", "python_multipart", "prometheus_client")

from starlette.applications import Starlette  # noqa: E402 - after the check
from starlette.exceptions import HTTPException  # noqa: E402
from starlette.middleware import Middleware  # noqa: E402
from starlette.middleware.cors import CORSMiddleware  # noqa: E402
from starlette.requests import Request  # noqa: E402
from starlette.responses import Response  # noqa: E402
from starlette.routing import BaseRoute, Match  # noqa: E402

from onnxpipe.serving.dialects.errors import HasRoutes, error_response  # noqa: E402
from onnxpipe.serving.dialects.huggingface import HuggingFaceRoutes  # noqa: E402
from onnxpipe.serving.dialects.kserve import KServeRoutes  # noqa: E402
from onnxpipe.serving.dialects.live import LiveRoutes  # noqa: E402
from onnxpipe.serving.dialects.openai_audio import AudioRoutes  # noqa: E402
from onnxpipe.serving.dialects.openai_chat import ChatRoutes  # noqa: E402
from onnxpipe.serving.dialects.openai_completions import CompletionRoutes  # noqa: E402
from onnxpipe.serving.dialects.openai_embeddings import EmbeddingRoutes  # noqa: E402
from onnxpipe.serving.dialects.openai_images import ImageRoutes  # noqa: E402
from onnxpipe.serving.dialects.service import ServiceRoutes  # noqa: E402
from onnxpipe.serving.dialects.tei import TeiRoutes  # noqa: E402
from onnxpipe.serving.faults import RequestFault  # noqa: E402
from onnxpipe.serving.front import Front  # noqa: E402
from onnxpipe.serving.page import PageRoutes  # noqa: E402
from onnxpipe.serving.server import ServerState  # noqa: E402
from onnxpipe.serving.settings import ServeSettings  # noqa: E402

#: The routes of all dialects; the first that fits a path answers.
_DIALECTS: tuple[Callable[[ServerState], HasRoutes], ...] = (
    ServiceRoutes,
    ChatRoutes,
    CompletionRoutes,
    EmbeddingRoutes,
    AudioRoutes,
    ImageRoutes,
    LiveRoutes,
    KServeRoutes,
    TeiRoutes,
    HuggingFaceRoutes,
)


def app(
    pipes: Mapping[str, Any] | Sequence[Any] | Any,
    settings: ServeSettings | None = None,
    *,
    workers: Mapping[str, int] | int = 1,
    **options: Any,
) -> Starlette:
    """Make an ASGI application that answers with pipelines.

    Args:
        pipes: pipelines by the names that requests use; or one, or a list of them, which are then named by their tasks.
        settings: what the server allows.
        workers: threads that run batches, for each model or by its name. With more than one, load the pipeline of short
            texts with `threads=1`.
        **options: fields of `ServeSettings`, instead of `settings` or over it.

    Raises:
        MissingDependencyError: the extra `serve` is not installed.
        ValueError: two pipelines of one name.
    """
    state = ServerState(replace(settings or ServeSettings(), **options), workers)
    for name, pipe in _named(pipes).items():
        state.table.add(name, pipe)
    state.ready = True
    return application(state)


def _named(pipes: Any) -> dict[str, Any]:
    if isinstance(pipes, Mapping):
        return dict(pipes)
    listed = list(pipes) if isinstance(pipes, (list, tuple)) else [pipes]
    found = {pipe.task: pipe for pipe in listed}
    if len(found) < len(listed):
        raise ValueError("two pipelines are for one task: pass a dict with a name for each")
    return found


def application(state: ServerState) -> Starlette:
    """Make the application of a server's state."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        state.close()

    routes: list[BaseRoute] = [route for dialect in _DIALECTS for route in dialect(state).routes()]
    routes += PageRoutes().routes()
    settings = state.settings
    front = Middleware(
        Front, settings=settings, metrics=state.metrics, draining=lambda: state.draining, tracing=state.tracing
    )
    middleware = [front]
    if settings.cors:
        allowed = Middleware(
            CORSMiddleware, allow_origins=settings.cors, allow_methods=["GET", "POST"], allow_headers=["*"]
        )
        middleware.append(allowed)
    built = Starlette(
        routes=routes, middleware=middleware, lifespan=lifespan, exception_handlers={HTTPException: _http_error}
    )
    built.state.server = state
    return built


async def _http_error(request: Request, error: Exception) -> Response:
    """Answer what no route takes: an unknown path, a method that it lacks."""
    assert isinstance(error, HTTPException)
    message = {404: "there is no such path: /openapi.json lists them", 405: "this path takes another method"}
    fault = RequestFault(error.status_code, message.get(error.status_code, error.detail))
    response = error_response(request.url.path, fault)
    if error.status_code == 405:  # a path may have several routes, each with its methods
        fitting = [each for each in request.app.routes if each.matches(request.scope)[0] is Match.PARTIAL]
        same = (each.methods or () for each in fitting if each.path == fitting[0].path)
        response.headers["allow"] = ", ".join(sorted({method for methods in same for method in methods}))
    return response
