"""The state of a server: its models, limits and metrics, and whether it takes requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from onnxpipe.serving.calls import CallRunner
from onnxpipe.serving.metrics import ServerMetrics
from onnxpipe.serving.served import ModelTable
from onnxpipe.serving.settings import ServeSettings
from onnxpipe.serving.tracing import Tracing, tracing_of_environment


@dataclass
class ServerState:
    """The state of a server.

    Attributes:
        settings: what it allows.
        workers: threads that run batches, for each model or by its name.
        ready: whether all models are loaded.
        draining: whether it is stopping.
        reload: loads the models anew; None where they were loaded outside.
        tracing: notes requests for OpenTelemetry; None where nobody asks for that.
    """

    settings: ServeSettings
    workers: Mapping[str, int] | int = 1
    ready: bool = False
    draining: bool = False
    reload: Callable[[], None] | None = None
    metrics: ServerMetrics = field(default_factory=ServerMetrics)
    tracing: Tracing | None = field(default_factory=tracing_of_environment)

    def __post_init__(self) -> None:
        self.table = ModelTable(self.settings, self.metrics.batch, self.workers)
        self.calls = CallRunner(self.settings)
        self.metrics.watch(self.table)

    def close(self) -> None:
        """Give up what is still going on, and end all threads."""
        self.draining = True
        self.calls.cancel_all()
        self.table.close(0)
        self.calls.close()
        if self.tracing is not None:
            self.tracing.close()
