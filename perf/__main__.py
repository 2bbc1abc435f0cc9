"""Compare onnxpipe with its peers, and write the tables of docs/benchmarks.md.

    python -m perf setup all            # an environment a peer, from the lists of versions in perf/peers
    python -m perf prepare              # exports and conversions, once
    python -m perf run [--workload minilm,decode] [--peer openvino] [--rounds 7]
    python -m perf table                # docs/benchmarks.md from perf/results/*.json

Data: ONNXPIPE_TEST_MODELS and ONNXPIPE_TEST_DATA name the folders of checkpoints and of labelled data;
ONNXPIPE_PERF_CACHE the one of environments and conversions (default `.cache/peers`). docs/benchmarks.md says more.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from perf import environments, table
from perf.measure import Plan, chosen, measure
from perf.models import Models
from perf.turns import ROOT, THREADS
from perf.workloads import WORKLOADS, Workload, samples

RESULTS = ROOT / "perf" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"


def main() -> None:
    """Run the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    setup = commands.add_parser("setup", help="make environments of peers")
    setup.add_argument("names", nargs="+", choices=["all", *environments.names()])
    setup.set_defaults(do=_setup)
    for name, do, words in (
        ("prepare", _prepare, "export and convert the models"), ("run", _run, "time, compare, write JSON")
    ):  # fmt: skip
        command = commands.add_parser(name, help=words)
        command.add_argument("--workload", type=_list, default=None, help="names, with commas between")
        command.add_argument("--peer", type=_peers, default=None, help="modules of perf/peers, with commas between")
        command.add_argument("--bundles", type=Path, help="bundles by the names of their models, instead of exporting")
        command.set_defaults(do=do)
    command.add_argument("--rounds", type=int, default=Plan.rounds)
    command.add_argument("--seconds", type=float, default=Plan.seconds, help="of a workload, after three rounds")
    command.add_argument("--pause", type=float, default=Plan.pause, help="seconds before each turn")
    command.add_argument("--threads", type=int, default=THREADS)
    command.add_argument("--json", type=Path, help="default perf/results/PROCESSOR.json")
    writer = commands.add_parser("table", help="write the tables of docs/benchmarks.md")
    writer.add_argument("results", nargs="*", type=Path, help="default perf/results/*.json")
    writer.add_argument("--page", type=Path, default=PAGE)
    writer.set_defaults(do=_table)
    args = parser.parse_args()
    args.do(args)


def _list(value: str) -> list[str]:
    return value.split(",")


def _peers(value: str) -> list[str]:
    known = {name.split()[0] for workload in WORKLOADS for name in workload.participants}
    unknown = set(value.split(",")) - known - {"none"}
    if unknown:
        raise argparse.ArgumentTypeError(f"no peer {', '.join(unknown)}: {', '.join(sorted(known))}; none for onnxpipe")
    return value.split(",")


def _setup(args: argparse.Namespace) -> None:
    wanted = environments.names() if "all" in args.names else args.names
    print("\n".join(f"left out: {name}" for name in wanted if not environments.setup(name)), end="")


def _workloads(args: argparse.Namespace) -> list[Workload]:
    known = {workload.name: workload for workload in WORKLOADS}
    unknown = [name for name in args.workload or () if name not in known]
    if unknown:
        raise SystemExit(f"no workload {', '.join(unknown)}: {', '.join(known)}")
    return [known[name] for name in args.workload or known]


def _models(args: argparse.Namespace) -> Models:
    try:
        found = samples()
    except LookupError:
        found = {}
    return Models(args.bundles and args.bundles.resolve(), found)


def _prepare(args: argparse.Namespace) -> None:
    models = _models(args)
    for workload in _workloads(args):
        for name in chosen(workload, Plan(models, peers=args.peer)):
            peer, precision = name.split()
            try:
                environments.python(peer)
                folder = models.folder(peer, workload.task, workload.model, precision)
                print(f"{workload.name}, {name}: {folder}", flush=True)
            except LookupError as error:
                print(f"{workload.name}, {name}: {error}", flush=True)


def _run(args: argparse.Namespace) -> None:
    plan = Plan(_models(args), args.rounds, args.seconds, args.pause, args.threads, args.peer)
    rows = []
    for workload in _workloads(args):
        began = time.perf_counter()
        try:
            row = measure(workload, plan).document()
        except LookupError as error:
            print(f"{workload.name}: {error}", flush=True)
            continue
        rows.append(row)
        print(f"\n{workload.name}, {time.perf_counter() - began:.0f} s\n{table.details([row])}\n", flush=True)
    print(table.summary(rows))
    document = {"machine": _machine(args.threads), "date": f"{datetime.date.today():%Y-%m-%d}", "commit": _commit(),
                "rounds": args.rounds, "versions": _versions(rows), "rows": rows}  # fmt: skip
    name = re.sub(r"\W+", "-", document["machine"]["processor"].lower()).strip("-")
    target = args.json or RESULTS / f"{name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    print(f"\n{target}; python -m perf table writes docs/benchmarks.md")


def _versions(rows: list[dict[str, Any]]) -> dict[str, str]:
    peers = sorted({name.split()[0] for row in rows for name in row["participants"]} - {"onnxpipe", "bare"})
    return {name: environments.version(name) for name in peers}


def _commit() -> str:
    done = subprocess.run(["git", "describe", "--always"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _machine(threads: int) -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text("ascii").splitlines() if sys.platform == "linux" else []
    values = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = set(values.get("flags", "").split())
    known = ("avx2", "avx512f", "avx512vbmi", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
    return {
        "processor": values.get("model name") or platform.processor() or platform.machine(),
        "threads": threads,
        "instructions": ", ".join(name for name in known if name in flags),
    }


def _table(args: argparse.Namespace) -> None:
    paths = args.results or sorted(RESULTS.glob("*.json"))
    table.write(args.page, [json.loads(path.read_text("utf-8")) for path in paths])


if __name__ == "__main__":
    main()
