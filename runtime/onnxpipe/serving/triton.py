"""A model of Triton's Python backend that answers with a pipeline; `onnxpipe package --for triton` writes its folder.

A request has the task's inputs as BYTES, one a row, and the task's parameters as its own; the answer is a tensor
`answer` of JSON, one a row. Requests that came together and have the same parameters are answered together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe.engine.scheduler import ItemError
from onnxpipe.serving.answers import plain_answer
from onnxpipe.serving.bodies import parse_body, to_json
from onnxpipe.serving.faults import RequestFault, bad_request, fault_of
from onnxpipe.serving.inputs import read_inputs
from onnxpipe.serving.limits import check_size
from onnxpipe.serving.parameters import read_parameters, schemas
from onnxpipe.serving.settings import ServeSettings
from onnxpipe.serving.task_rows import input_names, input_rows
from onnxpipe.tasks.registry import task_spec

#: The folder of the bundle, beside the model.py that Triton loads.
BUNDLE = "bundle"
#: The most rows of a request, and of requests that are answered together.
MOST_ROWS = ServeSettings.max_inputs


class TritonPythonModel:
    """What Triton calls: once to load, then with requests."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the pipeline.

        Args:
            args: Triton's: the folder, the version, config.pbtxt as JSON, and the kind and number of the device.
        """
        from onnxpipe.factory import pipeline
        from onnxpipe.serving.warmup import warm_up

        given = json.loads(args["model_config"]).get("parameters") or {}
        options = {name: entry["string_value"] for name, entry in given.items()}
        folder = Path(args["model_repository"]) / args["model_version"] / BUNDLE
        device = int(args["model_instance_device_id"]) if args["model_instance_kind"] == "GPU" else "cpu"
        self._pipe: Any = pipeline(options.get("task"), str(folder), dtype=options.get("dtype", "auto"), device=device)
        self._secrets = {str(folder): args.get("model_name", "the model")}
        self._spec = task_spec(self._pipe.task)
        self._known = schemas(type(self._pipe))
        self._settings = ServeSettings()
        warm_up(self._pipe)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer requests: a response each, which says what is wrong with a request that has no answer."""
        found: list[Any] = [None] * len(requests)
        together: dict[str, list[int]] = {}
        inputs: list[list[Any]] = [[] for _ in requests]
        for place, request in enumerate(requests):
            try:
                inputs[place] = self._inputs(request)
                together.setdefault(request.parameters() or "{}", []).append(place)
            except Exception as error:
                found[place] = self._failed(error, request)
        for parameters, places in together.items():
            rows = [row for place in places for row in inputs[place]]
            try:
                answers = self._answers(rows, parameters)
            except Exception as error:
                for place in places:
                    found[place] = self._failed(error, requests[place])
                continue
            for place in places:
                own, answers = answers[: len(inputs[place])], answers[len(inputs[place]) :]
                found[place] = self._response(own, requests[place])
        return found

    def finalize(self) -> None:
        """Drop the pipeline."""
        self._pipe = None

    def _inputs(self, request: Any) -> list[Any]:
        import triton_python_backend_utils as triton

        columns = {}
        for name in input_names(self._spec):
            tensor = triton.get_input_tensor_by_name(request, name)
            if tensor is not None:
                columns[name] = [bytes(each) for each in tensor.as_numpy().reshape(-1).tolist()]
        values = read_inputs(input_rows(columns, self._spec), self._spec, self._settings)
        check_size(values, self._spec, self._settings)
        return list(values)

    def _answers(self, rows: list[Any], parameters: str) -> list[Any]:
        given = parse_body(parameters.encode())
        if not isinstance(given, Mapping):
            raise bad_request("the parameters of a request are an object", "parameters")
        options = read_parameters(given, self._known, self._settings)
        return list(self._pipe(rows, on_error="return", **options))

    def _response(self, answers: Sequence[Any], request: Any) -> Any:
        import triton_python_backend_utils as triton

        bad = next((each for each in answers if isinstance(each, ItemError)), None)
        if bad is not None:
            return self._failed(bad.error, request)
        column = np.array([[to_json(plain_answer(each))] for each in answers], object)
        return triton.InferenceResponse([triton.Tensor("answer", column)])

    def _failed(self, error: BaseException, request: Any) -> Any:
        import triton_python_backend_utils as triton

        fault: RequestFault = fault_of(
            error, admitted=False, retry_s=1, hide=self._secrets, request_id=str(request.request_id())
        )
        return triton.InferenceResponse([], triton.TritonError(fault.message))
