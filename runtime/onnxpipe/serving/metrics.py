"""Metrics in Prometheus' format: one series for each fact, with the prefix `onnxpipe_`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric

from onnxpipe.engine.tickets import BatchReport
from onnxpipe.serving.exchange import Exchange
from onnxpipe.serving.served import ModelTable

#: The content type of Prometheus' text format.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_TOKENS = (16, 64, 256, 1024, 4096, 16384, 65536, 262144)


class ServerMetrics:
    """The metrics of a server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def seconds(name: str, what: str) -> Histogram:
            return Histogram(f"onnxpipe_{name}_seconds", what, ["model"], buckets=_SECONDS, registry=self.registry)

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"onnxpipe_{name}", what, ["model", *labels], registry=self.registry)

        self._requests = counter("requests", "Requests that were answered.", "task", "dialect", "code")
        self._times = {
            "request": seconds("request", "From a request to the end of its answer."),
            "encode": seconds("encode", "From a request to its rows."),
            "queue": seconds("queue", "The longest wait of a request's rows."),
            "run": seconds("run", "The batches that had rows of a request."),
            "decode": seconds("decode", "From outputs to the answer."),
        }
        self._first = seconds("time_to_first_token", "From a request to the first piece of its stream.")
        self._between = seconds("inter_token", "Between two tokens of a stream, on average over the stream.")
        rows = Histogram("onnxpipe_batch_rows", "Rows of a batch.", ["model"], buckets=_SIZES, registry=self.registry)
        tokens = Histogram(
            "onnxpipe_batch_tokens", "Tokens of a batch.", ["model"], buckets=_TOKENS, registry=self.registry
        )
        self._batch_rows, self._batch_tokens = rows, tokens
        self._padding = counter("padding_tokens", "Tokens of padding that were run.")
        self._prompt = counter("prompt_tokens", "Tokens of prompts.")
        self._generated = counter("generated_tokens", "Tokens that were generated.")
        self._hit = counter("prefix_cache_hit_tokens", "Tokens of prompts that were not run again.")
        self._rejected = counter("rejected", "Requests that were refused.", "reason")

    def watch(self, table: ModelTable) -> None:
        """Show also what waits and runs now."""
        self.registry.register(_Now(table))

    def batch(self, model: str, report: BatchReport) -> None:
        """Note a batch."""
        self._batch_rows.labels(model).observe(report.rows)
        self._batch_tokens.labels(model).observe(report.tokens)
        self._padding.labels(model).inc(report.padded - report.tokens)

    def request(self, exchange: Exchange, code: int) -> None:
        """Note an answered request."""
        served = exchange.served
        model, task = (served.name, served.task) if served is not None else ("", "")
        self._requests.labels(model, task, exchange.dialect, str(code)).inc()
        if code in (401, 403, 413, 429, 503, 504):
            self._rejected.labels(model, str(code)).inc()
        self._times["request"].labels(model).observe(exchange.seconds)
        if exchange.caller is None or code >= 400:
            return
        for name, spent in (
            ("encode", exchange.encode_s), ("queue", exchange.caller.queued_s), ("run", exchange.caller.run_s),
            ("decode", exchange.decode_s),
        ):  # fmt: skip
            self._times[name].labels(model).observe(spent)
        self._prompt.labels(model).inc(exchange.prompt)
        self._generated.labels(model).inc(exchange.generated)
        self._hit.labels(model).inc(exchange.caller.cached)
        if exchange.first_s is not None:
            self._first.labels(model).observe(exchange.first_s)
            if exchange.generated > 1:
                self._between.labels(model).observe((exchange.seconds - exchange.first_s) / (exchange.generated - 1))

    def text(self) -> bytes:
        """Write all metrics."""
        written: bytes = generate_latest(self.registry)
        return written


class _Now:
    """What waits and runs at the moment of a scrape."""

    def __init__(self, table: ModelTable) -> None:
        self._table = table

    def collect(self) -> Iterable[Metric]:
        gauges = {
            name: GaugeMetricFamily(f"onnxpipe_{name}", what, labels=["model"])
            for name, what in (
                ("queue_rows", "Rows that wait."), ("queue_tokens", "Tokens that wait."), ("running", "Rows that run."),
            )
        }  # fmt: skip
        info = InfoMetricFamily("onnxpipe", "The models that are served.", labels=["model"])
        for served in self._table.models.values():
            gauges["queue_rows"].add_metric([served.name], served.queue.rows)
            gauges["queue_tokens"].add_metric([served.name], served.queue.cost)
            gauges["running"].add_metric([served.name], served.queue.running)
            info.add_metric([served.name], _facts(served))
        return [*gauges.values(), info]


def _facts(served: Any) -> dict[str, str]:
    from onnxruntime import __version__ as runtime

    return {"task": served.task, "dtype": str(served.pipe.dtype), "ort": str(runtime)}
