"""What is packed: a bundle's files in one precision, this package, and the packages that it needs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxpipe.errors import UnsupportedError

if TYPE_CHECKING:
    from onnxpipe.bundle import Bundle
    from onnxpipe.tasks.base.spec import TaskSpec

_EXTRA = re.compile(r"""\bextra\s*==\s*['"]([\w-]+)['"]""")
_NAME = re.compile(r"[\w.-]+")


@dataclass(frozen=True)
class Content:
    """A bundle to pack.

    Attributes:
        name: by which requests name the model.
        bundle: its folder, opened.
        task: what it answers.
        dtype: the precision of its graphs; "auto" for the fullest.
    """

    name: str
    bundle: Bundle
    task: TaskSpec
    dtype: str

    @classmethod
    def read(cls, text: str, task: str | None, name: str | None, dtype: str, hub: Mapping[str, Any]) -> Content:
        """Find a bundle, as `onnxpipe serve` names it: a folder or Hub id, `name=folder`, `folder:task`.

        Raises:
            UnsupportedError: it does not say for which task it is.
        """
        from onnxpipe.bundle import fetch, open_bundle
        from onnxpipe.cli.serve.models import parse_source
        from onnxpipe.tasks.registry import check_task, task_spec

        source = parse_source(text, task=task)
        bundle = open_bundle(fetch(source.model, dtype=dtype, **hub))
        chosen = source.task or next(iter(bundle.tasks), None)
        if chosen is None:
            raise UnsupportedError(f"{source.model} does not say what it is for: pass --task")
        found = cls(name or source.name, bundle, task_spec(check_task(chosen)[0]), dtype)
        if not re.fullmatch(r"\w[\w.-]*", found.name, re.ASCII):
            raise UnsupportedError(
                f"{found.name!r} cannot be the name of an image or a model: pass --name with letters and digits"
            )
        found.graphs()  # refuses here a precision that is not there
        return found

    def graphs(self) -> dict[str, Path]:
        """Return the graphs that it runs, each in the chosen precision."""
        from onnxpipe.bundle.layout import needed_graphs

        return {name: self.bundle.choose(name, self.dtype)[1] for name in needed_graphs(self.bundle.graphs)}

    def files(self) -> Iterator[Path]:
        """Yield the files that it runs with; of graphs only those of the chosen precision."""
        from onnxpipe.bundle.external import check_external
        from onnxpipe.bundle.files import inside
        from onnxpipe.bundle.hub import listing
        from onnxpipe.bundle.layout import side_files

        folder = self.bundle.folder
        for name in side_files(listing(folder), "model"):
            yield inside(folder, name)
        for path in self.graphs().values():
            yield path
            yield from check_external(path, folder).values()

    def copy_to(self, target: Path) -> None:
        """Copy the files to a folder, which has then the bundle's layout."""
        root = self.bundle.folder.resolve()
        for path in self.files():
            own = path.absolute()
            base = self.bundle.folder.absolute() if own.is_relative_to(self.bundle.folder.absolute()) else root
            there = target / own.relative_to(base)
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, there)


def copy_package(target: Path) -> None:
    """Copy this package's own files to a folder: it is nowhere to be downloaded from."""
    import onnxpipe

    shutil.copytree(
        Path(onnxpipe.__file__).parent, target / "onnxpipe", ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
    )


def requirements(task: TaskSpec, *more: str) -> list[str]:
    """Return the packages that a task needs, each in the version that is installed here, if it is.

    Args:
        task: the task.
        *more: extras besides those of its inputs.

    Raises:
        UnsupportedError: onnxpipe itself was not installed, so what it needs is not known.
    """
    extras = {"cpu", *more}
    if task.takes_images or task.output == "image":
        extras.add("vision")
    if task.input == "video" or task.takes_videos:
        extras |= {"vision", "video"}
    if task.input == "audio" or task.output in ("audio", "transcript"):
        extras.add("audio")
    try:
        wanted = metadata.requires("onnxpipe") or []
    except metadata.PackageNotFoundError:
        raise UnsupportedError("onnxpipe is not installed here: pip install it, so that its needs are known") from None
    found = []
    for line in wanted:
        specifier, _, marker = line.partition(";")
        extra = _EXTRA.search(marker)
        if (extra is None or extra[1] in extras) and not specifier.startswith("onnxpipe"):
            found.append(_pinned(specifier.strip()))
    return sorted(set(found), key=str.lower)


def _pinned(specifier: str) -> str:
    """Replace the bounds of a requirement by the version that is installed; without one they stay."""
    match = _NAME.match(specifier)
    assert match is not None
    try:
        return f"{match[0]}=={metadata.version(match[0])}"
    except metadata.PackageNotFoundError:
        return specifier
