"""`onnxpipe bench`: time a model on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxpipe.cli import machine
from onnxpipe.cli.guard import OutputFile, device_argument, device_option, traceback_option
from onnxpipe.cli.terminal import echo, printable
from onnxpipe.errors import PrecisionError

if TYPE_CHECKING:
    from onnxpipe.bundle import Bundle
    from onnxpipe.cli.bench.run import Plan

_BATCHES = "1,2,4,8,16,32"


@dataclass(frozen=True)
class NumberList(click.ParamType):  # type: ignore[type-arg]
    """A list of numbers, separated by commas."""

    kind: type
    least: float
    name = "list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert the text of an option."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(self.kind(part) for part in str(value).split(",") if part.strip())
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers, such as 1,2,4", param, ctx)
        if not numbers or min(numbers) < self.least:
            self.fail(f"{value!r}: each number must be at least {self.least:g}", param, ctx)
        return tuple(dict.fromkeys(numbers))


class _Bench(click.Command):
    """A command whose first word may be `serve`: then it is another one, for servers."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the arguments; see click."""
        if args[:1] != ["serve"]:
            return super().make_context(info_name, args, parent, **extra)
        from onnxpipe.cli.bench.serve import command as load_server

        return load_server.make_context(f"{info_name} serve", args[1:], parent, **extra)


@click.command("bench", cls=_Bench, short_help="Time a model on this machine.")
@click.argument("model")
@click.option("--task", help="Task to time; by default the first that the model is for.")
@click.option("--dtype", "dtypes", help="Comma-separated precisions; by default all in the folder.")
@click.option(
    "--threads", type=NumberList(int, 1), metavar="N,N", help="Numbers of threads; by default all that there are."
)
@device_option
@click.option("--input", "given", help="Text, path or JSON to answer; by default the task's example, or synthetic.")
@click.option("-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="Parameter of the task. Repeatable.")
@click.option("--batch", "batches", type=NumberList(int, 1), default=_BATCHES, show_default=True, metavar="N,N",
              help="Sizes of batches.")  # fmt: skip
@click.option("--rate", "rates", type=NumberList(float, 0.001), metavar="N,N",
              help="Calls a second that arrive at random; by default half of what the model answers.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="How often all is measured.")
@click.option("--seconds", type=click.FloatRange(0.05), default=2.0, show_default=True, help="Of one measurement.")
@click.option("-o", "--output", type=OutputFile(), metavar="FILE",
              help="JSON file to write.")  # fmt: skip
@click.option("--html", type=OutputFile(), metavar="FILE",
              help="HTML page with plots to write (needs matplotlib: the extra plots).")  # fmt: skip
@click.option("--compare", type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="FILE",
              help="Earlier JSON: mark what changed by more than it varies.")  # fmt: skip
@traceback_option
def command(
    model: str,
    task: str | None,
    dtypes: str | None,
    threads: tuple[int, ...] | None,
    device: str | None,
    given: str | None,
    params: tuple[str, ...],
    batches: tuple[int, ...],
    rates: tuple[float, ...] | None,
    rounds: int,
    seconds: float,
    output: Path | None,
    html: Path | None,
    compare: Path | None,
) -> None:
    """Time MODEL, a folder: its cold start, a call alone and as calls arrive, batches, and its peak memory.

    Each setting runs in a process of its own, and they take turns. `onnxpipe bench serve URL` loads a server instead:
    see its --help.

    \b
    onnxpipe bench M --dtype fp32,int8 --threads 1,2 -o before.json --html before.html
    onnxpipe bench M --dtype fp32,int8 --threads 1,2 --compare before.json
    """
    from onnxpipe.bundle import open_bundle
    from onnxpipe.cli.bench.figures import Benchmark, table
    from onnxpipe.cli.bench.run import measure

    before = Benchmark.read(compare) if compare else None
    folder = Path(model).expanduser()
    if not folder.is_dir():
        raise click.BadParameter(f"{model} is not a folder: export or download it first", param_hint="MODEL")
    plan = make_plan(
        open_bundle(folder), model, task=task, dtypes=dtypes, threads=threads, devices=(device,), given=given,
        params=params, batches=batches, rates=rates, rounds=rounds, seconds=seconds,
    )  # fmt: skip
    about = {"model": folder.resolve().name, "task": plan.task, **_about()}
    benchmark = measure(plan, about, lambda line: echo(printable(line), err=True))
    for line in table(benchmark, before):
        echo(printable(line))
    if output is not None:
        benchmark.save(output)
    if html is not None:
        from onnxpipe.cli.bench.page import write_page

        write_page(html, benchmark, before)


def make_plan(
    bundle: Bundle,
    model: str,
    *,
    task: str | None,
    dtypes: str | None,
    threads: tuple[int, ...] | None,
    devices: tuple[str | None, ...],
    given: str | None,
    params: tuple[str, ...],
    batches: tuple[int, ...],
    rates: tuple[float, ...] | None,
    rounds: int,
    seconds: float,
) -> Plan:
    """Make the plan of a benchmark from the options of a command.

    Raises:
        click.UsageError: no task, or parameters that it does not have.
        PrecisionError: a precision that the folder does not have.
        ValueError: the task needs an input.
    """
    from onnxpipe.bundle.layout import needed_graphs
    from onnxpipe.cli.bench.inputs import sample
    from onnxpipe.cli.bench.run import Plan
    from onnxpipe.cli.run.params import parse_params
    from onnxpipe.engine.threads import available_threads
    from onnxpipe.tasks.registry import check_task, task_spec

    if task is None and not bundle.tasks:
        raise click.UsageError(f"{model} does not say what it is for: pass --task")
    name = check_task(task or bundle.tasks[0])[0]
    spec = task_spec(name)
    named = [each.strip() for each in dtypes.split(",") if each.strip()] if dtypes else None
    graphs = needed_graphs(bundle.graphs)
    for dtype in named or ():
        for graph in graphs:
            bundle.choose(graph, dtype)  # refuses, before the others are timed, a precision that is not there
    chosen = named or [each for each in _precisions(bundle, graphs) if _has(bundle, graphs, each)]
    keywords = parse_params(params, spec.pipeline.Options)
    sample(spec, given, keywords)  # refuses here what no worker could make
    return Plan(
        str(Path(model).expanduser().resolve()), task or name, [device_argument(device) for device in devices], given,
        keywords, chosen, threads or (available_threads(),), batches, rates or (), rounds, seconds,
    )  # fmt: skip


def _precisions(bundle: Bundle, graphs: Iterable[str]) -> Iterable[str]:
    """List the precisions of graphs, each once."""
    return dict.fromkeys(precision for graph in graphs for precision in bundle.graphs[graph])


def _has(bundle: Bundle, graphs: Iterable[str], dtype: str) -> bool:
    """Whether all graphs are there in a precision, or in one that stands in for it."""
    try:
        return all(bundle.choose(graph, dtype) for graph in graphs)
    except PrecisionError:
        return False


def _about() -> dict[str, Any]:
    """Describe the machine and the versions."""
    from importlib.metadata import version

    from onnxpipe._version import __version__
    from onnxpipe.engine.runtime import import_onnxruntime

    return {
        "processor": machine.cpu_model(),
        "cores": machine.affinity(),
        "instructions": ", ".join(machine.cpu_features()),
        "onnxpipe": __version__,
        "onnxruntime": import_onnxruntime().__version__,
        "tokenizers": version("tokenizers"),
    }
