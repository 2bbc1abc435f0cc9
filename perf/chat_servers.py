"""Compare servers of chats: tokens a second and the time to the first text, with one client and with several.

    python -m perf.chat_servers BUNDLE CHECKPOINT [--transformers PYTHON] [--llama PYTHON --gguf FILE]
    python -m perf.chat_servers BUNDLE --turns [--dtypes int8,fp32]

The first runs `onnxpipe serve` in int8 and fp32, `transformers serve` (with an interpreter that has transformers'
extra "serving") and the server of llama-cpp-python (extra "server") at the same time, and loads one after the other by
streamed chats, greedy, with at most --tokens each. Tokens are counted in the texts that came, by the bundle's
tokenizer. The second asks a chat's second turn behind a first of some 500 tokens, with and without the prefix cache.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from perf.servers import Server

_SUBJECTS = ("a fox", "the sea", "a train", "an old clock", "two sisters", "a lighthouse", "the snow", "a small robot")
_PATH = "v1/chat/completions"


@dataclass
class Said:
    """One streamed answer: its text, and the seconds to its first part and to its end."""

    text: str
    first: float
    whole: float


async def ask(url: str, body: dict[str, Any]) -> Said:
    """Stream one chat."""
    parts, data = urlsplit(url), json.dumps({"stream": True, "temperature": 0, **body}).encode()
    started, first, said = time.perf_counter(), None, ""
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = f"POST /{_PATH} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\nconnection: close\r\n"
    writer.write(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
    status = await reader.readline()
    if b" 200 " not in status:
        raise SystemExit(f"{url}: {status.decode()}{(await reader.read()).decode()}")
    while line := await reader.readline():
        if not line.startswith(b"data: {"):
            continue
        choices = json.loads(line[6:]).get("choices") or [{}]
        text = choices[0].get("delta", {}).get("content") or ""
        if text and first is None:
            first = time.perf_counter() - started
        said += text
    writer.close()
    return Said(said, first or 0.0, time.perf_counter() - started)


def chat(number: int, tokens: int, model: str | None) -> dict[str, Any]:
    """Make the body of a request; each has a prompt of its own."""
    subject = _SUBJECTS[number % len(_SUBJECTS)]
    content = f"Write a long story about {subject}. Chapter {number // len(_SUBJECTS) + 1}."
    named = {} if model is None else {"model": model}
    return {**named, "messages": [{"role": "user", "content": content}], "max_tokens": tokens}


async def together(url: str, clients: int, bodies: Sequence[dict[str, Any]]) -> tuple[list[Said], float]:
    """Ask chats from so many clients at a time; also return the seconds of all."""
    waiting, answers, started = list(bodies), [], time.perf_counter()

    async def client() -> None:
        while waiting:
            answers.append(await ask(url, waiting.pop(0)))

    await asyncio.gather(*(client() for _ in range(clients)))
    return answers, time.perf_counter() - started


def compare(given: argparse.Namespace) -> None:
    """Load the servers in turns, and print the medians of all rounds."""
    from onnxpipe import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(given.bundle)
    own = ["onnxpipe", "serve", f"chat={given.bundle}:text-generation", "-q", "--port", "{port}", "--dtype"]
    servers = [(Server(f"onnxpipe {dtype}", [*own, dtype]), None) for dtype in given.dtypes.split(",")]
    if given.transformers:
        words = ["transformers.cli.transformers", "serve", given.checkpoint, "--port", "{port}", "--device", "cpu"]
        servers.append((Server("transformers serve fp32", words, given.transformers), given.checkpoint))
    if given.llama:
        words = ["llama_cpp.server", "--model", given.gguf, "--port", "{port}", "--n_ctx", "2048",
                 "--interrupt_requests", "false"]  # fmt: skip  # else a new request ends the one before
        servers.append((Server("llama-cpp-python Q8_0", words, given.llama, "v1/models"), None))
    rates, firsts, number = defaultdict(list), defaultdict(list), 0
    with ExitStack() as stack:
        for server, _ in servers:
            stack.callback(server.close)
        for server, model in servers:
            server.wait()
            asyncio.run(ask(server.url, chat(number, 4, model)))
        for _ in range(given.rounds):
            for clients in map(int, given.clients.split(",")):
                count = max(2, clients)
                for server, model in servers:
                    bodies = [chat(number + i, given.tokens, model) for i in range(count)]
                    answers, seconds = asyncio.run(together(server.url, clients, bodies))
                    written = sum(len(tokenizer(said.text, add_special_tokens=False)["input_ids"]) for said in answers)
                    rates[server.name, clients].append(written / seconds)
                    firsts[server.name, clients] += [said.first for said in answers]
                number += count
    for (name, clients), values in rates.items():
        first = 1000 * statistics.median(firsts[name, clients])
        print(f"{name}, {clients} clients: {statistics.median(values):.1f} tokens/s, first text after {first:.0f} ms")


def turns(given: argparse.Namespace) -> None:
    """Ask second turns with and without the prefix cache, and print the medians of the time to the first text."""
    own = ["onnxpipe", "serve", f"chat={given.bundle}:text-generation", "-q", "--port", "{port}", "--dtype"]
    with ExitStack() as stack:
        servers = []
        for dtype in given.dtypes.split(","):
            for cache in ("prefix-cache", "no-prefix-cache"):
                servers.append(Server(f"{dtype}, {cache}", [*own, dtype, f"--{cache}"]))
                stack.callback(servers[-1].close)
        firsts = defaultdict(list)
        for server in servers:
            server.wait()
        for number in range(given.rounds):
            for server in servers:
                story = f"Story {number}: " + "the cat sat on a mat while it rained and nobody came to see. " * 32
                messages = [{"role": "user", "content": story + "What did the cat do?"}]
                body = {"messages": messages, "max_tokens": 16}
                before = asyncio.run(ask(server.url, body))
                after = [*messages, {"role": "assistant", "content": before.text}, {"role": "user", "content": "Why?"}]
                said = asyncio.run(ask(server.url, {"messages": after, "max_tokens": 4}))
                firsts[server.name].append((before.first, said.first))
        for name, pairs in firsts.items():
            one, two = (1000 * statistics.median(column) for column in zip(*pairs, strict=True))
            print(f"{name}: first turn {one:.0f} ms, second turn {two:.0f} ms to the first text", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("checkpoint", nargs="?", help="for transformers")
    parser.add_argument("--turns", action="store_true", help="measure the prefix cache")
    parser.add_argument("--dtypes", default="int8,fp32")
    parser.add_argument("--transformers", metavar="PYTHON", help="an interpreter that has transformers[serving]")
    parser.add_argument("--llama", metavar="PYTHON", help="an interpreter that has llama-cpp-python[server]")
    parser.add_argument("--gguf", help="for llama.cpp")
    parser.add_argument("--clients", default="1,8")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=32)
    given = parser.parse_args()
    (turns if given.turns else compare)(given)


if __name__ == "__main__":
    main()
