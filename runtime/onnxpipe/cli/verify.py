"""`onnxpipe verify`: is every file the one that was proved, and does the proof hold on this machine?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxpipe.cli.guard import describe, device_argument, hub_options, traceback_option
from onnxpipe.cli.run.plain import megabytes, printable

if TYPE_CHECKING:
    from onnxpipe.bundle import Bundle
    from onnxpipe.bundle.proof import Golden
    from onnxpipe.engine import Session

_UNPROVED = (
    "no golden.npz: there is nothing to compare answers with. Folders of other exporters have none; "
    "onnxpipe export makes a proved one"
)
#: Outputs whose largest element is a decision; of features it means nothing.
_DECISIONS = frozenset({"logits", "class_queries_logits", "start_logits", "end_logits"})


@dataclass(frozen=True)
class Files:
    """What came of the files.

    Attributes:
        checked: how many were as bundle.json has them.
        size: their bytes.
        problems: a line for each that is not.
        unlisted: files that bundle.json does not know.
        absent: listed files of precisions that were not downloaded.
    """

    checked: int = 0
    size: int = 0
    problems: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


@dataclass(frozen=True)
class Proof:
    """What came of one graph.

    Attributes:
        graph, precision: which.
        provider: the execution provider that took its nodes first.
        cases: inputs that were run.
        difference: from the original's answers, by the names of `onnxpipe.bundle.proof.Difference`.
        agreement: share of decisions that are the original's; None for features.
        tolerance: what had to hold.
        faults: what does not hold, in words.
    """

    graph: str
    precision: str
    provider: str = ""
    cases: int = 0
    difference: Mapping[str, float] = field(default_factory=dict)
    agreement: float | None = None
    tolerance: Mapping[str, float] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


@click.command("verify")
@click.argument("model")
@click.option("--dtype", help="One precision; by default all that are here.")
@click.option("--device", help="cpu, cuda, cuda:1, coreml, or an index; by default the first that works.")
@click.option("--provider", "providers", multiple=True, help="ONNX Runtime provider, instead of --device. Repeatable.")
@hub_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@traceback_option
@click.pass_context
def command(
    ctx: click.Context,
    model: str,
    dtype: str | None,
    device: str | None,
    providers: tuple[str, ...],
    revision: str | None,
    token: str | None,
    cache_dir: str | None,
    offline: bool,
    as_json: bool,
) -> None:
    """Check MODEL (a folder or a Hub id) against its own proof, on this machine.

    Every file's size and sha256 are compared with bundle.json; then the inputs in golden.npz are run and compared with
    the answers of the PyTorch original. Exit code 1 where anything differs, and where there is no proof: 0 means
    "proved here", so that a build can rely on it.
    """
    from onnxpipe.bundle import fetch, open_bundle
    from onnxpipe.engine import parse_device

    where = parse_device(device_argument(device))
    folder = fetch(
        model, dtype=dtype or "auto", revision=revision, token=token, cache_dir=cache_dir, local_files_only=offline
    )
    bundle = open_bundle(folder)
    files = check_files(bundle, complete=Path(model).expanduser().is_dir())
    proofs = list(check_graphs(bundle, dtype, where, providers)) if (folder / "golden.npz").is_file() else []
    ok = bool(proofs) and not files.problems and not any(proof.faults for proof in proofs)
    if as_json:
        document = {"model": model, "ok": ok, "proved": bool(proofs), "files": asdict(files),
                    "graphs": [asdict(proof) for proof in proofs]}  # fmt: skip
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        for line in (*_file_lines(bundle, files), *_proof_lines(proofs), "ok" if ok else "FAILED"):
            click.echo(printable(line))
    ctx.exit(0 if ok else 1)


def check_files(bundle: Bundle, complete: bool) -> Files:
    """Compares the files with bundle.json.

    Args:
        bundle: the opened folder.
        complete: whether all listed files should be here; of a Hub model only one precision is.
    """
    if bundle.manifest is None:
        return Files()
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
    return Files(checked, size, tuple(problems), tuple(unlisted), tuple(absent))


def check_graphs(bundle: Bundle, dtype: str | None, device: Any, providers: Sequence[str]) -> Iterator[Proof]:
    """Repeats the proof for every graph and precision (or the one `dtype`) that has cases."""
    from onnxpipe.bundle.proof import read_golden

    cases = read_golden(bundle.folder)
    for graph in bundle.graphs:
        mine = [case for case in cases if case.graph == graph]
        chosen = [bundle.choose(graph, dtype)] if dtype else list(bundle.graphs[graph].items())
        for precision, path in chosen:
            yield _check_graph(bundle, graph, precision, path, mine, device, providers)


def _check_graph(
    bundle: Bundle,
    graph: str,
    precision: str,
    path: Path,
    cases: Sequence[Golden],
    device: Any,
    providers: Sequence[str],
) -> Proof:
    from onnxpipe.engine import open_session

    if not cases:
        return Proof(graph, precision, faults=("golden.npz has no case for it",))
    try:
        session = open_session(path, root=bundle.folder, device=device, providers=list(providers) or None)
        return _compare(session, graph, precision, cases)
    except (ValueError, OSError, RuntimeError) as error:
        return Proof(graph, precision, cases=len(cases), faults=(describe(error),))


def _compare(session: Session, graph: str, precision: str, cases: Sequence[Golden]) -> Proof:
    from onnxpipe.bundle.proof import TOLERANCES, Difference, agreement, compare, scales

    differences, agreements = [], []
    scale = scales((case.outputs, case.inputs.get("attention_mask")) for case in cases)
    for case in cases:
        got = session.run({name: array for name, array in case.inputs.items() if name in session.inputs})
        mask = case.inputs.get("attention_mask")
        differences.append(compare(case.outputs, got, mask, scale))
        decided = {name for name, array in case.outputs.items() if name in _DECISIONS and array.shape[-1] > 1}
        if decided:
            agreements.append(agreement(case.outputs, got, mask, decided))
    worst = Difference.worst(differences)
    agreed = sum(agreements) / len(agreements) if agreements else None
    tolerance = TOLERANCES[precision]
    return Proof(
        graph,
        precision,
        session.providers[0],
        len(cases),
        asdict(worst),
        agreed,
        {name: value for name, value in asdict(tolerance).items() if value is not None},
        tuple(tolerance.faults(worst, agreed)),
    )


def _file_lines(bundle: Bundle, files: Files) -> Iterator[str]:
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


def _proof_lines(proofs: Sequence[Proof]) -> Iterator[str]:
    for proof in proofs:
        yield f"{proof.graph} {proof.precision}: {'FAILED' if proof.faults else 'ok'}, {_measured(proof)}"
        yield from (f"  {fault}" for fault in proof.faults)
    if not proofs:
        yield f"unproved: {_UNPROVED}"


def _measured(proof: Proof) -> str:
    if not proof.difference:
        return f"{proof.cases} cases"
    parts = [f"{proof.cases} cases on {proof.provider}"]
    for name, label, sign in (
        ("max_relative", "relative difference", "<="),
        ("cosine_min", "lowest cosine", ">="),
        ("cosine_mean", "mean cosine", ">="),
    ):
        limit = proof.tolerance.get(name)
        shown = f"{proof.difference[name]:.2e}" if name == "max_relative" else f"{proof.difference[name]:.6f}"
        parts.append(f"{label} {shown}" + (f" (has to be {sign} {limit:g})" if limit is not None else ""))
    if proof.agreement is not None:
        parts.append(f"same decision {proof.agreement:.1%}")
    return ", ".join(parts)
