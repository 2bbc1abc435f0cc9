"""`onnxpipe bench serve`: load a server, whichever program it is, and report how it bears it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxpipe.cli.guard import OutputFile, traceback_option
from onnxpipe.cli.terminal import echo, printable
from onnxpipe.errors import OnnxPipeError

if TYPE_CHECKING:
    from onnxpipe.cli.bench.load import Loaded


@click.command("serve", short_help="Load a server.")
@click.argument("url")
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=20.0, show_default=True,
              help="Requests a second, which come at random times.")  # fmt: skip
@click.option("--connections", type=click.IntRange(1), metavar="N",
              help="Instead: N connections, each of which sends its next request when the last was answered.",
              )  # fmt: skip
@click.option("--duration", type=click.FloatRange(0, min_open=True), default=10.0, show_default=True,
              help="Seconds of each load.")  # fmt: skip
@click.option("--objective", type=click.FloatRange(0, min_open=True), metavar="MS",
              help="Look for the highest rate at which 99 of 100 requests are answered within MS milliseconds.",
              )  # fmt: skip
@click.option("--body", default='{"inputs": "{text}"}', show_default=True, metavar="JSON",
              help="What is posted; {text} becomes 8 to 28 words.")  # fmt: skip
@click.option("--key", envvar="ONNXPIPE_API_KEY", metavar="KEY",
              help="Sent as Authorization: Bearer; safer: ONNXPIPE_API_KEY in the environment.")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=60.0, show_default=True,
              help="Seconds after which a request has failed.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the words and the times.")
@click.option("-o", "--output", type=OutputFile(), metavar="FILE",
              help="JSON file to write.")  # fmt: skip
@traceback_option
def command(
    url: str,
    rate: float,
    connections: int | None,
    duration: float,
    objective: float | None,
    body: str,
    key: str | None,
    timeout: float,
    seed: int,
    output: Path | None,
) -> None:
    """Load the server at URL, whose path is the one that is asked, and report latencies and statuses.

    A request's latency counts from the time at which it was due: a server that falls behind shows it, while requests
    that wait for the answer before them would be fewer.

    \b
    onnxpipe bench serve http://127.0.0.1:8000 --rate 50 --duration 30
    onnxpipe bench serve http://127.0.0.1:8000/predict --objective 50
    """
    from onnxpipe.cli.bench.load import HttpTarget, Load, check_body, highest_rate

    if connections is not None and objective is not None:
        raise click.UsageError("--objective looks for a rate: leave --connections out")
    check_body(body)
    loads: list[dict[str, Any]] = []

    def load(now: float) -> Loaded:
        """Load the server once, with connections of its own."""
        one = Load(HttpTarget(url, key, timeout).send, body, seed)
        found = asyncio.run(one.open(now, duration) if connections is None else one.closed(connections, duration))
        head: dict[str, Any] = {"rate": now} if connections is None else {"connections": connections}
        (name, number), *_ = head.items()
        loads.append({**head, **found.document()})
        echo(printable(f"{name} {number:g}: {found}"))
        if not found.works:
            raise OnnxPipeError(f"{url} answered no request with 200: check the URL, its path, --body and --key")
        return found

    document: dict[str, Any] = {"url": url, "duration": duration, "loads": loads}
    if objective is None:
        load(rate)
    else:
        best = highest_rate(load, rate, objective)
        document |= {"objective (ms)": objective, "highest rate (1/s)": best}
        echo(f"the highest rate whose 99th percentile is within {objective:g} ms: {best:.1f} requests a second")
    if output is not None:
        output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
