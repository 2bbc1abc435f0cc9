"""KServe v2, the Open Inference Protocol, with the extension for binary tensors that `tritonclient` uses by default.

`/v2/models/NAME/infer` takes the task's inputs as BYTES (`text`, `image`, `audio`, or the parts of an input) and gives
a tensor for each field of flat answers, or `answer`, JSON. `/v2/models/NAME-graph/infer` takes the graph's own inputs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from onnxpipe._version import __version__
from onnxpipe.serving.answers import plain_answer
from onnxpipe.serving.bodies import json_response, parse_body, read_body, to_json
from onnxpipe.serving.dialects.errors import endpoint
from onnxpipe.serving.dialects.tensors import Tensor, datatype_of, read_tensors, write_tensors
from onnxpipe.serving.exchange import exchange_of
from onnxpipe.serving.faults import RequestFault, bad_request
from onnxpipe.serving.inputs import read_inputs
from onnxpipe.serving.limits import check_size
from onnxpipe.serving.parameters import unknown_field
from onnxpipe.serving.served import ServedModel
from onnxpipe.serving.task_rows import input_names, input_rows

if TYPE_CHECKING:
    from onnxpipe.serving.server import ServerState

_GRAPH = "-graph"
_FIELDS = frozenset({"id", "inputs", "outputs", "parameters"})
_HEADER = "inference-header-content-length"


class KServeRoutes:
    """The routes of KServe v2."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """Return the routes."""
        model = "/v2/models/{name:path}"
        found = [
            ("/v2", self.server, "GET"), ("/v2/health/live", self.live, "GET"), ("/v2/health/ready", self.ready, "GET"),
            (f"{model}/versions/{{version}}/infer", self.infer, "POST"), (f"{model}/infer", self.infer, "POST"),
            (f"{model}/versions/{{version}}/ready", self.model_ready, "GET"),
            (f"{model}/ready", self.model_ready, "GET"), (f"{model}/versions/{{version}}", self.metadata, "GET"),
            (model, self.metadata, "GET"),
        ]  # fmt: skip
        return [Route(path, endpoint("kserve", function), methods=[method]) for path, function, method in found]

    async def server(self, request: Request) -> Response:
        """Describe the server."""
        return json_response({"name": "onnxpipe", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def live(self, request: Request) -> Response:
        """Tell that the process runs."""
        return json_response({"live": True})

    async def ready(self, request: Request) -> Response:
        """Tell whether requests are answered."""
        ready = self._state.ready and not self._state.draining
        return json_response({"ready": ready}, 200 if ready else 503)

    async def model_ready(self, request: Request) -> Response:
        """Tell whether a model answers."""
        name, _ = self._find(request)
        return json_response({"name": name, "ready": True})

    def _find(self, request: Request) -> tuple[str, ServedModel]:
        name = request.path_params["name"]
        graph = name.endswith(_GRAPH) and name not in self._state.table.models
        return name, self._state.table.find(name.removesuffix(_GRAPH) if graph else name)

    async def metadata(self, request: Request) -> Response:
        """Describe a model's tensors."""
        name, served = self._find(request)
        if name != served.name:
            inputs = [{"name": each, "datatype": kind, "shape": shape} for each, kind, shape in _graph_inputs(served)]
        else:
            inputs = [{"name": each, "datatype": "BYTES", "shape": [-1]} for each in input_names(served.spec)]
        outputs = [] if name != served.name else [{"name": "answer", "datatype": "BYTES", "shape": [-1]}]
        return json_response(
            {"name": name, "versions": ["1"], "platform": "onnxpipe", "inputs": inputs, "outputs": outputs}
        )

    async def infer(self, request: Request) -> Response:
        """Answer tensors with tensors."""
        name, served = self._find(request)
        exchange_of(request).served = served
        settings = self._state.settings
        body = await read_body(request, settings.max_body)
        head, rest = _parts(body, request.headers.get(_HEADER))
        document = parse_body(head)
        if not isinstance(document, Mapping):
            raise bad_request("the body is an object with inputs", "inputs")
        for field in document:
            if field not in _FIELDS:
                raise unknown_field(field, _FIELDS, "field")
        tensors = read_tensors(document.get("inputs"), rest)
        given = document.get("parameters") or {}
        if not isinstance(given, Mapping):
            raise bad_request("parameters is an object", "parameters")
        binary = bool(given.get("binary_data_output"))
        parameters = {key: value for key, value in given.items() if key != "binary_data_output"}
        if name != served.name:
            if parameters:
                raise unknown_field(next(iter(parameters)), ["binary_data_output"])
            outputs = await self._run_graph(request, served, tensors)
        else:
            outputs = await self._run_task(request, served, tensors, parameters)
        wanted, binaries = _wanted(document.get("outputs"), outputs, binary)
        found, blob = write_tensors(wanted, binaries)
        answer = {"model_name": name, "model_version": "1", "id": str(document.get("id", "")), "outputs": found}
        if not blob:
            return json_response(answer)
        written = to_json(answer)
        return Response(written + blob, media_type="application/octet-stream", headers={_HEADER: str(len(written))})

    async def _run_graph(self, request: Request, served: ServedModel, tensors: Sequence[Tensor]) -> list[Tensor]:
        known = {name for name, _, _ in _graph_inputs(served)}
        feeds = {}
        for tensor in tensors:
            if tensor.name not in known:
                raise unknown_field(tensor.name, known, "input")
            feeds[tensor.name] = tensor.data
        missing = known - feeds.keys()
        if missing:
            raise bad_request(f"the graph needs also {', '.join(sorted(missing))}", "inputs")

        def run(view: Any) -> dict[str, Any]:
            try:
                outputs: dict[str, Any] = view.model.session.run(feeds)
            except Exception as error:  # shapes that do not go together, which only the graph can tell
                raise bad_request(f"the graph refuses these inputs: {type(error).__name__}", "inputs") from error
            return outputs

        outputs = await self._state.calls.answer(request, served, run)
        return [Tensor.of(name, np.asarray(value)) for name, value in outputs.items()]

    async def _run_task(
        self, request: Request, served: ServedModel, tensors: Sequence[Tensor], parameters: Mapping[str, Any]
    ) -> list[Tensor]:
        settings = self._state.settings
        options = served.read_parameters(parameters, settings)
        values = read_inputs(_rows(tensors, served), served.spec, settings)

        def call(view: Any) -> Any:
            check_size(values, served.spec, settings)
            return view(values, **options)

        return _answers(await self._state.calls.answer(request, served, call))


def _graph_inputs(served: ServedModel) -> list[tuple[str, str, list[int]]]:
    session = getattr(served.pipe.model, "session", None)
    inputs = getattr(session, "inputs", None)
    if not isinstance(inputs, Mapping):
        raise RequestFault(501, f"{served.name} has no single graph", "not_implemented")
    found = []
    for name, spec in inputs.items():
        if not spec.optional:
            shape = [size if isinstance(size, int) else -1 for size in spec.shape]
            found.append((name, datatype_of(spec.dtype), shape))
    return found


def _parts(body: bytes, length: str | None) -> tuple[bytes, bytes]:
    """Part a body into JSON and binary tensors."""
    if length is None:
        return body, b""
    if not length.isdecimal() or int(length) > len(body):
        raise bad_request("Inference-Header-Content-Length is not the length of the JSON in the body")
    return body[: int(length)], body[int(length) :]


def _rows(tensors: Sequence[Tensor], served: ServedModel) -> list[Any]:
    """Turn tensors of BYTES into inputs: one a row."""
    names, columns = input_names(served.spec), {}
    for tensor in tensors:
        if tensor.name not in names:
            raise unknown_field(tensor.name, names, "input")
        if tensor.datatype != "BYTES":
            raise bad_request(f"{tensor.name} is of the type BYTES, got {tensor.datatype}", "inputs")
        columns[tensor.name] = tensor.data.reshape(-1).tolist()
    return input_rows(columns, served.spec)


def _answers(answers: Sequence[Any]) -> list[Tensor]:
    """Turn answers into tensors: one a field where all are flat, vectors as they are, else JSON."""
    if answers and all(isinstance(each, np.ndarray) and each.ndim == 1 for each in answers):
        return [Tensor.of("embedding", np.stack(answers).astype(np.float32))]
    found = [each[0] if isinstance(each, list) and len(each) == 1 else each for each in plain_answer(list(answers))]
    keys = [tuple(each) if isinstance(each, dict) else () for each in found]
    flat = all(
        keys[0] and key == keys[0] and all(isinstance(v, (str, int, float)) for v in each.values())
        for key, each in zip(keys, found, strict=True)
    )
    if not found or not flat:
        return [Tensor.of("answer", np.array([json.dumps(each).encode() for each in found], object))]
    tensors = []
    for name in keys[0]:
        column = [each[name] for each in found]
        if all(isinstance(each, str) for each in column):
            tensors.append(Tensor.of(name, np.array([each.encode() for each in column], object)))
        else:
            kind = np.int64 if all(isinstance(each, int) for each in column) else np.float32
            tensors.append(Tensor.of(name, np.array(column, kind)))
    return tensors


def _wanted(asked: Any, outputs: Sequence[Tensor], binary: bool) -> tuple[list[Tensor], list[bool]]:
    """Choose the outputs that were asked for, and which of them are binary."""
    if not asked:
        return list(outputs), [binary] * len(outputs)
    if not isinstance(asked, list) or not all(isinstance(each, Mapping) for each in asked):
        raise bad_request("outputs is a list of objects", "outputs")
    known = {tensor.name: tensor for tensor in outputs}
    chosen, binaries = [], []
    for each in asked:
        name, own = each.get("name"), each.get("parameters")
        if name not in known:
            raise unknown_field(str(name), known, "output")
        chosen.append(known[name])
        binaries.append(bool(own["binary_data"]) if isinstance(own, Mapping) and "binary_data" in own else binary)
    return chosen, binaries
