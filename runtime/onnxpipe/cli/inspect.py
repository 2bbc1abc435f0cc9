"""`onnxpipe inspect`: show what a model folder or Hub repository holds, without loading the model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxpipe.cli.guard import describe, hub_options, traceback_option
from onnxpipe.cli.run.plain import megabytes
from onnxpipe.cli.terminal import echo, json_text, printable

if TYPE_CHECKING:
    from onnxpipe.bundle.places import Located
    from onnxpipe.bundle.precision import Choice

#: The files of a repository that are downloaded, if it or a folder in it has them.
_SMALL = (
    "config.json", "bundle.json", "certificate.json", "modules.json", "model_index.json", "genai_config.json"
)  # fmt: skip

#: A name with a layer's number in it: past_key_values.3.key.
_NUMBERED = re.compile(r"([a-z_]+\.)(\d+)(\.[a-z_.]+)")


@dataclass(frozen=True)
class GraphFile:
    """One graph of one precision.

    Attributes:
        path: relative to the folder.
        size: bytes, its external data included.
        inputs, outputs: their names; None where bundle.json does not list them and the graph is not here.
    """

    path: str
    size: int
    inputs: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Inspection:
    """The contents of a model folder or Hub repository.

    Attributes:
        model: the folder or Hub id that the user named.
        folder: the local folder of its small files.
        tasks: the tasks it is for, best first.
        architecture, model_type: from its config.
        labels: number of labels of a classifier.
        graphs: graph name to precision to file; where graphs lie in several folders, "FOLDER: NAME" to each.
        loads: what each dtype that loads takes on this processor: dtype to graph to precision and reason.
        ready_made: the repository of the same weights that has graphs, if this one has none.
        files: every file and its size in bytes.
        source: model and revision that it was exported from.
        versions: versions of the exporter's packages.
        onnxruntime: versions of ONNX Runtime that it was verified for.
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
    loads: dict[str, dict[str, Choice]] = field(default_factory=dict)
    ready_made: str | None = None
    source: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)
    onnxruntime: str | None = None
    certificate: dict[str, Any] | None = None


@click.command("inspect", short_help="Show what a model folder or Hub repository holds.")
@click.argument("model")
@hub_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@traceback_option
def command(
    model: str, revision: str | None, token: str | None, cache_dir: str | None, offline: bool, as_json: bool
) -> None:
    """Show what MODEL (a folder or a Hub id) holds: tasks, graphs, what each dtype takes on this processor, files,
    certificate. No graph is downloaded."""
    hub = {"revision": revision, "token": token, "cache_dir": cache_dir, "local_files_only": offline}
    inspection = inspect_model(model, hub)
    if as_json:
        echo(json_text(asdict(inspection), indent=2))
    else:
        for line in _lines(inspection):
            echo(printable(line))


def inspect_model(model: str, hub: Mapping[str, Any]) -> Inspection:
    """Collect what is known of a model.

    Raises:
        ModelNotFoundError, BundleError.
    """
    from onnxpipe.bundle import Config, HubOptions
    from onnxpipe.bundle.hub import split_file
    from onnxpipe.bundle.places import CONFIGS, locate
    from onnxpipe.bundle.twins import find_twin

    name, place = split_file(model)
    root, files = _contents(name, hub)
    located = locate(files, place)
    folder = root / located.home
    has_config = any((folder / each).is_file() for each in CONFIGS)
    config = Config.from_folder(folder) if has_config else Config({}, str(folder))
    manifest = _json(folder, "bundle.json") or {}
    values = config.to_dict()
    architectures = values.get("architectures") or [None]
    on_hub = not Path(name).expanduser().is_dir()
    return Inspection(
        model=model,
        folder=str(folder),
        tasks=_tasks(manifest, config, "modules.json" in files),
        architecture=architectures[0],
        model_type=values.get("model_type"),
        labels=config.num_labels if "id2label" in values or "num_labels" in values else None,
        graphs=_graphs(root, files, manifest, located),
        files=files,
        loads=_loads(located.graphs),
        ready_made=find_twin(name, HubOptions(**hub)) if on_hub and not any(map(_is_graph, files)) else None,
        source=manifest.get("source") or {},
        versions=manifest.get("versions") or {},
        onnxruntime=manifest.get("onnxruntime"),
        certificate=_json(folder, "certificate.json"),
    )


def _is_graph(name: str) -> bool:
    return name.endswith(".onnx")


def _contents(model: str, hub: Mapping[str, Any]) -> tuple[Path, dict[str, int]]:
    """List a folder, or a Hub repository of which only the small files are downloaded: where they are, and all files
    with their sizes."""
    from onnxpipe.bundle import HubOptions, fetch
    from onnxpipe.bundle.hub import is_offline, local_folder

    here = local_folder(model)
    if here is None and not is_offline(HubOptions(**hub)):
        found = _files_on_hub(model, hub)
        if found is not None:
            return found
    folder = here or fetch(model, need="config", **hub)
    return folder, _files_here(folder)


def _json(folder: Path, name: str) -> dict[str, Any] | None:
    from onnxpipe.bundle.files import has_file, read_json

    return read_json(folder, name) if has_file(folder, name) else None


def _tasks(manifest: Mapping[str, Any], config: Any, has_modules: bool) -> tuple[str, ...]:
    from onnxpipe.bundle.tasks import infer_tasks

    return tuple(map(str, manifest.get("tasks") or ())) or infer_tasks(config, has_modules)


def _files_here(folder: Path) -> dict[str, int]:
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.stat().st_size for name, path in paths.items() if not name.startswith(".")}


def _files_on_hub(model: str, hub: Mapping[str, Any]) -> tuple[Path, dict[str, int]] | None:
    """Download the small files of a repository and ask the Hub for the sizes of all files; None if it does not answer.

    What the Hub does answer with, where there is no such repository, is left to `fetch`.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    try:
        info = HfApi(token=hub["token"]).model_info(model, revision=hub["revision"], files_metadata=True)
        snapshot = snapshot_download(
            model,
            revision=hub["revision"],
            token=hub["token"],
            cache_dir=hub["cache_dir"],
            allow_patterns=[f"{folder}{name}" for folder in ("", "*/") for name in _SMALL],
        )
    except (GatedRepoError, HFValidationError, RepositoryNotFoundError):
        return None
    except (*HfHubHTTPError.__bases__, HfHubHTTPError, OSError) as error:
        echo(f"warning: the Hub did not answer ({describe(error)}); showing what its cache holds", err=True)
        return None
    sizes = {entry.rfilename: entry.size or 0 for entry in info.siblings or ()}
    return Path(snapshot), dict(sorted(sizes.items()))


def _graphs(
    root: Path, files: Mapping[str, int], manifest: Mapping[str, Any], located: Located
) -> dict[str, dict[str, GraphFile]]:
    """List every graph; where they lie in several folders, those of each."""
    from onnxpipe.bundle.layout import data_files
    from onnxpipe.bundle.places import Place, locate

    places = {"": located} if not located.folders else {}
    places |= {f"{folder or '.'}: ": locate(files, Place(subfolder=folder)) for folder in located.folders}
    declared = manifest.get("graphs") or {}
    graphs: dict[str, dict[str, GraphFile]] = {}
    for prefix, each in places.items():
        for graph, precisions in each.graphs.items():
            for precision, inside in precisions.items():
                path = f"{each.home}/{inside}" if each.home else inside
                size = files[path] + sum(files[name] for name in data_files(path, files))
                entry = declared.get(graph, {}).get(precision) or _read_names(root, path)
                graphs.setdefault(f"{prefix}{graph}", {})[precision] = GraphFile(
                    path, size, _names(entry.get("inputs")), _names(entry.get("outputs"))
                )
    return graphs


def _loads(graphs: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, Choice]]:
    """Find what each dtype takes, for those with which every graph loads that the model needs."""
    from onnxpipe.bundle.layout import choice_of, needed_graphs
    from onnxpipe.bundle.precision import SUFFIXES, Precisions

    loads = {}
    for dtype in ("auto", *SUFFIXES):
        chosen = {graph: choice_of(graph, graphs, Precisions.of(dtype)) for graph in needed_graphs(graphs)}
        found = {graph: choice for graph, choice in chosen.items() if choice is not None}
        if found and len(found) == len(chosen):
            loads[dtype] = found
    return loads


def _read_names(folder: Path, path: str) -> dict[str, Any]:
    """Read the inputs and outputs of a graph that bundle.json does not list from the graph itself, if it is here."""
    from onnxpipe.engine import open_session, parse_device
    from onnxpipe.errors import MissingDependencyError

    if not (folder / path).is_file():
        return {}
    try:
        session = open_session(folder / path, root=folder, device=parse_device("cpu"))
    except MissingDependencyError:
        return {}
    return {"inputs": list(session.inputs), "outputs": list(session.outputs)}


def _names(value: Any) -> tuple[str, ...] | None:
    return tuple(map(str, value)) if isinstance(value, list) else None


def _lines(model: Inspection) -> Iterator[str]:
    yield model.model
    rows = {
        "tasks": ", ".join(model.tasks) or "unknown: name one when you run it",
        "architecture": " ".join(filter(None, (model.architecture, model.model_type and f"({model.model_type})"))),
        "labels": str(model.labels) if model.labels and not _generates_text(model.tasks) else "",
        "source": " at revision ".join(filter(None, (model.source.get("model"), model.source.get("revision")))),
        "exported by": ", ".join(f"{name} {version}" for name, version in model.versions.items()),
        "onnxruntime": model.onnxruntime or "",
    }
    yield from (f"  {name:<13} {text}" for name, text in rows.items() if text)
    yield "graphs"
    width = max((13, *map(len, model.graphs)))
    for graph, precisions in model.graphs.items():
        for precision, file in precisions.items():
            yield f"  {graph:<{width}} {precision:<6} {megabytes(file.size):>10}  {file.path}"
            if file.inputs is not None and file.outputs is not None:
                yield f"    {', '.join(_brief(file.inputs))} -> {', '.join(_brief(file.outputs))}"
    if not model.graphs:
        yield f"  none: {_why_none(model)}"
        if model.ready_made:
            yield f"  ready-made: {model.ready_made} (onnx='community' takes it)"
    yield from _dtype_lines(model)
    yield "certificate"
    yield from (f"  {line}" for line in certificate_lines(model.certificate))
    graph_paths = {file.path for each in model.graphs.values() for file in each.values()}
    others = [name for name in model.files if name not in graph_paths]
    yield f"files         {len(model.files)}, {megabytes(sum(model.files.values()))}"
    yield from (f"  {megabytes(model.files[name]):>10}  {name}" for name in others)


def _why_none(model: Inspection) -> str:
    """Say of a model without graphs how one is made, or what else it is."""
    from onnxpipe.bundle.foreign import foreign
    from onnxpipe.bundle.layout import has_weights

    if has_weights(model.files):
        return f"onnxpipe export {model.model} -o FOLDER writes one"
    what = foreign(model.files)
    return f"it is {what}" if what else "and it has no weights from which one could be exported"


def _dtype_lines(model: Inspection) -> Iterator[str]:
    """Say what each dtype takes here, and why where it does not name the file itself."""
    if model.graphs and not model.loads:
        yield "dtype"
        yield "  graphs lie in several folders, or under several names: pass subfolder=, file_name= or model_file_name="
    elif model.loads:
        yield "dtype         takes on this processor"
    for dtype, graphs in model.loads.items():
        texts = [
            (f"{graph} " if len(graphs) > 1 else "")
            + choice.precision
            + (f" ({choice.why})" if choice.precision != dtype else "")
            for graph, choice in graphs.items()
        ]
        yield f"  {dtype:<19} {', '.join(texts)}"


def _generates_text(tasks: Sequence[str]) -> bool:
    """Tell whether a model generates text: the labels in its config then mean nothing."""
    from onnxpipe.tasks.registry import all_tasks

    return any(spec.text_key is not None and spec.name in tasks for spec in all_tasks())


def _brief(names: Sequence[str]) -> Iterator[str]:
    """Shorten a list of names: those that differ in one number only (a cache's layers) as one, present.0-5.key."""
    numbered: dict[tuple[str, str], list[int]] = {}
    for name in names:
        match = _NUMBERED.fullmatch(name)
        if match:
            numbered.setdefault((match[1], match[3]), []).append(int(match[2]))
    for name in names:
        match = _NUMBERED.fullmatch(name)
        if not match:
            yield name
        elif layers := numbered.pop((match[1], match[3]), None):
            yield f"{match[1]}{layers[0]}-{layers[-1]}{match[3]}" if len(layers) > 1 else name


def certificate_lines(certificate: Mapping[str, Any] | None) -> Iterator[str]:
    """Summarise a certificate in a few lines."""
    if certificate is None:
        yield "none: not verified against the original model"
        return
    reference = certificate.get("reference") or {}
    against = ", ".join(f"{name} {value}" if name != "library" else str(value) for name, value in reference.items())
    yield f"compared with {against or 'an unnamed reference'}"
    yield f"on {certificate.get('machine', 'an unnamed machine')}, {certificate.get('created', 'at an unknown time')}"
    tokenizer = certificate.get("tokenizer") or {}
    if tokenizer:
        yield f"tokenizer: {tokenizer.get('texts')} texts, {tokenizer.get('mismatches')} differ"
    for graph, precisions in (certificate.get("graphs") or {}).items():
        for precision, entry in precisions.items():
            yield f"{graph} {precision} on {entry.get('provider')}: {_comparison(entry)}"
    for precision, entry in (certificate.get("generation") or {}).items():
        yield f"generates {precision}: {_generation(entry)}"
    for precision, entry in (certificate.get("images") or {}).items():
        if isinstance(runs := entry.get("runs"), Mapping):
            apart = f"{entry.get('grey'):.3g} of 255 grey levels from the original's"
            yield f"images {precision}: {len(runs)} short runs, at most {apart}"


def _comparison(entry: Mapping[str, Any]) -> str:
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
        f"{name} {counts.get('equal_rows')} of {counts.get('rows')} outputs the same"
        for name, counts in searches.items()
    )
