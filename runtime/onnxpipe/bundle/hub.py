"""Find the folder of a model: a local one as it is, or the needed files of a Hub repository."""

from __future__ import annotations

import glob
import os
import posixpath
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, Unpack

from onnxpipe.bundle.external import data_locations
from onnxpipe.bundle.files import inside
from onnxpipe.bundle.foreign import foreign, foreign_file
from onnxpipe.bundle.hub_options import HubKeywords, HubOptions
from onnxpipe.bundle.layout import Need, choice_of, data_files, has_weights, needed_graphs, side_files
from onnxpipe.bundle.places import CONFIGS, MAIN, Located, Place, below, locate
from onnxpipe.bundle.precision import AUTO_ORDER, Precisions
from onnxpipe.errors import BundleError, ModelNotFoundError, NotExportedError, PrecisionError

#: Seconds to wait for the Hub to tell what a repository holds.
TIMEOUT = 10.0

#: The precisions that the exporter makes.
_EXPORTED = frozenset({"fp32", "fp16", "int8", "q8", "q4"})

#: How many folders deep the files of a model may lie, and how many files are looked through.
_DEPTH = 3
_MOST_FILES = 10_000


def fetch(
    model: str | os.PathLike[str],
    *,
    need: Need = "model",
    dtype: Any = "auto",
    graphs: tuple[str, ...] | None = None,
    place: Place | None = None,
    **hub: Unpack[HubKeywords],
) -> Path:
    """Find the folder of a model: the one named, or the Hub cache's after downloading missing files.

    Args:
        model: a folder, or a Hub id ("owner/name"). A name that looks like a path (./x, ~/x, a\\b) is never
            looked up on the Hub.
        need: "config", "tokenizer", "processor" (of images or videos), or "model": all of it with the graphs of one
            precision.
        dtype: that precision, or one for each graph (see `Precisions.of`); "auto" takes the fullest one.
        graphs: names of the graphs; None for those that the model needs (`needed_graphs`).
        place: what the user said of where the graphs are.
        **hub: how to reach the Hub, see `HubKeywords`.

    Raises:
        ModelNotFoundError: no such folder, repository, revision or file, no permission, or no connection.
        NotExportedError: the repository has weights but no ONNX graph. (A folder is returned as it is.)
        PrecisionError: it has graphs, but none of this precision.
        BundleError: a downloaded graph is damaged or hostile.
        UnknownArgumentError: a keyword that is not one of `HubKeywords`.
    """
    options = HubOptions.only(hub, "fetch")
    folder = local_folder(model)
    if folder is not None:
        return folder / _config_home(listing(folder)) if need == "config" else folder
    request = _Request(str(model), need, Precisions.of(dtype), graphs, place or Place(), options)
    return _from_cache(request, None) if is_offline(options) else _from_hub(request)


def listing(folder: Path) -> list[str]:
    """List the files in a folder and those in it, relative, with "/"; sorted. No file of a model lies deeper than
    `_DEPTH` folders; of the folders behind links only those in `folder` itself are entered."""
    names: list[str] = []
    level = [("", folder)]
    for depth in range(_DEPTH + 1):
        deeper = []
        for prefix, place in level:
            for entry in place.iterdir():
                name = f"{prefix}{entry.name}"
                if entry.is_file():
                    names.append(name)
                elif not entry.name.startswith(".") and entry.is_dir() and not (depth and entry.is_symlink()):
                    deeper.append((f"{name}/", entry))
            if len(names) > _MOST_FILES:  # not the folder of a model: a home directory, perhaps
                return sorted(names)
        level = deeper
    return sorted(names)


def split_file(model: str | os.PathLike[str], place: Place | None = None) -> tuple[str, Place | None]:
    """Split the path to an .onnx file into the model's folder and the place of the file in it; any other name stays."""
    text = os.fspath(model)
    path = Path(text).expanduser() if text.endswith(".onnx") and "\0" not in text and len(text) < 4096 else None
    if path is None or not path.is_file():
        return text, place
    near = [path.parent, *path.parent.parents][: _DEPTH + 1]
    root = next((one for one in near if any((one / name).is_file() for name in CONFIGS)), path.parent)
    return str(root), replace(place or Place(), file_name=path.relative_to(root).as_posix())


def broken_links(folder: Path) -> list[str]:
    """List the links in a model's folder, and in its folders, whose files are gone, relative, with "/"; sorted."""
    inner = [place for place in folder.iterdir() if place.is_dir()]
    links = [path for place in (folder, *inner) for path in place.iterdir() if path.is_symlink()]
    return sorted(path.relative_to(folder).as_posix() for path in links if not path.exists())


def check_found(where: str, names: Sequence[str], located: Located, broken: Sequence[str] = ()) -> NoReturn:
    """Raise the error for a folder or repository in which no graph was found.

    Args:
        where: what the user called it.
        names: its files.
        located: what was found.
        broken: links in it whose files are gone.

    Raises:
        ModelNotFoundError: graphs lie in several folders, or there is no model at all; the message says what there is.
        NotExportedError: there are weights; the message has the command that exports them.
    """
    if located.folders:
        raise ModelNotFoundError(
            f"{where} has graphs in several folders: pass subfolder=, one of {', '.join(located.folders)}"
        )
    if any(name.endswith(".onnx") for name in broken):
        raise ModelNotFoundError(
            f"{where} has links to files that are gone, {', '.join(broken)}: the download did not end, or the cache "
            "was cleaned. Download the model again"
        )
    if has_weights(names):
        raise not_exported(where)
    what = foreign(names)
    if what:
        raise ModelNotFoundError(f"{where} is {what}")
    raise ModelNotFoundError(f"{where} has neither ONNX graphs nor weights: a model has model.onnx or onnx/model.onnx")


def not_exported(model: str) -> NotExportedError:
    """Make the error for a model that has weights and no graph, with the command that exports it."""
    return NotExportedError(
        f"{model} has weights but no ONNX graph. Export it once, on a machine with PyTorch "
        f'(pip install "onnxpipe[export]"): onnxpipe export {model} -o DIR'
    )


@dataclass(frozen=True)
class _Request:
    repo: str
    need: Need
    dtype: Precisions
    graphs: tuple[str, ...] | None
    place: Place
    hub: HubOptions

    @property
    def where(self) -> str:
        return f"{self.repo} (revision {self.hub.revision})" if self.hub.revision else self.repo


def local_folder(model: str | os.PathLike[str]) -> Path | None:
    """Find the folder that `model` names, or None if it can only be a Hub id."""
    text = os.fspath(model)
    if "\0" in text or not text:
        raise ModelNotFoundError(f"model={text!r} is neither a folder nor a Hub id")
    path, short = Path(text).expanduser(), text if len(text) < 200 else f"{text[:200]}..."
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        found = None
    except (OSError, ValueError) as error:  # a name that is too long, a folder that may not be entered
        raise ModelNotFoundError(f"model={short!r} cannot be looked up: {error.__class__.__name__}: "
                                 f"{getattr(error, 'strerror', None) or error}") from None  # fmt: skip
    if found is not None and stat.S_ISDIR(found.st_mode):
        return path
    if found is not None and stat.S_ISREG(found.st_mode):
        raise ModelNotFoundError(f"{path} is {foreign_file(path.name)}")
    if text.startswith(("http://", "https://")):
        name = "/".join(text.split("?")[0].split("/")[3:5])
        raise ModelNotFoundError(f"model={short!r} is an address: pass the Hub id, model={name!r}, or a folder")
    like_a_path = text.startswith((".", "/", "~")) or "\\" in text or text.count("/") > 1 or path.is_absolute()
    if like_a_path or not isinstance(model, str):
        raise ModelNotFoundError(f"no folder {path} (a Hub id has the form owner/name)")
    return None


def is_offline(hub: HubOptions) -> bool:
    """Whether the network may not be asked: by the options, or by HF_HUB_OFFLINE."""
    from huggingface_hub import constants

    return hub.local_files_only or bool(constants.HF_HUB_OFFLINE)


def _from_hub(request: _Request) -> Path:
    from huggingface_hub import HfApi
    from huggingface_hub import errors as hub

    # The errors of its HTTP library without a connection: the parents of the Hub's own HTTP error.
    no_answer = (*hub.HfHubHTTPError.__bases__, hub.HfHubHTTPError, OSError)
    try:
        info = HfApi(token=request.hub.token).model_info(request.repo, revision=request.hub.revision, timeout=TIMEOUT)
    except hub.HFValidationError as error:
        raise ModelNotFoundError(f"{request.repo!r} is neither a folder here nor a Hub id: {error}") from None
    except hub.GatedRepoError as error:
        raise ModelNotFoundError(
            f"{request.where} is gated: accept its terms at its page on the Hub, then log in (hf auth login) or pass "
            "token="
        ) from error
    except hub.RepositoryNotFoundError as error:
        raise ModelNotFoundError(
            f"no folder {request.repo!r} here and no such model on the Hub; if it is private, log in "
            "(hf auth login) or pass token="
        ) from error
    except hub.RevisionNotFoundError as error:
        raise ModelNotFoundError(f"the Hub's {request.repo} has no revision {request.hub.revision!r}") from error
    except no_answer as error:
        return _from_cache(request, error)
    names = [file.rfilename for file in info.siblings or ()]
    home, chosen = _choose_graphs(request, names)
    wanted = [*(posixpath.join(home, name) for name in side_files(below(names, home), request.need)), *chosen]
    for graph in chosen:
        wanted += data_files(graph, names)
    if request.need == "config" and not any(posixpath.join(home, name) in names for name in CONFIGS):
        raise ModelNotFoundError(f"the Hub's {request.where} has no config.json")
    folder = _download(request, wanted, info.sha)
    more = [name for name in _data_of(folder, chosen) if name not in wanted]
    absent = [name for name in more if name not in names]
    if absent:
        raise BundleError(f"{request.where}: its graph has weights in {', '.join(absent)}, which the Hub does not have")
    folder = _download(request, [*wanted, *more], info.sha) if more else folder
    return folder / home if request.need == "config" else folder


def _download(request: _Request, names: list[str], commit: str | None) -> Path:
    from huggingface_hub import errors as hub
    from huggingface_hub import snapshot_download

    cached = _cached_folder(request, names, commit)
    if cached is not None:
        return cached
    try:
        folder = snapshot_download(
            request.repo,
            revision=request.hub.revision,
            token=request.hub.token,
            cache_dir=request.hub.cache_folder,
            allow_patterns=[glob.escape(name) for name in names],
        )
    except (hub.HfHubHTTPError, hub.LocalEntryNotFoundError) as error:
        raise ModelNotFoundError(f"{request.where} could not be downloaded from the Hub: {error}") from error
    return Path(folder)


def _cached_folder(request: _Request, names: list[str], commit: str | None) -> Path | None:
    """Find the snapshot's folder, if all files of this commit are there: then one request to the Hub was enough."""
    from huggingface_hub import try_to_load_from_cache

    folder = None
    for name in names:
        path = try_to_load_from_cache(
            request.repo, name, cache_dir=request.hub.cache_folder, revision=request.hub.revision or "main"
        )
        if not isinstance(path, str):
            return None
        folder = Path(path[: -len(name)])
    # By the name of a branch the cache finds the commit it last saw, which may be older than the Hub's.
    return folder if folder is not None and folder.name == commit else None


def _from_cache(request: _Request, cause: BaseException | None) -> Path:
    from huggingface_hub import errors as hub
    from huggingface_hub import snapshot_download

    why = (
        f"the Hub did not answer ({type(cause).__name__}: {cause})"
        if cause
        else "access to the network is switched off"
    )
    try:
        # No pattern fits, so nothing but the folder is looked up.
        folder = Path(
            snapshot_download(
                request.repo,
                revision=request.hub.revision,
                cache_dir=request.hub.cache_folder,
                local_files_only=True,
                allow_patterns=[],
            )
        )
    except hub.HFValidationError as error:
        raise ModelNotFoundError(f"{request.repo!r} is neither a folder here nor a Hub id: {error}") from None
    except hub.LocalEntryNotFoundError:
        raise ModelNotFoundError(
            f"{request.where} is neither a folder here nor in the Hub's cache, and {why}. "
            "Load it once with a connection"
        ) from cause
    names = listing(folder)
    try:
        home, chosen = _choose_graphs(request, names)
    except PrecisionError as error:
        raise PrecisionError(f"{error} (in the cache, since {why})") from cause
    without = request.need != "model" and not any(posixpath.join(home, name) in names for name in CONFIGS)
    absent = ["config.json"] if without else []
    absent += [name for name in _data_of(folder, chosen) if not (folder / name).is_file()]
    if absent:
        raise ModelNotFoundError(f"the Hub's cache has no {', '.join(absent)} of {request.where}, and {why}") from cause
    return folder / home if request.need == "config" else folder


def _choose_graphs(request: _Request, names: list[str]) -> tuple[str, list[str]]:
    """Choose the folder of the model's small files, and the graphs; relative to the repository."""
    if request.need != "model":
        return (_config_home(names) if request.need == "config" else ""), []
    located = locate(names, request.place)
    available = located.graphs
    if not available:
        check_found(request.where if located.folders else request.repo, names, located)
    chosen = []
    request.dtype.check(available, request.where)
    for graph in request.graphs or needed_graphs(available):
        choice = choice_of(graph, available, request.dtype)
        if choice is None:
            raise no_precision(request.where, graph, request.dtype.wanted(graph), available, foreign(names))
        chosen.append(posixpath.join(located.home, available[graph][choice.precision]))
    return located.home, chosen


def _config_home(names: Sequence[str]) -> str:
    """Find the folder of the config: the root, unless only a folder with graphs has one."""
    return "" if set(CONFIGS) & set(names) else locate(names).home


def no_precision(where: str, graph: str, wanted: str, available: Any, what: str = "") -> PrecisionError:
    """Make the error for a graph that is missing, or not in the requested precision; it lists those available.

    Args:
        where: the folder or repository.
        graph: the graph's name.
        wanted: its precision.
        available: graph name to precisions.
        what: what else the folder holds, see `foreign`.
    """
    if graph not in available:
        named = ". Name one with model_file_name=, or its file with file_name=" if graph == MAIN else ""
        is_what = f". It is {what}" if what else named
        return PrecisionError(f"{where} has no graph {graph!r}; it has {', '.join(sorted(available))}{is_what}")
    has = ", ".join(sorted(available[graph], key=AUTO_ORDER.index))
    export = f", or export it: onnxpipe export MODEL --precision {wanted} -o DIR" if wanted in _EXPORTED else ""
    return PrecisionError(
        f"{where} has no graph {graph!r} with dtype={wanted!r}; it has {has}. Choose one of these{export}"
    )


def _data_of(folder: Path, graphs: list[str]) -> list[str]:
    """List the files that hold the graphs' weights, relative to `folder`."""
    return [
        posixpath.normpath(posixpath.join(posixpath.dirname(graph), location))
        for graph in graphs
        for location in data_locations(inside(folder, graph))
    ]
