"""Traces for OpenTelemetry: one span for each request, with its parts below it.

Nothing is imported or traced unless `OTEL_EXPORTER_OTLP_ENDPOINT` is set, and the extra `tracing` installed.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from typing import Any

from onnxpipe.serving.exchange import Exchange

logger = logging.getLogger("onnxpipe.serving")

_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


class Tracing:
    """Writes the spans of requests.

    Args:
        provider: of OpenTelemetry's SDK: makes tracers, and exports what they note.
    """

    def __init__(self, provider: Any) -> None:
        self._provider, self._tracer = provider, provider.get_tracer("onnxpipe")

    def request(self, exchange: Exchange, method: str, path: str, code: int, headers: Mapping[str, str]) -> None:
        """Note a request that was answered, below the span that its `traceparent` names; never what was in it."""
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        ended = time.time_ns()
        started = ended - int(1e9 * exchange.seconds)
        above = TraceContextTextMapPropagator().extract({"traceparent": headers.get("traceparent", "")})
        facts: dict[str, Any] = {
            "http.request.method": method, "url.path": path, "http.response.status_code": code,
            "onnxpipe.request_id": exchange.id,
        }  # fmt: skip
        if exchange.served is not None:
            facts |= {"onnxpipe.model": exchange.served.name, "onnxpipe.task": exchange.served.task}
        if exchange.caller is not None:
            facts["onnxpipe.tokens"] = exchange.caller.tokens
        span = self._tracer.start_span(
            f"{method} {path}", above, trace.SpanKind.SERVER, attributes=facts, start_time=started
        )
        if code >= 500:
            span.set_status(trace.StatusCode.ERROR)
        if exchange.caller is not None:
            inside, now = trace.set_span_in_context(span), started
            for name, seconds in (
                ("encode", exchange.encode_s), ("queue", exchange.caller.queued_s), ("run", exchange.caller.run_s),
                ("decode", exchange.decode_s),
            ):  # fmt: skip
                part = self._tracer.start_span(name, inside, start_time=now)
                now = min(ended, now + int(1e9 * seconds))
                part.end(now)
        span.end(ended)

    def close(self) -> None:
        """Export what was not exported yet."""
        self._provider.shutdown()


def tracing_of_environment() -> Tracing | None:
    """Return the tracing that the environment asks for; None if it asks for none, or the packages are not there."""
    if not os.environ.get(_ENDPOINT):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        logger.warning('%s is set, but nothing is traced: pip install "onnxpipe[tracing]"', _ENDPOINT)
        return None
    name = os.environ.get("OTEL_SERVICE_NAME", "onnxpipe")
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)
