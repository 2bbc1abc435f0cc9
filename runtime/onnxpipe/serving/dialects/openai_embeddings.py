"""OpenAI's `/v1/embeddings`."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from onnxpipe.serving.bodies import json_response, read_object
from onnxpipe.serving.dialects.errors import endpoint
from onnxpipe.serving.dialects.openai_completions import read_prompts
from onnxpipe.serving.dialects.openai_options import number
from onnxpipe.serving.exchange import exchange_of
from onnxpipe.serving.faults import bad_request
from onnxpipe.serving.parameters import unknown_field
from onnxpipe.serving.served import ServedModel
from onnxpipe.tasks.embedding import EmbeddingPipeline

if TYPE_CHECKING:
    from onnxpipe.serving.server import ServerState

FIELDS = frozenset({"input", "model", "dimensions", "encoding_format", "user"})


class EmbeddingRoutes:
    """The routes of embeddings."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route("/v1/embeddings", endpoint("openai", self.embed), methods=["POST"])]

    async def embed(self, request: Request) -> Response:
        """Embed texts."""
        settings = self._state.settings
        body = await read_object(request, settings.max_json)
        for name in body:
            if name not in FIELDS:
                raise unknown_field(name, FIELDS, "field")
        served = self._state.table.for_tasks(body.get("model"), embeds, "/v1/embeddings")
        exchange = exchange_of(request)
        exchange.served = served
        form = body.get("encoding_format") or "float"
        if form not in ("float", "base64"):
            raise bad_request("encoding_format is float or base64", "encoding_format")
        texts = read_prompts(body.get("input"), served, settings.max_inputs, "input")
        if not all(texts):
            raise bad_request("input has an empty text", "input")
        options = {}
        size = number(body, "dimensions", (1, 1_000_000), whole=True)
        if size is not None:
            check_dimensions(served, size)
            options["truncate_dim"] = size

        def call(view: Any) -> list[dict[str, Any]]:
            vectors = enumerate(view(texts, **options))
            return [{"object": "embedding", "index": at, "embedding": _encoded(each, form)} for at, each in vectors]

        data = await self._state.calls.answer(request, served, call)
        tokens = 0 if exchange.caller is None else exchange.caller.tokens
        exchange.prompt = tokens
        used = {"prompt_tokens": tokens, "total_tokens": tokens}
        return json_response({"object": "list", "data": data, "model": served.name, "usage": used})


def embeds(served: ServedModel) -> bool:
    """Whether a model gives a vector for a text."""
    return isinstance(served.pipe, EmbeddingPipeline)


def check_dimensions(served: ServedModel, size: int) -> None:
    """Refuse to cut the vectors of a model that was not trained for it.

    Raises:
        RequestFault: 400: the model does not declare this size.
    """
    config = served.pipe.model.config
    declared = config.get("matryoshka_dimensions") or []
    full = config.get("hidden_size")
    if size != full and size not in declared:
        known = ", ".join(map(str, declared)) or f"none but its own {full}"
        raise bad_request(f"dimensions={size}: {served.name} declares {known}", "dimensions")


def _encoded(vector: Any, form: str) -> Any:
    if form == "float":
        return vector.tolist()
    return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode()
