"""Load a server over HTTP: requests at given times (an open loop), or from a number of connections (a closed loop)."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import h11

from onnxpipe.cli.bench.measure import percentile
from onnxpipe.errors import UnsupportedError

_WORDS = ("the", "cat", "sat", "on", "a", "mat", "while", "it", "rained", "and", "nobody", "came", "to", "see")
_CHUNK = 65_536
#: Between two rates that are tried.
_STEP = 1.5
#: How often the highest rate is looked for between one that keeps the objective and one that does not.
_HALVINGS = 3

Send = Callable[[bytes], Awaitable[int]]
"""Sends the body of a request; returns the status, or raises OSError."""


@dataclass
class Loaded:
    """What became of the requests of one load.

    Attributes:
        seconds: from the first request to the last answer.
        latencies: seconds of those that were answered with 200, from when they were due.
        statuses: how often each status came.
        failures: how often there was no answer, by the kind of error.
        refused: seconds of those that were answered with another status.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    refused: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Requests that were answered, a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def keeps(self, objective: float) -> bool:
        """Whether all were answered, and 99 of 100 within so many milliseconds."""
        good = self.latencies and not self.failures and set(self.statuses) == {200}
        return bool(good) and 1000 * percentile(self.latencies, 0.99) <= objective

    @property
    def works(self) -> bool:
        """Whether the server takes such requests: it has answered one, or said that it is busy."""
        return any(status in self.statuses for status in (200, 429, 503))

    def document(self) -> dict[str, Any]:
        """Describe it as JSON has it."""
        at = {f"p{share}": percentile(self.latencies, share / 100) for share in (50, 95, 99)} if self.latencies else {}
        return {
            "answered (1/s)": round(self.rate, 2),
            **{f"{name} (ms)": round(1000 * seconds, 2) for name, seconds in at.items()},
            **({"refused, p99 (ms)": round(1000 * percentile(self.refused, 0.99), 2)} if self.refused else {}),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            **({"failures": dict(self.failures)} if self.failures else {}),
        }

    def __str__(self) -> str:
        parts = [f"{name} {value}" for name, value in self.document().items() if not isinstance(value, dict)]
        counts = [f"{name}: {count}" for name, count in (*self.statuses.items(), *self.failures.items())]
        return ", ".join([*parts, *counts])


class Load:
    """Makes requests and notes what becomes of them.

    Args:
        send: sends one.
        body: JSON, in which `{text}` becomes 8 to 28 words.
        seed: of the words, and of the times.
        clock, sleep: seconds, and how to wait for some.
    """

    def __init__(
        self,
        send: Send,
        body: str,
        seed: int = 0,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ) -> None:
        self._send, self._body, self._random, self._clock, self._sleep = send, body, random.Random(seed), clock, sleep
        self._found = Loaded()

    async def open(self, rate: float, duration: float) -> Loaded:
        """Send requests at random times, so many a second on average, whether earlier ones were answered or not."""
        started = self._clock()
        tasks: list[asyncio.Task[None]] = []
        due = started + self._random.expovariate(rate)
        while due < started + duration or not tasks:
            if (wait := due - self._clock()) > 0:
                await self._sleep(wait)
            tasks.append(asyncio.create_task(self._once(due)))
            due += self._random.expovariate(rate)
        await asyncio.gather(*tasks)
        self._found.seconds = self._clock() - started
        return self._found

    async def closed(self, connections: int, duration: float) -> Loaded:
        """Keep so many requests on their way, each sent when the one before has been answered."""
        started = self._clock()

        async def busy() -> None:
            while (now := self._clock()) < started + duration:
                await self._once(now)

        await asyncio.gather(*(busy() for _ in range(connections)))
        self._found.seconds = self._clock() - started
        return self._found

    async def _once(self, due: float) -> None:
        """Send one request, and count its time from when it was due."""
        text = " ".join(self._random.choices(_WORDS, k=self._random.randint(8, 28)))
        try:
            status = await self._send(self._body.replace("{text}", text).encode())
        except (OSError, EOFError, TimeoutError, h11.RemoteProtocolError) as error:
            self._found.failures[type(error).__name__] += 1
            return
        self._found.statuses[status] += 1
        (self._found.latencies if status == 200 else self._found.refused).append(self._clock() - due)


def highest_rate(load: Callable[[float], Loaded], rate: float, objective: float) -> float:
    """Find the highest rate that keeps an objective: raise it until it is not kept, then halve the distance.

    Args:
        load: loads the server with so many requests a second.
        rate: the first that is tried.
        objective: milliseconds in which 99 of 100 are to be answered.

    Returns:
        Requests a second; 0 if not even a hundredth of `rate` keeps it.
    """
    kept, missed, lowest = 0.0, 0.0, 0.01 * rate
    while not (kept and missed) and rate > lowest:
        if load(rate).keeps(objective):
            kept, rate = rate, rate * _STEP
        else:
            missed, rate = rate, rate / _STEP
    for _ in range(_HALVINGS if kept else 0):
        middle = (kept + missed) / 2
        kept, missed = (middle, missed) if load(middle).keeps(objective) else (kept, middle)
    return kept


class HttpTarget:
    """Where requests go; connections are kept and used again.

    Args:
        url: http or https, with the path that is asked.
        key: sent as `Authorization: Bearer`.
        timeout: seconds after which an answer is not waited for any more.

    Raises:
        UnsupportedError: the URL is not of http or https.
    """

    def __init__(self, url: str, key: str | None = None, timeout: float = 60.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UnsupportedError(f"{url!r} is not the URL of a server, such as http://127.0.0.1:8000")
        self._tls, self._host = parts.scheme == "https", parts.hostname
        self._port = parts.port or (443 if self._tls else 80)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._timeout = timeout
        self._headers = [("host", parts.netloc.rpartition("@")[2]), ("content-type", "application/json")]
        if key:
            self._headers.append(("authorization", f"Bearer {key}"))
        self._free: list[tuple[h11.Connection, asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, body: bytes) -> int:
        """Post a body; return the status once the whole answer has come."""
        return await asyncio.wait_for(self._exchange(body), self._timeout)

    async def _exchange(self, body: bytes) -> int:
        while self._free and self._free[-1][1].at_eof():  # closed by the server, as nothing came for a while
            self._free.pop()[2].close()
        if self._free:
            connection, reader, writer = self._free.pop()
        else:
            connection = h11.Connection(h11.CLIENT)
            reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls or None)
        headers = [*self._headers, ("content-length", str(len(body)))]
        status, done = 0, False
        try:
            head = h11.Request(method="POST", target=self._path, headers=headers)
            writer.write((connection.send(head) or b"") + (connection.send(h11.Data(data=body)) or b""))
            connection.send(h11.EndOfMessage())
            while not done:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(await reader.read(_CHUNK))
                elif isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.ConnectionClosed):
                    raise EOFError("the connection was closed")
                done = isinstance(event, h11.EndOfMessage)
        except BaseException:
            writer.close()
            raise
        if connection.our_state is h11.DONE and connection.their_state is h11.DONE:
            connection.start_next_cycle()
            self._free.append((connection, reader, writer))
        else:
            writer.close()
        return status


def check_body(text: str) -> str:
    """Check that a body is JSON.

    Raises:
        UnsupportedError: it is not.
    """
    try:
        json.loads(text)
    except ValueError as error:
        raise UnsupportedError(f"the body is not JSON: {error}") from error
    return text
