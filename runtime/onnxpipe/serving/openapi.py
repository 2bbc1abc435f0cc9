"""`/openapi.json`: all endpoints, and the parameters of the loaded models, from the options of their tasks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.routing import BaseRoute, Route

from onnxpipe._version import __version__
from onnxpipe.serving.forms import form_of
from onnxpipe.serving.request_bodies import body_of
from onnxpipe.serving.served import ModelTable, ServedModel
from onnxpipe.serving.settings import ServeSettings

_ERROR = {
    "description": "What is wrong.",
    "content": {"application/json": {"schema": {"type": "object", "required": ["error"]}}},
}


def describe(table: ModelTable, settings: ServeSettings, routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """Describe the server as an OpenAPI document."""
    paths: dict[str, Any] = {
        "/": _get("The page in which every model can be tried.", kind="text/html"),
        "/health": _get("Whether requests are answered.", {"503": {"description": "Models are loaded, or it stops."}}),
        "/v1/models": _get("The models."),
        "/info": _get("The models and limits."),
        "/metrics": _get("Metrics in Prometheus' text format.", kind="text/plain"),
    }
    for served in table.models.values():
        path = paths[f"/models/{served.name}"] = _post(served, settings, "as the hosted API answers")
        path["post"]["x-onnxpipe"] = form_of(served)
    for served in table.models.values():
        if sum(each.task == served.task for each in table.models.values()) == 1:
            paths[f"/pipeline/{served.task}"] = _post(served, settings, "as the pipeline answers")
    for route in routes:
        described = ("/openapi.json", "/models/{name:path}", "/pipeline/{task}")
        if isinstance(route, Route) and route.include_in_schema and route.path not in described:
            for method in (route.methods or set()) - {"HEAD"}:
                path = paths.setdefault(route.path.replace(":path}", "}"), {})
                path.setdefault(method.lower(), _other(route, sorted(table.models)))
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "onnxpipe", "version": __version__},
        "paths": paths,
    }
    if settings.keys:
        document["components"] = {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}
        document["security"] = [{"key": []}]
    return document


def _other(route: Route, models: list[str]) -> dict[str, Any]:
    """Describe an endpoint of a dialect, whose fields are that dialect's."""
    names = [name.removesuffix(":path") for name in re.findall(r"{(.*?)}", route.path)]
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"enum": models} if name == "name" else {"type": "string"},
        }
        for name in names
    ]
    answer = {"description": "The answer.", "content": {"*/*": {"schema": {}}}}
    summary = (route.endpoint.__doc__ or "").partition("\n")[0]
    responses = {"200": answer, "4XX": _ERROR, "5XX": _ERROR}
    body = body_of(route.path, models) if "POST" in (route.methods or ()) else None
    return {
        "summary": summary, "parameters": parameters, "responses": responses,
        **({} if body is None else {"requestBody": body}),
    }  # fmt: skip


def _get(summary: str, more: Mapping[str, Any] | None = None, kind: str = "application/json") -> dict[str, Any]:
    answer = {"description": "The answer.", "content": {kind: {"schema": {}}}}
    return {"get": {"summary": summary, "responses": {"200": answer, "401": _ERROR, **(more or {})}}}


def _nullable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Allow null for a parameter: it is as if it had not been passed."""
    about = {name: schema[name] for name in ("description", "default") if name in schema}
    parts = schema.get("anyOf") or [{name: value for name, value in schema.items() if name not in about}]
    return {**about, "anyOf": [*parts, *([] if {"type": "null"} in parts else [{"type": "null"}])]}


def _post(served: ServedModel, settings: ServeSettings, shape: str) -> dict[str, Any]:
    parameters = {}
    for name, schema in served.parameters.items():
        most = settings.most(name)
        about = (
            [schema.get("description", "")] if most is None else [schema.get("description", ""), f"At most {most:g}."]
        )
        described = {"description": " ".join(filter(None, about))} if any(about) else {}
        parameters[name] = {**_nullable(schema), **described}
    given = {"type": ["object", "null"], "properties": parameters, "additionalProperties": False}
    body: dict[str, Any] = {
        "type": "object",
        "required": ["inputs"],
        "properties": {"inputs": _inputs(served), "parameters": given, "stream": {"type": ["boolean", "null"]}},
    }
    content: dict[str, Any] = {"application/json": {"schema": body}}
    if served.spec.takes_files and not served.spec.parts:
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    statuses = ("400", "401", "403", "404", "413", "415", "429", "503", "504")
    return {
        "post": {
            "summary": f"{served.spec.help} ({shape})",
            "requestBody": {"required": True, "content": content},
            "responses": {
                "200": {"description": "The answer.", "content": {"*/*": {"schema": {}}}},
                **dict.fromkeys(statuses, _ERROR),
            },
        }
    }


def _inputs(served: ServedModel) -> dict[str, Any]:
    spec = served.spec
    if spec.parts:
        parts = {
            part.name: {"type": "array", "items": {"type": "string"}}
            if part.is_list
            else {"type": ["string", "object", "array"]}
            for part in spec.parts
        }
        return {"type": ["object", "array", "string"], "properties": parts}
    if spec.takes_files:
        return {"type": ["string", "array"], "description": "base64, or a data: URL"}
    return {"type": ["string", "array", "object"]}
