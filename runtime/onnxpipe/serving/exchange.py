"""What is known of one request and its answer: for headers, the log and metrics."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import HTTPConnection

from onnxpipe.engine.caller import Caller
from onnxpipe.serving.served import ServedModel


@dataclass
class Exchange:
    """One request and its answer.

    Attributes:
        id: the client's, or made here.
        owner: whom it belongs to: a key or an address.
        dialect: whose shapes it has.
        served: the model that answers.
        caller: its place in the model's queue.
        started, ended: of a monotonic clock.
        first_s: seconds until the first piece of a stream.
        generated, prompt: tokens.
    """

    id: str
    owner: str = ""
    dialect: str = ""
    served: ServedModel | None = None
    caller: Caller | None = None
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    first_s: float | None = None
    generated: int = 0
    prompt: int = 0

    @property
    def seconds(self) -> float:
        """How long it has taken so far, or took."""
        return (time.monotonic() if self.ended is None else self.ended) - self.started

    @property
    def encode_s(self) -> float:
        """Seconds before its rows reached the queue."""
        if self.caller is None or self.caller.submitted is None:
            return 0.0
        return max(0.0, self.caller.submitted - self.started)

    @property
    def decode_s(self) -> float:
        """Seconds that neither encoding, nor waiting, nor the model took."""
        if self.caller is None or self.caller.submitted is None:
            return 0.0
        return max(0.0, self.seconds - self.encode_s - self.caller.queued_s - self.caller.run_s)

    def headers(self) -> dict[str, str]:
        """The headers that say how long it took, in milliseconds: TEI's names."""
        if self.caller is None:
            return {}
        times = {
            "x-total-time": self.seconds, "x-tokenization-time": self.encode_s,
            "x-queue-time": self.caller.queued_s, "x-inference-time": self.caller.run_s,
        }  # fmt: skip
        return {
            "x-compute-tokens": str(self.caller.tokens),
            **{name: str(round(1000 * s)) for name, s in times.items()},
        }


def new_id() -> str:
    """Make the id of a request."""
    return uuid.uuid4().hex


def exchange_of(connection: HTTPConnection) -> Exchange:
    """Return what is known of a request."""
    found: Any = connection.scope.setdefault("state", {}).get("exchange")
    if found is None:  # mounted without the front
        found = connection.scope["state"]["exchange"] = Exchange(new_id())
    exchange: Exchange = found
    return exchange
