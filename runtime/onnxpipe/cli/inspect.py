"""`onnxpipe inspect`: what a model folder or Hub repository holds, without loading it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click

from onnxpipe.cli.guard import describe, hub_options, traceback_option
from onnxpipe.cli.run.plain import megabytes, printable
from onnxpipe.cli.run.streaming import TEXT_KEYS

#: A name with a layer's number in it: past_key_values.3.key.
_NUMBERED = re.compile(r"([a-z_]+\.)(\d+)(\.[a-z_.]+)")


@dataclass(frozen=True)
class GraphFile:
    """One graph of one precision.

    Attributes:
        path: relative to the folder.
        size: bytes, its external data included.
        inputs, outputs: their names; None where neither bundle.json nor the graph (if it is not here) tells.
    """

    path: str
    size: int
    inputs: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Inspection:
    """What is known of a model.

    Attributes:
        model: as it was named.
        folder: where its small files lie.
        tasks: what it answers, best first.
        architecture, model_type: from its config.
        labels: how many labels a classifier has.
        graphs: graph name to precision to file.
        files: every file and its size in bytes.
        source: model and revision that it was exported from.
        versions: of what exported it.
        onnxruntime: versions it was proved on.
        certificate: certificate.json.
    """

    model: str
    folder: str
    tasks: tuple[str, ...]
    architecture: str | None
    model_type: str | None
    labels: int | None
    graphs: dict[str, dict[str, GraphFile]]
    files: dict[str, int]
    source: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)
    onnxruntime: str | None = None
    certificate: dict[str, Any] | None = None


@click.command("inspect")
@click.argument("model")
@hub_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@traceback_option
def command(
    model: str, revision: str | None, token: str | None, cache_dir: str | None, offline: bool, as_json: bool
) -> None:
    """Show what MODEL (a folder or a Hub id) holds: tasks, graphs, files, proof. No graph is downloaded."""
    hub = {"revision": revision, "token": token, "cache_dir": cache_dir, "local_files_only": offline}
    found = look(model, hub)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2, ensure_ascii=False))
    else:
        for line in _lines(found):
            click.echo(printable(line))


def look(model: str, hub: Mapping[str, Any]) -> Inspection:
    """What is known of a model.

    Raises:
        ModelNotFoundError, BundleError.
    """
    from onnxpipe.bundle import Config, fetch

    folder = fetch(model, need="config", **hub)
    files = _files_here(folder)
    if not Path(model).expanduser().is_dir() and not hub["local_files_only"]:
        folder, files = _files_on_hub(model, hub, folder, files)
    config, manifest = Config.from_folder(folder), _json(folder, "bundle.json") or {}
    told = config.to_dict()
    architectures = told.get("architectures") or [None]
    return Inspection(
        model=model,
        folder=str(folder),
        tasks=_tasks(manifest, config, "modules.json" in files),
        architecture=architectures[0],
        model_type=told.get("model_type"),
        labels=config.num_labels if "id2label" in told or "num_labels" in told else None,
        graphs=_graphs(folder, files, manifest),
        files=files,
        source=manifest.get("source") or {},
        versions=manifest.get("versions") or {},
        onnxruntime=manifest.get("onnxruntime"),
        certificate=_json(folder, "certificate.json"),
    )


def _json(folder: Path, name: str) -> dict[str, Any] | None:
    from onnxpipe.bundle.files import read_json

    return read_json(folder / name) if (folder / name).is_file() else None


def _tasks(manifest: Mapping[str, Any], config: Any, has_modules: bool) -> tuple[str, ...]:
    from onnxpipe.bundle.tasks import infer_tasks

    return tuple(map(str, manifest.get("tasks") or ())) or infer_tasks(config, has_modules)


def _files_here(folder: Path) -> dict[str, int]:
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.stat().st_size for name, path in paths.items() if not name.startswith(".")}


def _files_on_hub(
    model: str, hub: Mapping[str, Any], folder: Path, files: dict[str, int]
) -> tuple[Path, dict[str, int]]:
    """The small files of a repository, downloaded, and the sizes of all."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        info = HfApi(token=hub["token"]).model_info(model, revision=hub["revision"], files_metadata=True)
        snapshot = snapshot_download(
            model,
            revision=hub["revision"],
            token=hub["token"],
            cache_dir=hub["cache_dir"],
            allow_patterns=["config.json", "bundle.json", "certificate.json", "modules.json"],
        )
    except (*HfHubHTTPError.__bases__, HfHubHTTPError, OSError) as error:
        click.echo(f"warning: the Hub did not answer ({describe(error)}): this is what its cache has", err=True)
        return folder, files
    sizes = {entry.rfilename: entry.size or 0 for entry in info.siblings or ()}
    return Path(snapshot), dict(sorted(sizes.items()))


def _graphs(folder: Path, files: Mapping[str, int], manifest: Mapping[str, Any]) -> dict[str, dict[str, GraphFile]]:
    from onnxpipe.bundle.layout import data_files, graph_files

    declared = manifest.get("graphs") or {}
    graphs: dict[str, dict[str, GraphFile]] = {}
    for graph, precisions in graph_files(files).items():
        for precision, path in precisions.items():
            size = files[path] + sum(files[name] for name in data_files(path, files))
            entry = declared.get(graph, {}).get(precision) or _read_names(folder, path)
            graphs.setdefault(graph, {})[precision] = GraphFile(
                path, size, _names(entry.get("inputs")), _names(entry.get("outputs"))
            )
    return graphs


def _read_names(folder: Path, path: str) -> dict[str, Any]:
    """The inputs and outputs of a graph that bundle.json does not describe, from the graph itself if it is here."""
    from onnxpipe.engine import open_session, parse_device
    from onnxpipe.errors import MissingDependencyError

    if not (folder / path).is_file():
        return {}
    try:
        session = open_session(folder / path, root=folder, device=parse_device("cpu"))
    except MissingDependencyError:
        return {}
    return {"inputs": list(session.inputs), "outputs": list(session.outputs)}


def _names(given: Any) -> tuple[str, ...] | None:
    return tuple(map(str, given)) if isinstance(given, list) else None


def _lines(found: Inspection) -> Iterator[str]:
    yield found.model
    rows = {
        "tasks": ", ".join(found.tasks) or "unknown: name one when you run it",
        "architecture": " ".join(filter(None, (found.architecture, found.model_type and f"({found.model_type})"))),
        "labels": str(found.labels) if found.labels and not set(found.tasks) & TEXT_KEYS.keys() else "",
        "source": " at revision ".join(filter(None, (found.source.get("model"), found.source.get("revision")))),
        "exported by": ", ".join(f"{name} {version}" for name, version in found.versions.items()),
        "onnxruntime": found.onnxruntime or "",
    }
    yield from (f"  {name:<13} {text}" for name, text in rows.items() if text)
    yield "graphs"
    width = max((13, *map(len, found.graphs)))
    for graph, precisions in found.graphs.items():
        for precision, file in precisions.items():
            yield f"  {graph:<{width}} {precision:<6} {megabytes(file.size):>10}  {file.path}"
            if file.inputs is not None and file.outputs is not None:
                yield f"    {', '.join(_brief(file.inputs))} -> {', '.join(_brief(file.outputs))}"
    if not found.graphs:
        yield f"  none: onnxpipe export {found.model} -o FOLDER makes one"
    yield "proof"
    yield from (f"  {line}" for line in certificate_lines(found.certificate))
    graph_paths = {file.path for each in found.graphs.values() for file in each.values()}
    others = [name for name in found.files if name not in graph_paths]
    yield f"files         {len(found.files)}, {megabytes(sum(found.files.values()))}"
    yield from (f"  {megabytes(found.files[name]):>10}  {name}" for name in others)


def _brief(names: Sequence[str]) -> Iterator[str]:
    """The names, those that differ in one number only (a cache's layers) as one: present.0-5.key."""
    numbered: dict[tuple[str, str], list[int]] = {}
    for name in names:
        found = _NUMBERED.fullmatch(name)
        if found:
            numbered.setdefault((found[1], found[3]), []).append(int(found[2]))
    for name in names:
        found = _NUMBERED.fullmatch(name)
        if not found:
            yield name
        elif layers := numbered.pop((found[1], found[3]), None):
            yield f"{found[1]}{layers[0]}-{layers[-1]}{found[3]}" if len(layers) > 1 else name


def certificate_lines(certificate: Mapping[str, Any] | None) -> Iterator[str]:
    """A certificate in a few lines."""
    if certificate is None:
        yield "unproved: no certificate"
        return
    reference = certificate.get("reference") or {}
    against = ", ".join(f"{name} {value}" if name != "library" else str(value) for name, value in reference.items())
    yield f"against {against or 'an unnamed reference'}"
    yield f"on {certificate.get('machine', 'an unnamed machine')}, {certificate.get('created', 'at an unknown time')}"
    tokenizer = certificate.get("tokenizer") or {}
    if tokenizer:
        yield f"tokenizer: {tokenizer.get('texts')} texts, {tokenizer.get('mismatches')} differ"
    for graph, precisions in (certificate.get("graphs") or {}).items():
        for precision, entry in precisions.items():
            yield f"{graph} {precision} on {entry.get('provider')}: {_proof(entry)}"
    for precision, entry in (certificate.get("generation") or {}).items():
        yield f"generates {precision}: {_generation(entry)}"


def _proof(entry: Mapping[str, Any]) -> str:
    parts = ["passed" if entry.get("passed") else "FAILED", f"{entry.get('cases')} cases of {entry.get('rows')} rows"]
    for name, label in (("max_relative_difference", "relative difference"), ("cosine_min", "cosine at least"),
                        ("batch_invariance", "alone or in a batch")):  # fmt: skip
        if isinstance(entry.get(name), (int, float)):
            parts.append(f"{label} {entry[name]:.3g}" if name != "cosine_min" else f"{label} {entry[name]:.6f}")
    if isinstance(entry.get("decision_agreement"), (int, float)):
        parts.append(f"same decision {entry['decision_agreement']:.2%}")
    return ", ".join(parts)


def _generation(entry: Mapping[str, Any]) -> str:
    searches = entry.get("searches") or {}
    return ", ".join(
        f"{name} {found.get('equal_rows')} of {found.get('rows')} outputs the same" for name, found in searches.items()
    )
