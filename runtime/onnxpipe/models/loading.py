"""Load a model by name: find it, export it if need be, open it on a device."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from onnxpipe._version import __version__
from onnxpipe.bundle import Bundle, Config, HubOptions, Place, fetch, load_exporter, open_bundle
from onnxpipe.bundle.exporter import can_export
from onnxpipe.bundle.hub import listing, split_file
from onnxpipe.bundle.known_folders import model_config
from onnxpipe.bundle.layout import needed_graphs
from onnxpipe.bundle.precision import Precisions
from onnxpipe.bundle.timm_config import needs_timm
from onnxpipe.bundle.twins import find_stand_in, find_twin
from onnxpipe.engine import Device, Session, check_run_timeout, open_session, parse_device
from onnxpipe.errors import (
    ExportError,
    MissingDependencyError,
    ModelNotFoundError,
    NotExportedError,
    OnnxPipeError,
    PrecisionError,
    UnsupportedError,
)
from onnxpipe.models.base import Model, Opener
from onnxpipe.models.encoder import EncoderModel
from onnxpipe.models.tuning import cache_home, read_tuning

logger = logging.getLogger("onnxpipe")


#: Loads a model: from its bundle, with the opener of the graphs that it needs, under the name that the user called it.
ModelLoader = Callable[[Bundle, Opener, str], Model]


#: Why a cache cannot be written.
_CACHE_ERRORS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR})


@dataclass(frozen=True)
class Source:
    """The source of a model.

    Attributes:
        model: a folder, a Hub id, or the path to an .onnx file in its model's folder.
        hub: how to reach the Hub.
        place: what the user said of where the graphs are; None for nothing.
        config: what stands for the folder's config.json where it has none.
        onnx: "community": where a Hub repository has no graphs, its ready-made twin is taken; "default": the model is
            a task's default, so that, if the exporter is not installed, its twin is taken, or another model that stands
            in for it; None: the error names the twin.
    """

    model: str
    hub: HubOptions
    place: Place | None = None
    config: Config | None = None
    onnx: Literal["community", "default"] | None = None


@dataclass(frozen=True)
class Target:
    """The precision and the device that a model runs with.

    Attributes:
        dtype: precision, or one for each graph (see `Precisions.of`); "auto" takes the fullest one there is.
        device: see `onnxpipe.engine.parse_device`.
        providers, provider_options: ONNX Runtime's execution providers, instead of the device's.
        threads: threads of an operator; None for what the container grants.
        run_timeout: the most seconds of one run of a graph; None for no limit.
    """

    dtype: Any = "auto"
    device: Any = None
    providers: Sequence[str | tuple[str, dict[str, Any]]] | None = None
    provider_options: Sequence[dict[str, Any]] | None = None
    threads: int | None = None
    run_timeout: float | None = None


def check_onnx(onnx: object) -> Literal["community"] | None:
    """Check the argument `onnx`: "community" or None.

    Raises:
        UnsupportedError: it is something else.
    """
    if onnx not in (None, "community"):
        raise UnsupportedError(f"onnx={onnx!r}: pass 'community', or leave it out")
    return "community" if onnx else None


def find_bundle(source: Source, dtype: Any = "auto", task: str | None = None) -> Bundle:
    """Find the bundle of a model: a local folder, downloaded, or exported into the cache.

    Raises:
        NotExportedError: the model has weights only and the exporter is not installed; the message gives the command.
    """
    precisions = Precisions.of(dtype)
    try:
        return _own_bundle(source, precisions)
    except NotExportedError as error:
        twin = _twin(source)
        if twin is not None and (source.onnx == "community" or (source.onnx and not can_export())):
            return _twin_bundle(source, twin, precisions)
        if twin is not None and not can_export():
            raise NotExportedError(
                f"{error}. The Hub has it ready-made: pass onnx='community', or model={twin!r}"
            ) from None
        other = find_stand_in(source.model, source.hub) if source.onnx == "default" and not can_export() else None
        if other is not None:
            return _stand_in_bundle(source, other, precisions)
        return open_bundle(_export_to_cache(source, precisions, task, error))
    except ModelNotFoundError:  # without a connection: the cache has no more of the original than its config
        offline = replace(source.hub, local_files_only=True)
        twin = find_twin(source.model, offline) if source.onnx else None
        other = find_stand_in(source.model, offline) if source.onnx == "default" and twin is None else None
        if twin is not None:
            return _twin_bundle(source, twin, precisions)
        if other is not None:
            return _stand_in_bundle(source, other, precisions)
        raise


def _own_bundle(source: Source, precisions: Precisions) -> Bundle:
    model, place = split_file(source.model, source.place)
    bundle = open_bundle(
        fetch(model, need="model", dtype=precisions, place=place, **source.hub.keywords), place, source.config
    )
    precisions.check(bundle.graphs, source.model)
    for graph in needed_graphs(bundle.graphs):
        choice = bundle.choice(graph, precisions)
        if choice.ill_suited:
            logger.warning("%s: the graph %s is %s, %s.", source.model, graph, choice.precision, choice.why)
    return bundle


def _twin(source: Source) -> str | None:
    """Find the ready-made twin of a Hub repository; asked where it is taken, or named in an error."""
    if Path(source.model).expanduser().is_dir() or (source.onnx != "community" and can_export()):
        return None
    return find_twin(source.model, source.hub)


def _twin_bundle(source: Source, twin: str, precisions: Precisions) -> Bundle:
    """Open the twin; its labels are the original's."""
    logger.warning("%s has no ONNX graph: taking %s, the same weights made ready by the community.", source.model, twin)
    bundle = _bundle_instead(source, twin, precisions)
    original = Config.from_folder(fetch(source.model, need="config", **source.hub.keywords))
    if "id2label" in original and original.num_labels == bundle.config.num_labels:
        bundle.config.id2label = original.id2label
    return bundle


def _stand_in_bundle(source: Source, other: str, precisions: Precisions) -> Bundle:
    """Open the model that stands in for a task's default."""
    logger.warning(
        "%s has no ONNX graph, and the Hub has none of the same weights: taking %s, another model for this task, the "
        "default of transformers.js. Its answers are its own; name it with model= to settle on it.",
        source.model, other,
    )  # fmt: skip
    return _bundle_instead(source, other, precisions)


def _bundle_instead(source: Source, name: str, precisions: Precisions) -> Bundle:
    """Open another repository of the Hub, whose revisions are not those of the source."""
    return _own_bundle(replace(source, model=name, hub=replace(source.hub, revision=None), onnx=None), precisions)


@dataclass(frozen=True)
class GraphOpener:
    """Opens the graphs of a bundle, by name; a model that opens one late keeps it, in a pickle too.

    Attributes:
        bundle: the folder.
        target: where and how they run.
        device: the target's, which has been looked up.
    """

    bundle: Bundle
    target: Target
    device: Device

    def choose(self, graph: str) -> tuple[str, Path]:
        """Choose the file of a graph: its precision and path.

        Raises:
            PrecisionError: there is no such graph, or not in this precision.
        """
        return self.bundle.choose(graph, self.target.dtype)

    def on(self, device: Any) -> GraphOpener:
        """Return an opener of the same graphs on another device.

        Raises:
            DeviceError: there is no such device here.
            UnsupportedError: the graphs run on execution providers that were passed.
        """
        if self.target.providers is not None:
            raise UnsupportedError("the graphs run on the providers that were passed: load the model again")
        return replace(self, device=parse_device(device))

    def __call__(self, graph: str, lean: bool = False) -> tuple[Session, str]:
        """Open one graph: the session, and its precision.

        Args:
            graph: its name.
            lean: as for `open_session`.

        Raises:
            PrecisionError: there is no such graph, or not in this precision.
            BundleError, DeviceError: it cannot be loaded.
        """
        bundle, target = self.bundle, self.target
        precision, path = self.choose(graph)
        with ThreadPoolExecutor(1) as beside:  # hashing and loading read the file at the same time
            verified = beside.submit(bundle.verify_file, path)
            try:
                session = open_session(
                    path,
                    root=bundle.folder,
                    device=self.device,
                    providers=target.providers,
                    provider_options=target.provider_options,
                    threads=target.threads,
                    run_timeout=target.run_timeout,
                    lean=lean,
                )
            finally:
                verified.result()  # a file that is not the exported one is the cause of whatever else is wrong
        return session, precision


def load_model(
    source: Source,
    target: Target,
    task: str | None = None,
    loader: ModelLoader = EncoderModel.load,
    bundle: Bundle | None = None,
) -> Model:
    """Load a model on its device.

    Args:
        source: where it comes from.
        target: where and how it runs.
        task: what it is exported for if it has no graph yet; None for what its config names.
        loader: loads the model from its bundle.
        bundle: what `find_bundle` found already.

    Raises:
        ModelNotFoundError, NotExportedError, BundleError, PrecisionError, DeviceError.
        UnsupportedError: the model is for other tasks, or its graphs are not those that the loader needs.
    """
    device = parse_device(target.device)  # before the download, so that a mistake costs nothing
    check_run_timeout(target.run_timeout)
    bundle = bundle or find_bundle(source, target.dtype, task)
    target, device = _tuned(bundle, target, device)
    try:
        return loader(bundle, GraphOpener(bundle, target, device), source.model)
    except (PrecisionError, UnsupportedError):  # graphs are missing, or are not those that the loader needs
        if task is not None:
            bundle.check_task(task, source.model)
        raise


def _tuned(bundle: Bundle, target: Target, device: Device) -> tuple[Target, Device]:
    """Put the choice of `onnxpipe tune` in the place of what the user leaves to us."""
    ours = Precisions.of(target.dtype) == Precisions() and target.providers is None and device.type == "cpu"
    tuning = read_tuning(bundle) if ours else None
    if tuning is None or (target.device is not None and tuning.device != str(device)):
        return target, device
    threads = tuning.threads if target.threads is None else target.threads
    return replace(target, dtype=tuning.dtype, threads=threads), parse_device(tuning.device)


@contextmanager
def writing_to_cache(target: Path) -> Iterator[None]:
    """Name the setting that moves the cache where it cannot be written: read-only, full, another user's."""
    try:
        yield
    except OSError as error:
        if error.errno not in _CACHE_ERRORS or isinstance(error, OnnxPipeError):
            raise
        raise ExportError(
            f"the export could not be written to {target}: {error.strerror}. Set ONNXPIPE_CACHE to a folder that "
            "can be written and has room, or export it yourself: onnxpipe export MODEL -o DIR"
        ) from error


def _export_to_cache(source: Source, precisions: Precisions, task: str | None, reason: NotExportedError) -> Path:
    try:
        exporter = load_exporter()
    except MissingDependencyError:
        raise _with_needs(source, reason) from None
    folder = fetch(source.model, need="config", **source.hub.keywords)
    named = [precisions.default, *precisions.of_graphs.values()]
    wanted = tuple(dict.fromkeys("fp32" if name == "auto" else name for name in named))
    target = cache_home() / "exports" / _key(source, folder, "-".join(wanted), task, __version__)
    if not (target / "bundle.json").is_file():
        logger.warning("%s has no ONNX graph: exporting it to %s (once).", source.model, target)
        with writing_to_cache(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            exporter.export(source.model, target, task=task, precision=wanted, **source.hub.keywords)
    return target


def _with_needs(source: Source, reason: NotExportedError) -> NotExportedError:
    """Add to the error of a model without graphs what else its export needs."""
    try:
        more = needs_timm(model_config(fetch(source.model, need="config", **source.hub.keywords)))
    except OnnxPipeError:  # a model without a config, or a damaged one: the error says enough
        return reason
    return NotExportedError(f"{reason}. {more}") if more else reason


def _key(source: Source, folder: Path, precision: str, task: str | None, version: str) -> str:
    """A folder name that changes with the model's files, the task, the precision and the exporter."""
    files: Mapping[str, Any] = {}
    if Path(source.model).is_dir():
        stats = {name: (folder / name).stat() for name in listing(folder)}
        files = {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}
    parts = json.dumps([source.model, str(folder), files, task, version])
    name = Path(source.model).name or "model"
    return f"{name}-{task or 'auto'}-{precision}-{hashlib.sha256(parts.encode()).hexdigest()[:12]}"
