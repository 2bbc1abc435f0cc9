"""The models of `onnxpipe serve`: what was named, checked and loaded."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from onnxpipe.cli.guard import device_argument
from onnxpipe.errors import BundleError, UnknownArgumentError, UnsupportedError

_NAME = re.compile(r"[\w.-]+")


@dataclass(frozen=True)
class ModelSource:
    """A model to serve.

    Attributes:
        name: by which requests name it.
        model: its folder or Hub id.
        task: None for the one that it was exported for.
        dtype, device: as in `pipeline()`.
        workers: threads that run batches; None for what suits the task.
        threads: threads of one run; None for what suits the task.
    """

    name: str
    model: str
    task: str | None = None
    dtype: str = "auto"
    device: str | None = None
    workers: int | None = None
    threads: int | None = None


def parse_source(text: str, **common: Any) -> ModelSource:
    """Read `folder`, `name=folder`, `folder:task` or `name=folder:task`.

    Args:
        text: as it stands on the command line.
        **common: fields that hold for all models.
    """
    from onnxpipe.tasks.registry import get_supported_tasks

    head, mark, rest = text.partition("=")
    name, place = (head, rest) if mark and _NAME.fullmatch(head) else ("", text)
    folder, mark, task = place.rpartition(":")
    if mark and (task in get_supported_tasks() or task.startswith("translation_")):
        place, common = folder, {**common, "task": task}
    own = name or (Path(place).resolve().name if Path(place).expanduser().is_dir() else place)
    return ModelSource(own, place, **common)


def read_sources(path: Path, common: Mapping[str, Any]) -> list[ModelSource]:
    """Read the tables `[models.NAME]` of a TOML file.

    Raises:
        UnsupportedError: it is not TOML, or a table lacks its model.
        UnknownArgumentError: an unknown key.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UnsupportedError(f"{path} is not TOML: {error}") from error
    for name in content:
        if name != "models":
            raise UnknownArgumentError.among(str(path), name, ["models"])
    known = {each.name for each in fields(ModelSource)} - {"name"}
    found = []
    for name, table in (content.get("models") or {}).items():
        if not isinstance(table, Mapping) or "model" not in table:
            raise UnsupportedError(f'{path}: [models.{name}] needs model = "FOLDER"')
        for key in table:
            if key not in known:
                raise UnknownArgumentError.among(f"{path}: models.{name}", key, known)
        found.append(replace(ModelSource(name, "", **common), **table))
    return found


def check_names(sources: Sequence[ModelSource]) -> None:
    """Refuse two models of one name."""
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise UnsupportedError(f"two models are called {name}: name them, as in first=FOLDER second=OTHER")


def threads_of(source: ModelSource, task: type, available: int) -> tuple[int, int]:
    """Choose how many threads run batches, and how many threads one run has.

    Short texts through an encoder are served fastest by as many runs of one thread as there are processors; whatever
    generates, or reads images and sound, by one run of all of them.
    """
    from onnxpipe.tasks.base.generation import GenerationPipeline

    many = getattr(task, "input_modalities", "") == "text" and not issubclass(task, GenerationPipeline)
    workers = source.workers or (1 if not many else max(1, available // (source.threads or 1)))
    return workers, source.threads or max(1, available // workers)


def load(source: ModelSource, hub: Mapping[str, Any], *, verify: bool) -> tuple[Any, int]:
    """Load, check and warm up one model: its pipeline, and how many threads run its batches.

    Raises:
        BundleError: a file differs from what bundle.json says, or the answers from the original's.
    """
    from onnxpipe.bundle import fetch, open_bundle
    from onnxpipe.engine.threads import available_threads
    from onnxpipe.factory import pipeline
    from onnxpipe.serving.warmup import warm_up
    from onnxpipe.tasks.registry import task_spec

    available = available_threads()
    task = source.task
    if task is None:
        folder = fetch(source.model, dtype=source.dtype, **hub)
        task = next(iter(open_bundle(folder).tasks), None)
    spec = None if task is None else task_spec(task)
    workers, threads = threads_of(source, object if spec is None else spec.pipeline, available)
    pipe = pipeline(
        source.task, source.model, dtype=source.dtype, device=device_argument(source.device), threads=threads, **hub
    )
    if verify:
        _verify(source, pipe, threads)
    warm_up(pipe)
    return pipe, workers


def _verify(source: ModelSource, pipe: Any, threads: int) -> None:
    from onnxpipe.cli.verify import check_files, check_graphs

    bundle = getattr(pipe.model, "bundle", None)
    if bundle is None or getattr(bundle, "manifest", None) is None:
        return
    files = check_files(bundle, complete=False)
    problems = list(files.problems)
    if (bundle.folder / "golden.npz").is_file():
        for graph in check_graphs(bundle, source.dtype, pipe.device, threads=threads):
            problems += [f"{graph.graph} {graph.precision}: {fault}" for fault in graph.faults]
    if problems:
        raise BundleError(f"{source.model} is not what was exported: {'; '.join(problems[:3])}")
