"""Requests as spans of OpenTelemetry."""

from __future__ import annotations

from typing import Any

import pytest

from unit.serving.stubs import sentiment, testing

TRACE, ABOVE = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def spans_of(body: dict[str, Any], **headers: str) -> dict[str, Any]:
    """The spans of one request to a server, by name."""
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter").InMemorySpanExporter()
    from onnxpipe.serving.application import application
    from onnxpipe.serving.server import ServerState
    from onnxpipe.serving.settings import ServeSettings
    from onnxpipe.serving.tracing import Tracing

    provider = sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(memory))
    state = ServerState(ServeSettings(), tracing=Tracing(provider))
    state.table.add("s", sentiment())
    state.ready = True
    web = testing.TestClient(application(state))
    web.get("/health")  # of these there would be many
    web.post("/models/s", json=body, headers=headers)
    state.close()
    return {span.name: span for span in memory.get_finished_spans()}


def test_a_request_is_a_span_with_its_parts() -> None:
    spans = spans_of({"inputs": "a secret"}, traceparent=f"00-{TRACE}-{ABOVE}-01", **{"x-request-id": "r1"})
    whole = spans.pop("POST /models/s")
    assert f"{whole.context.trace_id:032x}" == TRACE and f"{whole.parent.span_id:016x}" == ABOVE
    facts = dict(whole.attributes)
    assert facts["http.response.status_code"] == 200 and facts["onnxpipe.model"] == "s"
    assert facts["onnxpipe.request_id"] == "r1" and "secret" not in str(facts)
    assert list(spans) == ["encode", "queue", "run", "decode"]
    for part in spans.values():
        assert part.parent.span_id == whole.context.span_id
        assert whole.start_time <= part.start_time <= part.end_time <= whole.end_time


def test_a_refused_request_has_no_parts_that_did_not_run() -> None:
    spans = spans_of({"inputs": 5, "no_field": 1}, traceparent="no trace")
    assert list(spans) == ["POST /models/s"]
    assert spans["POST /models/s"].parent is None
    assert spans["POST /models/s"].attributes["http.response.status_code"] == 400


def test_without_the_packages_nothing_is_traced(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    pytest.importorskip("starlette")
    import sys

    from onnxpipe.serving.tracing import tracing_of_environment

    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert tracing_of_environment() is None and not caplog.records
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    assert tracing_of_environment() is None and "onnxpipe[tracing]" in caplog.text
