"""Run the server: open the port, load the models, stop in order."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

import uvicorn

from onnxpipe.cli.guard import describe
from onnxpipe.cli.serve.models import ModelSource, load
from onnxpipe.cli.terminal import echo, printable
from onnxpipe.engine.memory import limit_arenas
from onnxpipe.errors import OnnxPipeError
from onnxpipe.serving.application import application
from onnxpipe.serving.server import ServerState
from onnxpipe.serving.settings import ServeSettings


class PortError(OnnxPipeError, OSError):
    """A port that cannot be opened."""


class _Server(uvicorn.Server):
    """A server that says at once that it is stopping, and gives up what is left when the time is over."""

    def __init__(self, config: uvicorn.Config, state: ServerState) -> None:
        super().__init__(config)
        self._state = state

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self._state.draining:
            self._state.draining = True
            timer = threading.Timer(self._state.settings.drain_s, self._state.calls.cancel_all)
            timer.daemon = True
            timer.start()
        super().handle_exit(sig, frame)


def serve(
    sources: Sequence[ModelSource],
    settings: ServeSettings,
    hub: Mapping[str, Any],
    *,
    host: str,
    port: int,
    metrics_port: int | None,
    verify: bool,
    quiet: bool,
) -> None:
    """Serve models until a signal comes.

    The port is open at once; `/health` says 503 until every model is loaded.

    Raises:
        PortError: the port cannot be opened.
        OnnxPipeError: a model cannot be loaded.
    """
    limit_arenas()  # before threads begin, each of which gets one
    workers: dict[str, int] = {}
    state = ServerState(settings, workers)

    def load_all() -> None:
        loaded = {}
        for source in sources:
            pipe, workers[source.name] = load(source, hub, verify=verify)
            loaded[source.name] = pipe
        for name, pipe in loaded.items():
            state.table.add(name, pipe)

    state.reload = load_all
    listening = _listen(host, port)
    _log_to_stderr(quiet)
    # h11 bounds the head of a request, which httptools, where it is installed, does not. The seconds over the drain are
    # those in which streams write their last event.
    config = uvicorn.Config(
        application(state), log_config=None, access_log=False, server_header=False, lifespan="on", http="h11",
        timeout_graceful_shutdown=int(settings.drain_s) + 2,
    )  # fmt: skip
    server = _Server(config, state)
    failures: list[BaseException] = []

    def begin() -> None:
        try:
            load_all()
            state.ready = True
            names = ", ".join(f"{each.name} ({each.task}, {each.pipe.dtype})" for each in state.table.models.values())
            echo(printable(f"serving {names} on http://{host}:{listening.getsockname()[1]}"), err=True)
        except BaseException as error:
            failures.append(error)
            server.should_exit = True

    if metrics_port is not None:
        from prometheus_client import start_http_server

        start_http_server(metrics_port, host, registry=state.metrics.registry)
    _reload_on_hangup(load_all)
    threading.Thread(target=begin, name="onnxpipe-load", daemon=True).start()
    server.run(sockets=[listening])
    if failures:
        raise failures[0]


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, reuse_port=False)
    except OSError as error:
        raise PortError(
            f"port {port} of {host} cannot be opened: {error.strerror or error}; choose another with --port"
        ) from error
    # Connections inherit it. asyncio sets it only for sockets that it made itself; without it the body of an answer
    # waits for the client to acknowledge the head, which takes 40 ms where acknowledgements are delayed.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _reload_on_hangup(reload: Callable[[], None]) -> None:
    """Load the models anew at SIGHUP, beside the old ones, which stay if that fails; under `nohup` it stays ignored."""
    if not hasattr(signal, "SIGHUP") or threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return

    def again() -> None:
        try:
            reload()
            echo("the models were loaded anew", err=True)
        except Exception as error:
            echo(f"error: the models were not loaded anew: {printable(describe(error))}", err=True)

    signal.signal(signal.SIGHUP, lambda *_: threading.Thread(target=again, daemon=True).start())


def _log_to_stderr(quiet: bool) -> None:
    """Write a line of JSON for each request, and the trace of whatever fails."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    for name, level in (
        ("onnxpipe.access", logging.WARNING if quiet else logging.INFO),
        ("onnxpipe.serving", logging.WARNING),
    ):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.handlers = [handler]
        logger.propagate = False


def keys_of(option: Sequence[str]) -> tuple[str, ...]:
    """Return the keys that requests need: those of the option, and of ONNXPIPE_API_KEY (several with commas)."""
    named = os.environ.get("ONNXPIPE_API_KEY", "").split(",")
    return tuple(key for key in (*option, *(each.strip() for each in named)) if key)
