"""Hugging Face's shapes, for every task: `{"inputs", "parameters"}` or the bytes of a file.

`/models/{name}` and `/` answer as the hosted API does, which `huggingface_hub.InferenceClient` reads;
`/pipeline/{task}`, `/predict` and `/invocations` answer as the pipeline itself does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from onnxpipe.processing.plain_values import is_image, png
from onnxpipe.serving.answers import encode_audio, plain_answer
from onnxpipe.serving.bodies import json_response, parse_body, read_body
from onnxpipe.serving.dialects.errors import endpoint
from onnxpipe.serving.dialects.openai_options import flag
from onnxpipe.serving.dialects.tgi import OneText
from onnxpipe.serving.exchange import exchange_of
from onnxpipe.serving.faults import RequestFault, bad_request
from onnxpipe.serving.inputs import read_inputs
from onnxpipe.serving.limits import check_size
from onnxpipe.serving.parameters import unknown_field
from onnxpipe.serving.served import ServedModel

if TYPE_CHECKING:
    from onnxpipe.serving.server import ServerState

#: Fields of a body beside `inputs` and `parameters`.
_FIELDS = frozenset({"inputs", "parameters", "options", "stream", "instances", "image", "question"})
#: Fields that some clients put beside `parameters`, with the parameters that they are.
_TOP_LEVEL = {
    "normalize": "normalize",
    "truncate": "truncation",
    "prompt_name": "prompt_name",
    "dimensions": "truncate_dim",
}
#: Parameters of TGI, with what they are called here.
_TGI = {"stop": "stop_sequence"}
_OPTIONS = frozenset({"wait_for_model", "use_cache", "use_gpu"})
_FILES = ("image/", "audio/", "video/", "application/octet-stream")


class HuggingFaceRoutes:
    """The routes of Hugging Face's shapes."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(path, endpoint("huggingface", function), methods=["POST"])
            for path, function in (
                ("/models/{name:path}", self.hosted), ("/", self.hosted), ("/pipeline/{task}", self.own),
                ("/predict", self.own), ("/invocations", self.own),
            )
        ]  # fmt: skip

    async def hosted(self, request: Request) -> Response:
        """Answer as the hosted API does."""
        served = self._state.table.find(request.path_params.get("name"))
        return await self._answer(request, served, hosted=True)

    async def own(self, request: Request) -> Response:
        """Answer as the pipeline does."""
        task = request.path_params.get("task")
        served = self._state.table.by_task(task) if task is not None else self._state.table.find()
        return await self._answer(request, served, hosted=False)

    async def _answer(self, request: Request, served: ServedModel, *, hosted: bool) -> Response:
        exchange_of(request).served = served
        body = await self._body(request, served)
        settings = self._state.settings
        instances = body.get("instances")
        inputs = read_inputs(_with_parts(body, served) if instances is None else instances, served.spec, settings)
        given = _parameters(body)
        details = flag(given, "details")
        given.pop("details", None)
        parameters = served.read_parameters(given, settings)
        if flag(body, "stream"):
            return await OneText(self._state, served, inputs, parameters).stream(request)
        if details:
            return await OneText(self._state, served, inputs, parameters).details(request)

        def call(view: Any) -> Response:  # features and masks are large: they are written here, not in the event loop
            check_size(inputs, served.spec, settings)
            answer = view(inputs, **parameters)
            if instances is not None:
                return json_response({"predictions": plain_answer(answer)})
            shaped = _as_hosted(answer, inputs, served) if hosted else answer
            return _file(answer, request) or json_response(plain_answer(shaped))

        return await self._state.calls.answer(request, served, call)

    async def _body(self, request: Request, served: ServedModel) -> dict[str, Any]:
        """Read the body: JSON, or the bytes of a file with parameters in the query."""
        settings = self._state.settings
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        text_only = not served.spec.takes_files and not served.spec.chats
        body = await read_body(request, settings.max_json if text_only else settings.max_body)
        if not body:
            raise bad_request("the body is empty", "inputs")
        is_file = kind.startswith(_FILES) or (
            served.spec.takes_files and kind in ("", "application/x-www-form-urlencoded")
        )
        if is_file and body.lstrip()[:1] != b"{":
            if not served.spec.takes_files:
                raise RequestFault(415, f"{served.task} takes JSON, not {kind}", "unsupported_media_type")
            return {"inputs": body, "parameters": {name: _value(text) for name, text in request.query_params.items()}}
        if kind == "text/plain":
            return {"inputs": body.decode("utf-8", "replace")}
        value = parse_body(body)
        if not isinstance(value, dict):
            raise bad_request('the body must be an object with "inputs"', "inputs")
        for name in value:
            if name not in _FIELDS and name not in _TOP_LEVEL:
                raise unknown_field(name, {*_FIELDS, *_TOP_LEVEL}, "field")
        return value


def _with_parts(body: Mapping[str, Any], served: ServedModel) -> Any:
    """Put an image and a question that stand beside the inputs into them."""
    inputs = body.get("inputs")
    beside = {name: body[name] for name in ("image", "question") if body.get(name) is not None}
    if not beside:
        return inputs
    if not {"image", "question"} <= {part.name for part in served.spec.parts}:
        raise bad_request(f"{served.task} takes no {' or '.join(beside)} beside its inputs", next(iter(beside)))
    if isinstance(inputs, Mapping):
        return {**inputs, **beside}
    return {"image": inputs, **beside} if inputs is not None else beside


def _parameters(body: Mapping[str, Any]) -> dict[str, Any]:
    given = body.get("parameters")
    if given is not None and not isinstance(given, Mapping):
        raise bad_request('"parameters" must be an object', "parameters")
    options = body.get("options")
    if options is not None and not isinstance(options, Mapping):
        raise bad_request('"options" must be an object', "options")
    for name in options or {}:
        if name not in _OPTIONS:
            raise unknown_field(name, _OPTIONS, "option")
    found: dict[str, Any] = {name: body[key] for key, name in _TOP_LEVEL.items() if body.get(key) is not None}
    found |= {_TGI.get(str(name), str(name)): value for name, value in (given or {}).items()}
    return found


def _value(text: str) -> Any:
    """Read a parameter of a query: JSON, or else a text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _as_hosted(answer: Any, inputs: Any, served: ServedModel) -> Any:
    """Turn an answer into the shape that the hosted API gives it."""
    many = isinstance(inputs, list) and isinstance(answer, list) and len(answer) == len(inputs)
    if isinstance(answer, Mapping) and {"labels", "scores"} <= set(answer):
        return _pairs(answer)
    if many and answer and isinstance(answer[0], Mapping) and {"labels", "scores"} <= set(answer[0]):
        return [_pairs(each) for each in answer]
    ranks = served.spec.input == "text" and not served.spec.parts and not served.spec.candidate_labels
    if ranks and _is_labels(answer):
        return [[each] for each in answer] if many else [answer]
    return answer


def _is_labels(answer: Any) -> bool:
    return isinstance(answer, list) and bool(answer) and all(
        isinstance(each, Mapping) and set(each) == {"label", "score"} for each in answer
    )  # fmt: skip


def _pairs(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"label": label, "score": score} for label, score in zip(answer["labels"], answer["scores"], strict=True)]


def _file(answer: Any, request: Request) -> Response | None:
    """Answer with the bytes of an image or of sound, unless the client asks for JSON; None for other answers."""
    if request.headers.get("accept", "").startswith("application/json"):
        return None
    if is_image(answer):
        return Response(png(answer), media_type="image/png")
    if isinstance(answer, Mapping) and set(answer) == {"audio", "sampling_rate"}:
        data, kind = encode_audio(answer, "wav")
        return Response(data, media_type=kind)
    return None
