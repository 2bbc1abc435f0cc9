"""OpenAI's `/v1/images/generations`."""

from __future__ import annotations

import base64
import re
import time
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from onnxpipe.processing.plain_values import png
from onnxpipe.serving.bodies import json_response, read_object
from onnxpipe.serving.dialects.errors import endpoint
from onnxpipe.serving.dialects.openai_options import number
from onnxpipe.serving.exchange import exchange_of
from onnxpipe.serving.faults import bad_request
from onnxpipe.serving.parameters import unknown_field

if TYPE_CHECKING:
    from onnxpipe.serving.server import ServerState

_SAME = frozenset({"negative_prompt", "num_inference_steps", "guidance_scale", "seed"})
FIELDS = frozenset({"prompt", "model", "n", "size", "response_format", "user", *_SAME})
_SIZE = re.compile(r"(\d{2,4})x(\d{2,4})")


class ImageRoutes:
    """The routes of image generation."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route("/v1/images/generations", endpoint("openai", self.generate), methods=["POST"])]

    async def generate(self, request: Request) -> Response:
        """Make images of a prompt."""
        settings = self._state.settings
        body = await read_object(request, settings.max_json)
        for name in body:
            if name not in FIELDS:
                raise unknown_field(name, FIELDS, "field")
        served = self._state.table.for_tasks(
            body.get("model"), lambda each: each.task == "text-to-image", "/v1/images/generations"
        )
        exchange_of(request).served = served
        prompt = body.get("prompt")
        if not isinstance(prompt, str) or not prompt:
            raise bad_request("prompt is a text", "prompt")
        if body.get("response_format") not in (None, "b64_json"):
            raise bad_request("response_format is b64_json: this server stores nothing that a URL could name",
                              "response_format")  # fmt: skip
        options: dict[str, Any] = {name: body[name] for name in _SAME if body.get(name) is not None}
        options["num_images_per_prompt"] = (
            number(body, "n", (1, settings.most("num_images_per_prompt") or 4), whole=True) or 1
        )
        size = body.get("size")
        if size not in (None, "auto"):
            found = _SIZE.fullmatch(size) if isinstance(size, str) else None
            if found is None:
                raise bad_request("size is WIDTHxHEIGHT, as in 512x512", "size")
            options |= {"width": int(found[1]), "height": int(found[2])}
        keywords = served.read_parameters(options, settings)
        answer = await self._state.calls.answer(request, served, lambda view: view(prompt, **keywords))
        images = answer if isinstance(answer, list) else [answer]
        data = [{"b64_json": base64.b64encode(png(image)).decode()} for image in images]
        return json_response({"created": int(time.time()), "data": data})
