"""A model folder, opened: its config, its graphs, its manifest and its certificate."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from onnxpipe.bundle.config import Config
from onnxpipe.bundle.external import check_external
from onnxpipe.bundle.files import has_file, inside, read_json
from onnxpipe.bundle.foreign import foreign
from onnxpipe.bundle.hub import broken_links, check_found, listing, no_precision
from onnxpipe.bundle.layout import choice_of, side_files
from onnxpipe.bundle.manifest import CHANGES_AFTER, EQUAL_LENGTHS
from onnxpipe.bundle.places import Place, locate
from onnxpipe.bundle.precision import SUFFIXES, Choice, Precisions
from onnxpipe.bundle.tasks import infer_tasks
from onnxpipe.errors import BundleError, ModelNotFoundError, UnsupportedError

#: The newest format of bundle.json and certificate.json that this version reads.
FORMAT = 1


@dataclass(frozen=True)
class Bundle:
    """A model folder whose small files were read and checked.

    Attributes:
        folder: the folder.
        config: its config.json.
        manifest: its bundle.json, or None (folders of optimum or transformers.js have none).
        certificate: its certificate.json, or None: then the graphs have not been verified.
        graphs: graph name to precision to .onnx file, e.g. `graphs["model"]["fp32"]`.
    """

    folder: Path
    config: Config
    manifest: dict[str, Any] | None
    certificate: dict[str, Any] | None
    graphs: Mapping[str, Mapping[str, Path]]

    def choose(self, graph: str, dtype: object = "auto") -> tuple[str, Path]:
        """Choose the file of a graph: its precision and path.

        Args:
            graph: the graph's name, e.g. "model".
            dtype: the precision, or one for each graph (see `Precisions.of`); "auto" takes the fullest one, "int8" and
                "q8" replace each other.

        Raises:
            PrecisionError: there is none; the message lists those available.
        """
        choice = self.choice(graph, dtype)
        return choice.precision, self.graphs[graph][choice.precision]

    def choice(self, graph: str, dtype: object = "auto") -> Choice:
        """Choose the precision of a graph, and say why; for arguments and errors see `choose`."""
        precisions = Precisions.of(dtype)
        choice = choice_of(graph, self.graphs, precisions)
        if choice is None:
            raise no_precision(str(self.folder), graph, precisions.wanted(graph), self.graphs, self.foreign)
        return choice

    @property
    def foreign(self) -> str:
        """What the folder holds that is not a graph of ours; "" if nothing is known of it."""
        return foreign(listing(self.folder))

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """Tasks the model is for, best first: the manifest's, else inferred from config.json and modules.json."""
        if self.manifest is not None and self.manifest.get("tasks"):
            return tuple(str(task) for task in self.manifest["tasks"])
        return infer_tasks(self.config, has_file(self.folder, "modules.json"))

    @property
    def pads(self) -> bool:
        """Whether rows of different lengths share batches unasked: not where padding changes the original's answers."""
        return self.manifest is None or self.manifest.get("batches") != EQUAL_LENGTHS

    @property
    def changes_after(self) -> int | None:
        """Tokens of a row beyond which the graph takes other rotary frequencies; None where nothing is known of it."""
        return None if self.manifest is None else self.manifest.get(CHANGES_AFTER)

    def certified(self, graph: str, precision: str) -> Any:
        """Return what the certificate says of a graph in a precision; None if it says nothing."""
        graphs = (self.certificate or {}).get("graphs")
        entries = graphs.get(graph) if isinstance(graphs, Mapping) else None
        return entries.get(precision) if isinstance(entries, Mapping) else None

    def check_task(self, task: str, name_or_path: str) -> None:
        """Refuse a task that the model is not for; where its tasks are unknown, nothing is refused.

        Many models can do more than their tasks say, so call this only after loading one for `task` has failed.

        Args:
            task: the requested task.
            name_or_path: what the user called the model.

        Raises:
            UnsupportedError: the model is for other tasks; the message names them.
        """
        if self.tasks and task not in self.tasks:
            raise UnsupportedError(
                f"{name_or_path} is for {', '.join(self.tasks)}, not for {task}: pass a model for {task}, "
                f"or task={self.tasks[0]!r}"
            )

    def verify_file(self, path: Path) -> None:
        """Compare a file's size and sha256 with the manifest's; for a graph, also those of its weights' files.

        Without a manifest there is nothing to compare. It reads the file once: about 0.1 s for 100 MB.

        Raises:
            BundleError: they differ, or the manifest does not list the file.
            ModelNotFoundError: no such file.
        """
        if self.manifest is None:
            return
        name = path.relative_to(self.folder).as_posix()
        listed = self.manifest["files"].get(name)
        if listed is None:
            raise BundleError(f"{path} is not in bundle.json's list of files: it was added after the export")
        _compare(inside(self.folder, name), listed)
        if path.suffix == ".onnx":
            for data in check_external(path, self.folder).values():
                self.verify_file(data)


def open_bundle(folder: str | Path, place: Place | None = None, config: Config | None = None) -> Bundle:
    """Open a model folder: read its config, manifest and certificate, and list its graphs. No graph is read.

    Args:
        folder: the folder. Where a folder in it holds graphs, config and tokenizer, the bundle is that.
        place: what the user said of where the graphs are.
        config: what stands for config.json where there is none.

    Raises:
        ModelNotFoundError: no such folder, or no model in it.
        NotExportedError: weights but no graphs; the message has the command that exports them.
        BundleError: a file is damaged, hostile or of an unknown format.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ModelNotFoundError(f"no folder {root}")
    names = listing(root)
    located = locate(names, place)
    if located.home:
        root, names = root / located.home, listing(root / located.home)
    manifest = _manifest(root) if has_file(root, "bundle.json") else None
    graphs = _listed_graphs(root, manifest) if manifest and not place else _found_graphs(root, located.graphs)
    if not graphs:
        check_found(str(root), names, located, broken_links(root))
    certificate = _json_of_format(root, "certificate.json") if has_file(root, "certificate.json") else None
    bundle = Bundle(root, Config.of_model(root, config, graphs), manifest, certificate, graphs)
    for name in side_files(names, "model"):
        if name != "bundle.json":
            bundle.verify_file(root / name)
    return bundle


def _manifest(root: Path) -> dict[str, Any]:
    manifest = _json_of_format(root, "bundle.json")
    path = root / "bundle.json"
    files = manifest.setdefault("files", {})
    _expect(isinstance(manifest.get("graphs"), dict), path, "has no object 'graphs'")
    _expect(isinstance(manifest.get("tasks", []), list), path, "has 'tasks' that is not a list")
    _expect(isinstance(files, dict), path, "has 'files' that is not an object")
    _expect(
        manifest.get("batches", EQUAL_LENGTHS) == EQUAL_LENGTHS, path, f"has 'batches' that is not {EQUAL_LENGTHS!r}"
    )
    changes = manifest.get(CHANGES_AFTER, 1)
    _expect(type(changes) is int and changes > 0, path, f"has {CHANGES_AFTER!r} that is not a count of tokens")
    for name, entry in files.items():
        complete = (
            isinstance(entry, dict)
            and isinstance(entry.get("size"), int)
            and isinstance(entry.get("sha256"), str)
            and re.fullmatch("[0-9a-f]{64}", entry["sha256"])
        )
        _expect(complete, path, f"has no size and sha256 of {name!r}")
    return manifest


def _json_of_format(root: Path, name: str) -> dict[str, Any]:
    value = read_json(root, name)
    version = value.get("format")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise BundleError(f"{root / name} has no 'format' number")
    if version > FORMAT:
        raise BundleError(
            f"{root / name} has format {version}; this onnxpipe reads up to {FORMAT}: pip install -U onnxpipe"
        )
    return value


def _expect(condition: object, path: Path, what: str) -> None:
    if not condition:
        raise BundleError(f"{path} {what}")


def _listed_graphs(root: Path, manifest: Mapping[str, Any]) -> dict[str, dict[str, Path]]:
    graphs: dict[str, dict[str, Path]] = {}
    for graph, precisions in manifest["graphs"].items():
        _expect(isinstance(precisions, dict), root / "bundle.json", f"has a graph {graph!r} that is not an object")
        for precision, entry in precisions.items():
            what = f"has a graph {graph!r}, {precision!r}"
            _expect(precision in SUFFIXES, root / "bundle.json", f"{what}, which is not a precision")
            named = isinstance(entry, dict) and isinstance(entry.get("path"), str)
            _expect(named, root / "bundle.json", f"{what}, without a path")
            _expect(entry["path"] in manifest["files"], root / "bundle.json", f"{what}, whose file it does not list")
            # of a bundle on the Hub only the chosen precision is downloaded: a listed file may be absent
            with contextlib.suppress(ModelNotFoundError):
                graphs.setdefault(graph, {})[precision] = inside(root, entry["path"])
            # the reader of graphs knows no .ort files, which ONNX Runtime tells by their name
            _expect(entry["path"].endswith(".onnx"), root / "bundle.json", f"{what}, whose file is not an .onnx graph")
    return graphs


def _found_graphs(root: Path, graphs: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, Path]]:
    return {
        graph: {precision: inside(root, name) for precision, name in files.items()} for graph, files in graphs.items()
    }


def _compare(path: Path, listed: Mapping[str, Any]) -> None:
    size = path.stat().st_size
    if size != listed["size"]:
        raise BundleError(f"{path} has {size} bytes; bundle.json says {listed['size']}: download or export it again")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != listed["sha256"]:
        raise BundleError(f"{path} is not the file that was exported (its sha256 differs): download or export it again")
