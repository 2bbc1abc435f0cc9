"""Load a server for minutes with clients that stay, leave and err; look whether it stays level and loses no request.

    python -m perf.serve_soak TEXT EMBEDDING STORIES [CHAT] [--minutes 20] [--rate 5] [--dtype int8] [--json FILE]

The arguments are bundles: a text classifier, an embedding model, a language model, and one with a template for chats.
`onnxpipe serve` runs with all of them in a process of its own. Requests come at random times (an open loop, seeded), in
the shapes of Hugging Face, OpenAI, TEI and KServe, whole and streamed. A third of the clients close their connection
at a random moment: in the middle of the body, while they wait, or within the answer. One request in eight is bad.

Every ten seconds the server's memory (RSS), open descriptors and threads are read. The slope of memory is a
least-squares line through the samples after the first quarter. At the end the server's own metrics must account for
every request that was sent: answered (2xx), refused (4xx), or given up because the client was gone (499).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

_WORDS = ("the", "film", "was", "long", "but", "music", "and", "light", "made", "it", "good", "a", "dog", "ran", "home")
_SAMPLE_S = 10.0
_WARM_UP = 0.25
"""The part of a run whose samples do not count for the slope."""
_LEAVING = 1 / 3
_BAD = 1 / 8
_STREAMED = ("/v1/completions", "/v1/chat/completions")


@dataclass
class Sent:
    """What became of the requests, as the clients saw it."""

    total: int = 0
    left: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    refused_connections: int = 0
    cut_streams: int = 0
    wrong: Counter[str] = field(default_factory=Counter)


class Client:
    """Makes requests, seeded, and leaves some of them.

    Args:
        port: where the server listens.
        chat: whether a model with a template for chats is served.
    """

    def __init__(self, port: int, chat: bool, seed: int) -> None:
        self._port, self._chat, self._random = port, chat, random.Random(seed)
        self.sent = Sent()

    def _text(self, most: int = 40) -> str:
        return " ".join(self._random.choices(_WORDS, k=self._random.randint(3, most)))

    def _good(self) -> tuple[str, Any]:
        """Make a request that is answered."""
        story = {"model": "stories", "prompt": self._text(8), "max_tokens": 32, "stream": self._random.random() < 0.7,
                 "temperature": self._random.choice((0, 0.8)), "seed": 1}  # fmt: skip
        chat = {"model": "chat", "messages": [{"role": "user", "content": self._text(12)}], "max_tokens": 8,
                "stream": True, "temperature": 0}  # fmt: skip
        infer = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": [self._text(), self._text()]}]}
        kinds: list[tuple[float, str, Any]] = [
            (3, "/models/text", {"inputs": self._text()}),
            (2, "/models/text", {"inputs": [self._text() for _ in range(8)], "parameters": {"top_k": 1}}),
            (2, "/embed", {"inputs": self._text()}),
            (2, "/v1/embeddings", {"model": "vectors", "input": [self._text(), self._text()]}),
            (2, "/v2/models/text/infer", infer),
            (2, "/v1/completions", story),
            (0.6 * self._chat, "/v1/chat/completions", chat),
        ]
        _, path, body = self._random.choices(kinds, [weight for weight, *_ in kinds])[0]
        return path, body

    def _bad(self) -> tuple[str, bytes]:
        """Make a request that is refused."""
        whole = json.dumps({"inputs": self._text()}).encode()
        return self._random.choice((
            ("/models/text", whole[:-3]),
            ("/models/text", b'{"inputs": NaN}'),
            ("/models/text", b'{"inputs": "a", "parameters": {"topk": 1}}'),
            ("/models/none", whole),
            ("/models/text", b"[" * 10_000),
            ("/v1/completions", b'{"model": "stories", "prompt": "a", "max_tokens": 1000000}'),
            ("/v1/embeddings", b'{"model": "vectors", "input": [[99999999]]}'),
            ("/v2/models/text/infer", b'{"inputs": [{"name": "text", "datatype": "FP32", "shape": [1], "data": [1]}]}'),
            ("/models/text", b'{"inputs": "' + b"a" * 3_000_000 + b'"}'),
        ))  # fmt: skip

    async def once(self) -> None:
        """Send one request, and read its answer or leave."""
        good = self._random.random() >= _BAD
        path, given = self._good() if good else self._bad()
        body = json.dumps(given).encode() if good else given
        moment = self._random.choice(("body", "wait", "answer")) if self._random.random() < _LEAVING else None
        part, patience = self._random.random(), self._random.uniform(0, 0.2)
        self.sent.total += 1
        self.sent.left += moment is not None
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            self.sent.refused_connections += 1
            return
        head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nconnection: close\r\n"
        try:
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode())
            writer.write(body if moment != "body" else body[: int(part * (len(body) - 1))])
            await writer.drain()
            if moment == "body" or moment == "wait":
                await asyncio.sleep(patience)
                return
            answer = await reader.read(200) if moment == "answer" else await reader.read()
            if moment is None:
                self._note(answer, path, given, good)
        except ConnectionError:  # it was refused before all of it was sent
            self.sent.statuses[0] += 1
        finally:
            writer.close()

    def _note(self, answer: bytes, path: str, given: Any, good: bool) -> None:
        status = int(answer[9:12] or b"0")
        if (status == 200) is not good:
            self.sent.wrong[f"{path} {status}"] += 1
        self.sent.statuses[status] += 1
        streamed = status == 200 and path in _STREAMED and given["stream"]
        self.sent.cut_streams += streamed and b"data: [DONE]" not in answer

    async def run(self, rate: float, seconds: float) -> None:
        """Send requests at random times, so many a second on average."""
        tasks: set[asyncio.Task[None]] = set()
        due, end = time.monotonic(), time.monotonic() + seconds
        while due < end:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self.once())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            due += self._random.expovariate(rate)
        await asyncio.gather(*tasks)


class Watch:
    """Reads what a process holds, again and again."""

    def __init__(self, pid: int) -> None:
        self._folder, self.samples = Path(f"/proc/{pid}"), []  # type: ignore[var-annotated]
        self._started = time.monotonic()

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            await asyncio.sleep(_SAMPLE_S)
            self.read()

    def read(self) -> None:
        """Read once: seconds, MB, descriptors, threads."""
        pages = int((self._folder / "statm").read_text().split()[1])
        files, threads = (len(list((self._folder / name).iterdir())) for name in ("fd", "task"))
        megabytes = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
        self.samples.append((time.monotonic() - self._started, megabytes, files, threads))
        print(
            f"{self.samples[-1][0]:6.0f} s  {megabytes:8.1f} MB  {files:4d} descriptors  {threads:3d} threads",
            flush=True,
        )


def counts(text: str) -> Counter[str]:
    """Sum the server's requests by status."""
    found: Counter[str] = Counter()
    for code, number in re.findall(r'^onnxpipe_requests_total\{code="(\d+)".* (\S+)$', text, re.MULTILINE):
        found[code] += int(float(number))
    return found


def waiting(text: str) -> float:
    """Sum what waits and runs in all queues."""
    return sum(map(float, re.findall(r"^onnxpipe_(?:queue_rows|running)\{.* (\S+)$", text, re.MULTILINE)))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def fetch(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        return str(answer.read(), "utf-8")


def wait_until_ready(server: subprocess.Popen[Any], port: int) -> None:
    while True:
        try:
            fetch(port, "/health")
        except OSError:
            if server.poll() is not None:
                raise SystemExit("the server ended") from None
            time.sleep(0.2)
        else:
            return


async def load(client: Client, watch: Watch, rate: float, seconds: float) -> None:
    """Send requests while the server is watched."""
    watching = asyncio.ensure_future(watch.run())
    await client.run(rate, seconds)
    watching.cancel()
    await asyncio.sleep(3)  # what was given up last is noted
    watch.read()


def figures(client: Client, watch: Watch, codes: Counter[str], metrics: str, log: str) -> dict[str, Any]:
    """Sum up a run; `codes` counts the server's requests by status."""
    settled = watch.samples[int(len(watch.samples) * _WARM_UP) :]
    minutes = np.array([sample[0] / 60 for sample in settled])
    slope, _ = np.polyfit(minutes, np.array([sample[1] for sample in settled]), 1)
    sent = client.sent
    by = Counter({"answered": 0, "refused": 0, "given up": 0, "failed": 0})
    for code, number in codes.items():
        kind = "given up" if code == "499" else {"2": "answered", "4": "refused"}.get(code[0], "failed")
        by[kind] += number
    return {
        "minutes": round(watch.samples[-1][0] / 60, 1),
        "sent": sent.total,
        "clients that left": sent.left,
        "server's requests": dict(by),
        "by status": dict(sorted(codes.items())),
        "lost": sent.total - sent.refused_connections - sum(codes.values()),
        "streams without an end": sent.cut_streams,
        "answers of another status than expected": dict(sent.wrong),
        "connections refused": sent.refused_connections,
        "still waiting or running": waiting(metrics),
        "tracebacks, exceptions": [log.count(word) for word in ("Traceback", "exception")],
        "rss (MB)": {"settled": round(settled[0][1], 1), "end": round(settled[-1][1], 1),
                     "peak": round(max(sample[1] for sample in watch.samples), 1)},
        "rss (MB/min)": round(float(slope), 3),
        "descriptors": {"settled": settled[0][2], "end": settled[-1][2]},
        "threads": {"settled": settled[0][3], "end": settled[-1][3]},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("text", "vectors", "stories"):
        parser.add_argument(name)
    parser.add_argument("chat", nargs="?")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--rate", type=float, default=5.0, help="requests a second")
    parser.add_argument("--dtype", default="int8")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where the figures are written as JSON")
    given = parser.parse_args()
    names = [name for name in ("text", "vectors", "stories", "chat") if getattr(given, name)]
    tasks = {"text": "text-classification", "vectors": "embedding"}
    models = [f"{name}={getattr(given, name)}:{tasks.get(name, 'text-generation')}" for name in names]
    port, metrics_port = free_port(), free_port()
    with tempfile.TemporaryFile("w+") as log:
        command = ["serve", *models, "--dtype", given.dtype, "--port", str(port), "--metrics-port", str(metrics_port)]
        server = subprocess.Popen([sys.executable, "-m", "onnxpipe", *command], stderr=log)
        try:
            wait_until_ready(server, port)
            time.sleep(1)  # a request is noted once its answer is out
            before = counts(fetch(metrics_port, "/metrics"))
            client, watch = Client(port, "chat" in names, given.seed), Watch(server.pid)
            asyncio.run(load(client, watch, given.rate, 60 * given.minutes))
            metrics = fetch(metrics_port, "/metrics")
        finally:
            server.terminate()
            server.wait()
        log.seek(0)
        found = figures(client, watch, counts(metrics) - before, metrics, log.read())
    print(json.dumps(found, indent=1))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
