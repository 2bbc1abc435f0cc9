"""Compare `onnxpipe serve` with FastAPI around a pipeline of transformers: answers a second and latency, in turns.

    python -m perf.servers BUNDLE [CHECKPOINT] --rounds 3 --seconds 4
    python -m perf.servers BUNDLE CHECKPOINT --task text-generation --connections 1,8

All servers run at the same time, and one is loaded at a time, by a closed loop of so many connections. What a request
adds to a call in the process is measured by a client that does little else, in turns of a few texts. FastAPI and
transformers must be installed beside onnxpipe. `python -m perf.servers --peer TASK CHECKPOINT PORT` is the peer itself.
"""

import argparse
import asyncio
import json
import random
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from typing import Any
from urllib.parse import urlsplit

from onnxpipe.cli.bench.load import HttpTarget, Load
from onnxpipe.cli.bench.measure import percentile

TOKENS = 64
BODIES = {
    "text-classification": '{"inputs": "{text}"}',
    "text-generation": json.dumps({
        "inputs": "{text}", "parameters": {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False}
    }),
}  # fmt: skip


def serve_peer(task: str, checkpoint: str, port: int) -> None:
    """Serve a pipeline of transformers as tutorials do: one function, which FastAPI calls in its threads."""
    import uvicorn
    from fastapi import FastAPI
    from transformers import pipeline

    pipe, app = pipeline(task, model=checkpoint, device="cpu"), FastAPI()

    @app.post("/")
    def predict(body: dict) -> object:  # type: ignore[type-arg]
        return pipe(body["inputs"], **body.get("parameters", {}))

    @app.get("/health")
    def health() -> dict:  # type: ignore[type-arg]
        return {}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


class Server:
    """A server in a process of its own.

    Args:
        name: for messages.
        words: of its command line, after `python -m`; {port} stands for the port.
        python: the interpreter.
        ready: the path that is answered once it is ready.
    """

    def __init__(self, name: str, words: list[str], python: str = sys.executable, ready: str = "health") -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.name, self.url, self._ready = name, f"http://127.0.0.1:{port}/", ready
        self._process = subprocess.Popen([python, "-m", *(word.format(port=port) for word in words)])

    def wait(self) -> None:
        """Wait until it answers."""
        while True:
            try:
                urllib.request.urlopen(self.url + self._ready, timeout=5)
            except OSError:
                if self._process.poll() is not None:
                    raise SystemExit(f"{self.name} did not start") from None
                time.sleep(0.1)
            else:
                return

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait()


class Connection:
    """One connection to a server, which does little else than to send and to wait.

    Args:
        url: of the server.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 80))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = f"POST / HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\ncontent-length: "

    def ask(self, text: str) -> Any:
        """Post a text; return the answer."""
        body = json.dumps({"inputs": text}).encode()
        self._socket.sendall(f"{self._head}{len(body)}\r\n\r\n".encode() + body)
        came = b""
        while b"\r\n\r\n" not in came:
            came += self._more()
        head, _, answer = came.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        while len(answer) < length:
            answer += self._more()
        return json.loads(answer)

    def _more(self) -> bytes:
        found = self._socket.recv(65_536)
        if not found:
            raise SystemExit("the server closed the connection")
        return found


def beside_process(bundle: str, url: str, seconds: float) -> tuple[list[float], list[float]]:
    """Return the seconds of calls in this process, and of the same calls over HTTP, both in turns."""
    from onnxpipe import pipeline

    pipe, words, connection = pipeline("text-classification", bundle, dtype="int8"), random.Random(0), Connection(url)
    texts = [
        " ".join(words.choices(("the", "cat", "sat", "on", "a", "mat"), k=words.randint(8, 28))) for _ in range(60)
    ]
    found: tuple[list[float], list[float]] = [], []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        for call, times in zip((pipe, connection.ask), found, strict=True):
            for text in texts:
                started = time.perf_counter()
                call(text)
                times.append(time.perf_counter() - started)
    return found[0][len(texts) :], found[1][len(texts) :]  # the first turn warms up


def main() -> None:
    """Load the servers in turns, and print the medians of all rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("checkpoint", nargs="?", help="for transformers; without one only onnxpipe is loaded")
    parser.add_argument("--task", choices=list(BODIES), default="text-classification")
    parser.add_argument("--connections", default="1,8,32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    given = parser.parse_args()
    own = ["onnxpipe", "serve", f"{given.bundle}:{given.task}", "-q", "--port", "{port}", "--dtype"]
    servers = [
        Server("onnxpipe int8", [*own, "int8"]), Server("onnxpipe fp32", [*own, "fp32"]),
    ]  # fmt: skip
    if given.checkpoint:
        peer = ["perf.servers", "--peer", given.task, given.checkpoint, "{port}"]
        servers.append(Server("FastAPI, transformers", peer))
    rates, halves = defaultdict(list), defaultdict(list)
    try:
        for server in servers:
            server.wait()
        for number in range(given.rounds):
            if given.task == "text-classification":
                for name, times in zip(
                    ("in process", "over HTTP"), beside_process(given.bundle, servers[0].url, given.seconds)
                ):
                    halves[f"{name}, int8", 1].append(percentile(times, 0.5))
            for connections in map(int, given.connections.split(",")):
                for server in servers:
                    load = Load(HttpTarget(server.url).send, BODIES[given.task], seed=number)
                    found = asyncio.run(load.closed(connections, given.seconds))
                    assert not found.failures and set(found.statuses) == {200}, str(found)
                    rates[server.name, connections].append(found.rate)
                    halves[server.name, connections].append(percentile(found.latencies, 0.5))
    finally:
        for server in servers:
            server.close()
    for (name, connections), seconds in halves.items():
        line = f"{name}, {connections} connections: p50 {1000 * statistics.median(seconds):.1f} ms"
        if (name, connections) in rates:
            mine = statistics.median(rates[name, connections])
            line += f", {mine:.1f}/s, {mine / statistics.median(rates[name, 1]):.2f} x one connection"
            if given.checkpoint:
                line += f", {mine / statistics.median(rates['FastAPI, transformers', connections]):.2f} x FastAPI"
        print(line, flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        serve_peer(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main()
