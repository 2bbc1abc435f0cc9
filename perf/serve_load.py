"""Load a server: an open loop (requests at given times, latency from the scheduled time) or a number of connections.

    python perf/serve_load.py http://127.0.0.1:8000 --rate 50 --duration 30
    python perf/serve_load.py http://127.0.0.1:8000 --connections 32 --duration 10

A closed loop hides waiting: when the server is slow, fewer requests are made. With `--objective MS` the rate is raised
until the 99th percentile is beyond it, and the highest rate that keeps it is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from urllib.parse import urlsplit

WORDS = ("the", "cat", "sat", "on", "a", "mat", "while", "it", "rained", "and", "nobody", "came", "to", "see")


class Load:
    """Sends requests and keeps their latencies.

    Attributes:
        latencies: seconds of the requests that were answered.
        codes: how often each status came.
    """

    def __init__(self, url: str, path: str, body: dict[str, object], seed: int) -> None:
        parts = urlsplit(url)
        self._host, self._port, self._path = parts.hostname or "127.0.0.1", parts.port or 80, path
        self._body, self._random = body, random.Random(seed)
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.latencies: list[float] = []
        self.codes: dict[int, int] = {}

    def _request(self) -> bytes:
        text = " ".join(self._random.choices(WORDS, k=self._random.randint(8, 28)))
        body = json.dumps(self._body).replace("{text}", text).encode()
        head = [f"POST {self._path} HTTP/1.1", "host: localhost", "content-type: application/json"]
        return "\r\n".join([*head, f"content-length: {len(body)}", "", ""]).encode() + body

    async def once(self, scheduled: float) -> None:
        """Send one request; its latency counts from the time at which it was due."""
        connection = self._free.pop() if self._free else await asyncio.open_connection(self._host, self._port)
        reader, writer = connection
        writer.write(self._request())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next((int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:")), 0)
        await reader.readexactly(length)
        code = int(head.split()[1])
        self.codes[code] = self.codes.get(code, 0) + 1
        if code == 200:
            self.latencies.append(time.perf_counter() - scheduled)
        self._free.append(connection)

    async def closed(self, connections: int, duration: float) -> float:
        """Keep so many connections busy; return the requests that were answered in a second."""
        end = time.perf_counter() + duration

        async def busy() -> None:
            while time.perf_counter() < end:
                await self.once(time.perf_counter())

        started = time.perf_counter()
        await asyncio.gather(*(busy() for _ in range(connections)))
        return len(self.latencies) / (time.perf_counter() - started)

    async def open(self, rate: float, duration: float) -> float:
        """Send requests at random times, so many a second on average; return those answered in a second."""
        started = time.perf_counter()
        due, tasks = started, []
        while due < started + duration:
            due += self._random.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(self.once(due)))
        await asyncio.gather(*tasks)
        return len(self.latencies) / (time.perf_counter() - started)

    def report(self) -> str:
        """Describe the latencies and the statuses."""
        ordered = sorted(self.latencies) or [0.0]
        at = {part: 1000 * ordered[min(len(ordered) - 1, int(part / 100 * len(ordered)))] for part in (50, 95, 99)}
        return " ".join(f"p{part} {ms:.1f} ms" for part, ms in at.items()) + f" statuses {self.codes}"


def main() -> None:
    """Read the arguments, and load the server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--path", default="/")
    parser.add_argument("--body", default='{"inputs": "{text}"}', help="JSON; {text} becomes 8 to 28 words")
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second of the open loop")
    parser.add_argument("--connections", type=int, help="a closed loop of so many, instead")
    parser.add_argument("--duration", type=float, default=10.0, help="seconds")
    parser.add_argument("--objective", type=float, help="milliseconds that the 99th percentile must keep")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()

    def load() -> Load:
        return Load(given.url, given.path, json.loads(given.body), given.seed)

    if given.connections:
        one = load()
        speed = asyncio.run(one.closed(given.connections, given.duration))
        print(f"{given.connections} connections: {speed:.1f}/s {one.report()}")
        return
    rate, best = given.rate, 0.0
    while True:
        one = load()
        speed = asyncio.run(one.open(rate, given.duration))
        print(f"rate {rate:.1f}/s: {speed:.1f}/s {one.report()}")
        if given.objective is None:
            return
        ordered = sorted(one.latencies)
        if set(one.codes) != {200} or 1000 * ordered[int(0.99 * len(ordered))] > given.objective:
            print(f"the highest rate that keeps p99 within {given.objective:g} ms: {best:.1f}/s")
            return
        best, rate = rate, rate * 1.25


if __name__ == "__main__":
    main()
