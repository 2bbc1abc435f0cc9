"""`onnxpipe verify`: check that the files are those of the export, and their answers those of the original."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxpipe.cli.guard import (
    describe,
    device_argument,
    device_option,
    hub_options,
    run_timeout_option,
    traceback_option,
)
from onnxpipe.cli.run.plain import megabytes
from onnxpipe.cli.terminal import echo, json_text, printable

if TYPE_CHECKING:
    from onnxpipe.bundle import Bundle
    from onnxpipe.bundle.proof import Golden
    from onnxpipe.engine import Session

_UNVERIFIED = (
    "no golden.npz, so there are no answers to compare with. Folders of other exporters have none; "
    "onnxpipe export writes one"
)
#: Outputs whose largest element is a decision; of features it means nothing.
_DECISIONS = frozenset({"logits", "class_queries_logits", "start_logits", "end_logits"})


@dataclass(frozen=True)
class FileCheck:
    """The files of a bundle compared with bundle.json.

    Attributes:
        checked: how many are as bundle.json lists them.
        size: their bytes.
        problems: one line for each file that differs.
        unlisted: files that bundle.json does not list.
        absent: listed files of precisions that were not downloaded.
    """

    checked: int = 0
    size: int = 0
    problems: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


@dataclass(frozen=True)
class GraphCheck:
    """The answers of one graph compared with the original's.

    Attributes:
        graph, precision: which graph file.
        provider: the execution provider with the highest priority.
        cases: how many inputs were run.
        difference: from the original's answers, by the names of `onnxpipe.bundle.proof.Difference`.
        agreement: share of decisions that equal the original's; None for features.
        tolerance: the limits of the difference.
        faults: the limits that are exceeded, in words.
    """

    graph: str
    precision: str
    provider: str = ""
    cases: int = 0
    difference: Mapping[str, float] = field(default_factory=dict)
    agreement: float | None = None
    tolerance: Mapping[str, float] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageCheck:
    """A short run of an image generator, compared with the images that diffusers made.

    Attributes:
        precision: of the graph that denoises.
        device: where it ran.
        difference: by the names of `onnxpipe.bundle.image_proof.ImageDifference`.
        tolerance: the limits of the difference.
        faults: the limits that are exceeded, in words.
    """

    precision: str
    device: str = ""
    difference: Mapping[str, float] = field(default_factory=dict)
    tolerance: Mapping[str, float] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


@click.command("verify", short_help="Verify a model on this machine.")
@click.argument("model")
@click.option("--dtype", help="Precision to check; by default all in the folder.")
@device_option
@click.option("--provider", "providers", multiple=True, help="ONNX Runtime provider, instead of --device. Repeatable.")
@run_timeout_option
@hub_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--with", "where_else", type=click.Choice(["node"]), help="Print a script that verifies it there instead."
)
@traceback_option
@click.pass_context
def command(
    ctx: click.Context,
    model: str,
    dtype: str | None,
    device: str | None,
    providers: tuple[str, ...],
    run_timeout: float | None,
    revision: str | None,
    token: str | None,
    cache_dir: str | None,
    offline: bool,
    as_json: bool,
    where_else: str | None,
) -> None:
    """Verify on this machine that MODEL (a folder or a Hub id) answers as its PyTorch original does.

    Every file's size and sha256 are compared with bundle.json; then the inputs in golden.npz are run and compared with
    the answers of the original, and an image generator makes an image of its prompt. Exit code 1 if anything differs or
    there is nothing to compare with: 0 means "verified here", so that a build can rely on it.

    With --with node nothing is run: a script for Node is printed that runs the same inputs with onnxruntime-node.
    """
    from onnxpipe.bundle import fetch, open_bundle
    from onnxpipe.engine import parse_device

    where = parse_device(device_argument(device))
    folder = fetch(
        model, dtype=dtype or "auto", revision=revision, token=token, cache_dir=cache_dir, local_files_only=offline
    )
    bundle = open_bundle(folder)
    if where_else is not None:
        if as_json or device or providers or run_timeout is not None:
            raise click.UsageError("--with prints a script: leave out --json, --device, --provider and --run-timeout")
        from onnxpipe.cli import verify_node

        echo(verify_node.script(bundle, dtype))
        return
    files = check_files(bundle, complete=Path(model).expanduser().is_dir())
    proved = (bundle.folder / "golden.npz").is_file()
    graphs = list(check_graphs(bundle, dtype, where, providers, run_timeout)) if proved else []
    images = list(check_images(bundle, dtype, where, providers, run_timeout)) if proved else []
    faults = [*files.problems, *(check.faults for check in graphs), *(check.faults for check in images)]
    ok = bool(graphs) and not any(faults)
    if as_json:
        document = {"model": model, "ok": ok, "verified": bool(graphs), "files": asdict(files),
                    "graphs": [asdict(graph) for graph in graphs],
                    "images": [asdict(check) for check in images]}  # fmt: skip
        echo(json_text(document, indent=2))
    else:
        for line in (
            *_file_lines(bundle, files),
            *_graph_lines(graphs),
            *_image_lines(images),
            "ok" if ok else "FAILED",
        ):
            echo(printable(line))
    ctx.exit(0 if ok else 1)


def check_files(bundle: Bundle, complete: bool) -> FileCheck:
    """Compare the files with bundle.json.

    Args:
        bundle: the opened folder.
        complete: whether all listed files should be here; of a Hub model only one precision is downloaded.
    """
    if bundle.manifest is None:
        return FileCheck()
    listed: Mapping[str, Any] = bundle.manifest["files"]
    checked, size, problems, absent = 0, 0, [], []
    for name, entry in sorted(listed.items()):
        if not complete and not (bundle.folder / name).exists():
            absent.append(name)
            continue
        try:
            bundle.verify_file(bundle.folder / name)
        except (ValueError, OSError) as error:
            problems.append(describe(error))
        else:
            checked += 1
            size += entry["size"]
    here = (path.relative_to(bundle.folder).as_posix() for path in sorted(bundle.folder.rglob("*")) if path.is_file())
    unlisted = [name for name in here if name not in listed and name != "bundle.json" and not name.startswith(".")]
    return FileCheck(checked, size, tuple(problems), tuple(unlisted), tuple(absent))


def check_graphs(
    bundle: Bundle,
    dtype: str | None,
    device: Any,
    providers: Sequence[str] = (),
    run_timeout: float | None = None,
    threads: int | None = None,
) -> Iterator[GraphCheck]:
    """Run the cases of golden.npz for every graph and precision (or the one `dtype`) and compare the answers.

    With the settings of a pipeline that has loaded a graph already it is not loaded again.
    """
    from onnxpipe.bundle.proof import read_golden
    from onnxpipe.engine import open_session

    opener = partial(
        open_session, root=bundle.folder, device=device, providers=list(providers) or None, run_timeout=run_timeout,
        threads=threads,
    )  # fmt: skip
    cases = read_golden(bundle.folder)
    for graph in bundle.graphs:
        own_cases = [case for case in cases if case.graph == graph]
        files = [bundle.choose(graph, dtype)] if dtype else list(bundle.graphs[graph].items())
        for precision, path in files:
            yield _check_graph(bundle, graph, precision, path, own_cases, opener)


def check_images(
    bundle: Bundle, dtype: str | None, device: Any, providers: Sequence[str], run_timeout: float | None = None
) -> Iterator[ImageCheck]:
    """Repeat the short run of an image generator in golden.npz, in every precision (or the one `dtype`)."""
    from onnxpipe.bundle.diffusion_folder import denoiser_of
    from onnxpipe.bundle.image_proof import RUN
    from onnxpipe.bundle.proof import read_golden

    denoiser = denoiser_of(bundle.graphs)
    runs = [case for case in read_golden(bundle.folder) if case.graph == RUN]
    certified = (bundle.certificate or {}).get("images")
    if denoiser is None or not runs or (isinstance(certified, Mapping) and "repeated" not in certified):
        return  # the last: saved with another scheduler than it was certified with
    precisions = [bundle.choose(denoiser, dtype)[0]] if dtype else list(bundle.graphs[denoiser])
    keywords = {"device": device, "providers": list(providers) or None, "run_timeout": run_timeout}
    for precision in precisions:
        for run in runs:
            try:
                yield _repeat(bundle, precision, run, keywords)
            except (ValueError, OSError, RuntimeError, TypeError) as error:
                yield ImageCheck(precision, faults=(describe(error),))


def _repeat(bundle: Bundle, precision: str, golden: Golden, keywords: Mapping[str, Any]) -> ImageCheck:
    from onnxpipe.bundle import HubOptions
    from onnxpipe.bundle.image_proof import certified_image_tolerance, compare_images
    from onnxpipe.models.loading import Target
    from onnxpipe.tasks.image_generation.loading import LoadOptions, load_diffusion_model
    from onnxpipe.tasks.image_generation.short_run import ShortRun, repeat

    entries = (bundle.certificate or {}).get("images")
    entries = entries if isinstance(entries, Mapping) else {}
    run = ShortRun.of(entries.get("repeated"), golden.inputs)
    options = LoadOptions(Target(precision, **keywords), HubOptions(), low_memory=False, parts={})
    model = load_diffusion_model(bundle.folder, options, run.mode)
    difference = compare_images(golden.outputs["images"], repeat(model, run))
    tolerance = certified_image_tolerance(precision, entries.get(precision))
    limits = {name: limit for name, limit in asdict(tolerance).items() if limit is not None}
    return ImageCheck(precision, str(model.device), asdict(difference), limits, tuple(tolerance.faults(difference)))


def _check_graph(
    bundle: Bundle,
    graph: str,
    precision: str,
    path: Path,
    cases: Sequence[Golden],
    opener: Callable[[Path], Session],
) -> GraphCheck:
    if not cases:
        return GraphCheck(graph, precision, faults=("golden.npz has no case for it",))
    try:
        return _compare(opener(path), graph, precision, cases, bundle.certified(graph, precision))
    except (ValueError, OSError, RuntimeError) as error:
        return GraphCheck(graph, precision, cases=len(cases), faults=(describe(error),))


def _compare(session: Session, graph: str, precision: str, cases: Sequence[Golden], entry: Any) -> GraphCheck:
    from onnxpipe.bundle.proof import Difference, agreement, certified_tolerance, compare, scales

    differences, agreements = [], []
    scale = scales((case.outputs, case.inputs.get("attention_mask")) for case in cases)
    for case in cases:
        outputs = session.run({name: array for name, array in case.inputs.items() if name in session.inputs})
        mask = case.inputs.get("attention_mask")
        differences.append(compare(case.outputs, outputs, mask, scale))
        decided = {name for name, array in case.outputs.items() if name in _DECISIONS and array.shape[-1] > 1}
        if decided:
            agreements.append(agreement(case.outputs, outputs, mask, decided))
    worst = Difference.worst(differences)
    agreed = sum(agreements) / len(agreements) if agreements else None
    tolerance = certified_tolerance(precision, entry)
    return GraphCheck(
        graph,
        precision,
        session.providers[0],
        len(cases),
        asdict(worst),
        agreed,
        {name: value for name, value in asdict(tolerance).items() if value is not None},
        tuple(tolerance.faults(worst, agreed)),
    )


def _file_lines(bundle: Bundle, files: FileCheck) -> Iterator[str]:
    if bundle.manifest is None:
        yield "files: no bundle.json, so there is nothing to compare them with"
        return
    verdict = f"{len(files.problems)} FAILED" if files.problems else "ok"
    yield f"files: {verdict}, {files.checked} as in bundle.json, {megabytes(files.size)}"
    yield from (f"  {problem}" for problem in files.problems)
    if files.absent:
        yield f"  not downloaded: {', '.join(files.absent)}"
    if files.unlisted:
        yield f"  not in bundle.json: {', '.join(files.unlisted)}"


def _graph_lines(graphs: Sequence[GraphCheck]) -> Iterator[str]:
    for graph in graphs:
        yield f"{graph.graph} {graph.precision}: {'FAILED' if graph.faults else 'ok'}, {_measured(graph)}"
        yield from (f"  {fault}" for fault in graph.faults)
    if not graphs:
        yield f"not verified: {_UNVERIFIED}"


def _image_lines(images: Sequence[ImageCheck]) -> Iterator[str]:
    for check in images:
        line = f"image from the prompt {check.precision}: {'FAILED' if check.faults else 'ok'}"
        if check.difference:
            limits = [f"{label} {check.tolerance[name]:g}" for name, label in _LIMITS if name in check.tolerance]
            apart = f"{check.difference['grey']:.2f} grey levels, {check.difference['psnr']:.1f} dB"
            line += f" on {check.device}, {apart} from the original's (has to be {', '.join(limits)})"
        yield line
        yield from (f"  {fault}" for fault in check.faults)


#: The limits of images, in words.
_LIMITS = (("grey", "<="), ("psnr", ">="))


def _measured(check: GraphCheck) -> str:
    if not check.difference:
        return f"{check.cases} cases"
    parts = [f"{check.cases} cases on {check.provider}"]
    for name, label, sign in (
        ("max_relative", "relative difference", "<="),
        ("cosine_min", "lowest cosine", ">="),
        ("cosine_mean", "mean cosine", ">="),
    ):
        limit = check.tolerance.get(name)
        value = f"{check.difference[name]:.2e}" if name == "max_relative" else f"{check.difference[name]:.6f}"
        parts.append(f"{label} {value}" + (f" (has to be {sign} {limit:g})" if limit is not None else ""))
    if check.agreement is not None:
        parts.append(f"same decision {check.agreement:.1%}")
    return ", ".join(parts)
