"""`onnxpipe tune`: measure a bundle's precisions and threads on this machine, and remember the best."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxpipe.cli.bench.command import NumberList
from onnxpipe.cli.guard import device_argument, traceback_option
from onnxpipe.cli.terminal import echo, printable

if TYPE_CHECKING:
    from onnxpipe.bundle import Bundle
    from onnxpipe.cli.bench.figures import Benchmark

_SAME = 1.03
"""Settings whose medians are within this factor are equally fast: of these the one with the least memory is taken."""


class Amount(click.ParamType):  # type: ignore[type-arg]
    """A number with a unit that may be left out.

    Args:
        unit: "%" or "ms".
        factor: what a number with the unit is multiplied with.
        allowed: tells whether a number, after that, makes sense.
        range: says so in words.
    """

    def __init__(self, unit: str, factor: float, allowed: Callable[[float], bool], range: str) -> None:
        self.unit, self.factor, self.name = unit, factor, f"number{unit}"
        self.allowed, self.range = allowed, range

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Convert the text of an option."""
        if isinstance(value, float):
            return value
        text = str(value).strip()
        named = text.endswith(self.unit)
        try:
            number = float(text.removesuffix(self.unit)) * (self.factor if named else 1)
        except ValueError:
            number = math.nan
        if not self.allowed(number):
            self.fail(f"{value!r} is not a number {self.range}, such as 20{self.unit}", param, ctx)
        return number


_SHARE = Amount("%", 0.01, lambda share: 0 <= share <= 1, "from 0% to 100%")
_TIME = Amount("ms", 1, lambda time: 0 < time < math.inf, "above 0")


@dataclass(frozen=True)
class Candidate:
    """A setting and what it costs.

    Attributes:
        name: the setting's.
        device, dtype, threads: what it is.
        median, p95: milliseconds of a call.
        memory: MB at most; 0 where the system does not say.
        drop: the share of decisions that are not the original's, by the certificate, or on another device than the CPU
            by golden.npz; of features 1 - cosine; None where they do not say, or the device's answers are not right.
    """

    name: str
    device: str
    dtype: str
    threads: int
    median: float
    p95: float
    memory: float
    drop: float | None

    def dominates(self, other: Candidate) -> bool:
        """Whether it is nowhere worse than another, and somewhere better."""
        if self.drop is None or other.drop is None:
            return False
        mine, its = (self.median, self.memory, self.drop), (other.median, other.memory, other.drop)
        return all(a <= b for a, b in zip(mine, its)) and mine != its


@click.command("tune", short_help="Measure what is fastest on this machine, and remember it.")
@click.argument("model")
@click.option("--task", help="Task to time; by default the first that the model is for.")
@click.option("--input", "given", help="Text, path or JSON to answer; by default the task's example, or synthetic.")
@click.option("-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="Parameter of the task. Repeatable.")
@click.option("--threads", type=NumberList(int, 1), metavar="N,N", help="Numbers of threads; by default 1 and all.")
@click.option("--device", "devices", default="cpu", show_default=True, metavar="NAME,NAME",
              help="Devices to measure: cpu, cuda, or an installed execution provider, as openvino.")  # fmt: skip
@click.option("--max-drop", type=_SHARE, default="1%", show_default=True, metavar="SHARE",
              help="The largest share of decisions that may differ from the original's, by the certificate; on other "
                   "devices than the CPU by golden.npz.",
              )  # fmt: skip
@click.option("--p95", type=_TIME, metavar="TIME", help="The longest time of 95 calls of 100, e.g. 20ms.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="How often all is measured.")
@click.option("--seconds", type=click.FloatRange(0.05), default=1.0, show_default=True, help="Of one measurement.")
@click.option("--forget", is_flag=True, help="Forget the choice, and measure nothing.")
@traceback_option
def command(
    model: str,
    task: str | None,
    given: str | None,
    params: tuple[str, ...],
    threads: tuple[int, ...] | None,
    devices: str,
    max_drop: float,
    p95: float | None,
    rounds: int,
    seconds: float,
    forget: bool,
) -> None:
    """Measure the precisions of MODEL, a folder of onnxpipe export, with several numbers of threads, on devices.

    The fastest setting that keeps --max-drop and --p95 is stored in onnxpipe's cache, and pipeline() takes it from then
    on wherever dtype, threads and device are not passed. Of settings marked * no other is faster, smaller and as exact.
    """
    from onnxpipe.bundle import open_bundle
    from onnxpipe.cli.bench.command import make_plan
    from onnxpipe.cli.bench.run import measure
    from onnxpipe.engine import parse_device
    from onnxpipe.engine.threads import available_threads
    from onnxpipe.models.tuning import Tuning, place_of, this_machine, write_tuning

    bundle = open_bundle(Path(model).expanduser())
    place = place_of(bundle)
    if place is None:
        raise click.UsageError(f"{model} has no bundle.json: only what onnxpipe exported can be tuned")
    if forget:
        place.unlink(missing_ok=True)
        echo(f"{model}: dtype=auto takes the fullest precision")
        return
    numbers = threads or tuple(sorted({1, available_threads()}))
    named = tuple(dict.fromkeys(str(parse_device(device_argument(each.strip()))) for each in devices.split(",")))
    plan = make_plan(
        bundle, model, task=task, dtypes=None, threads=numbers, devices=named, given=given, params=params, batches=(),
        rates=None, rounds=rounds, seconds=seconds,
    )  # fmt: skip
    benchmark = measure(plan, {}, lambda line: echo(printable(line), err=True), alone_only=True)
    found = list(candidates(benchmark, bundle, dict(plan.settings())))
    for line in _table(found):
        echo(printable(line))
    best = choose(found, max_drop, p95)
    if best is None:
        limit = f" and 95 calls of 100 within {p95:g} ms" if p95 is not None else ""
        raise click.ClickException(f"no setting keeps a drop of at most {max_drop:.2%}{limit}: nothing was changed")
    measured = {"median_ms": best.median, "p95_ms": best.p95, "memory_mb": best.memory}
    write_tuning(bundle, Tuning(best.dtype, best.threads, this_machine(), measured, best.device))
    echo(printable(f"{model}: dtype=auto takes {best.name} from now on, by {place}"))


def candidates(benchmark: Benchmark, bundle: Bundle, settings: Mapping[str, Mapping[str, Any]]) -> Iterator[Candidate]:
    """Make the candidates from what was measured."""
    for name, figures in benchmark.settings.items():
        setting = settings[name]
        device, dtype = setting["device"], setting["dtype"]
        yield Candidate(
            name,
            device,
            dtype,
            setting["threads"],
            statistics.median(figures["alone, p50 (ms)"]),
            statistics.median(figures["alone, p95 (ms)"]),
            statistics.median(figures.get("peak memory (MB)", [0.0])),
            drop(bundle, dtype) if device == "cpu" else measured_drop(bundle, dtype, device),
        )


def measured_drop(bundle: Bundle, dtype: str, device: str) -> float | None:
    """Run golden.npz on a device: the share of decisions that are not the original's there; of features 1 - cosine.

    The certificate is the CPU's: another provider may compute in fewer bits. None where the answers are out of the
    certificate's tolerance, or nothing can be compared.
    """
    from onnxpipe.cli.verify import check_graphs
    from onnxpipe.engine import parse_device

    if not (bundle.folder / "golden.npz").is_file():
        return None
    worst = 0.0
    for check in check_graphs(bundle, dtype, parse_device(device)):
        if check.faults or not check.difference:
            return None
        agreed = check.difference["cosine_mean"] if check.agreement is None else check.agreement
        worst = max(worst, 1.0 - agreed)
    return worst


def drop(bundle: Bundle, dtype: str) -> float | None:
    """Read from the certificate which share of decisions is not the original's in a precision; of features 1 - cosine.

    The worst of the model's graphs counts. None if the certificate does not say.
    """
    graphs = (bundle.certificate or {}).get("graphs")
    worst: float | None = None
    for graph, entries in graphs.items() if isinstance(graphs, Mapping) else ():
        if graph not in bundle.graphs:
            continue
        entry = entries.get(bundle.choose(graph, dtype)[0]) if isinstance(entries, Mapping) else None
        if not isinstance(entry, Mapping):
            return None
        agreed = entry.get("decision_agreement")
        agreed = entry.get("cosine_mean") if agreed is None else agreed
        if agreed is None:
            return None
        worst = max(worst or 0.0, 1.0 - float(agreed))
    return worst


def choose(found: Sequence[Candidate], max_drop: float, p95: float | None) -> Candidate | None:
    """Choose the fastest candidate within the limits; of equally fast ones that with the least memory."""
    allowed = [
        each for each in found if each.drop is not None and each.drop <= max_drop and (p95 is None or each.p95 <= p95)
    ]
    if not allowed:
        return None
    fastest = min(each.median for each in allowed)
    return min(
        (each for each in allowed if each.median <= _SAME * fastest), key=lambda each: (each.memory, each.median)
    )


def _table(found: Sequence[Candidate]) -> Iterator[str]:
    yield f"  {'setting':<22} {'median':>9} {'p95':>9} {'memory':>9} {'drop':>8}"
    for each in sorted(found, key=lambda each: each.median):
        mark = " " if any(other.dominates(each) for other in found) else "*"
        share = "unknown" if each.drop is None else f"{each.drop:.2%}"
        yield f"{mark} {each.name:<22} {each.median:>6.2f} ms {each.p95:>6.2f} ms {each.memory:>6.0f} MB {share:>8}"
