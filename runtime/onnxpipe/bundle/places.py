"""Find the graphs among the names in a folder or in a listing of a Hub repository, wherever they lie.

The folders of graphs, best first, are onnx/ (transformers.js, onnx-community, sentence-transformers) and the root
(optimum, onnxruntime-genai); a folder named as a precision, fp16/model.onnx, counts as its file's ending. Graphs in any
other folder are found by themselves where there is just one such folder, else by `subfolder=`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from onnxpipe.bundle.diffusion_folder import INDEX, component_graphs, is_diffusion_folder
from onnxpipe.bundle.genai_folder import GENAI
from onnxpipe.bundle.precision import folder_precision, split_stem
from onnxpipe.errors import ModelNotFoundError, UnsupportedError

#: The folders of graphs, best first: transformers.js and onnx-community, then optimum.
GRAPH_FOLDERS = ("onnx", "")

#: The one graph of most models, and what the graphs of all others are called; any other name is that of the one graph.
MAIN = "model"
_PARTS = frozenset({
    "audio_encoder", "audio_model", "build_delay_pattern_mask", "coarse", "decoder", "decoder_model",
    "decoder_model_merged", "decoder_postnet", "decoder_postnet_and_vocoder", "decoder_with_past_model", "embed_tokens",
    "encodec_decode", "encoder", "encoder_model", "fine", "prompt_encoder_mask_decoder", "semantic", "text_encoder",
    "text_encoder_2", "text_encoder_3", "text_model", "transformer", "unet", "vae_decoder", "vae_encoder",
    "vision_encoder", "vision_model", "vocoder",
})  # fmt: skip
#: Files that a model's tokenizer or processor is loaded from.
_COMPONENTS = frozenset(
    {"tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "preprocessor_config.json"}
)

#: Files that say of a folder what model it holds.
CONFIGS = ("config.json", INDEX, GENAI)


@dataclass(frozen=True)
class Place:
    """What the user said of where a model's graphs are; "" where nothing.

    Attributes:
        file_name: a graph's file, "model_O4.onnx" or "onnx/model_O4.onnx" (as in optimum, sentence-transformers).
        subfolder: the folder of the graphs.
        model_file_name: the main graph's name without precision and ending (as in transformers.js).
    """

    file_name: str = ""
    subfolder: str = ""
    model_file_name: str = ""

    def __bool__(self) -> bool:
        return bool(self.file_name or self.subfolder or self.model_file_name)


def place_of(**named: str | None) -> Place:
    """Make a place of keywords with its names; None and "" are the default.

    Raises:
        UnsupportedError: one is not a text, or points out of the folder.
    """
    for name, value in named.items():
        if value is not None and not isinstance(value, str):
            raise UnsupportedError(f"{name}={value!r}: pass the name as a text")
        if value and (value.startswith("/") or "\\" in value or ".." in value.split("/")):
            raise UnsupportedError(f"{name}={value!r} must lie in the model's folder: pass its name relative to that")
    if named.get("file_name") and not str(named["file_name"]).endswith(".onnx"):
        raise UnsupportedError(f"file_name={named['file_name']!r} is not the name of an .onnx file")
    return Place(**{name: value or "" for name, value in named.items()})


@dataclass(frozen=True)
class Located:
    """The graphs that were found.

    Attributes:
        home: the folder of the model's other files (config, tokenizer), relative; "" for the root.
        graphs: graph name to precision to file, relative to `home`, e.g. {"model": {"fp32": "onnx/model.onnx"}}.
        folders: where graphs lie, if they were not taken because there are several such folders.
    """

    home: str = ""
    graphs: dict[str, dict[str, str]] = field(default_factory=dict)
    folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class _File:
    path: str
    folder: str
    stem: str
    precision: str

    @classmethod
    def of(cls, path: str) -> _File:
        pure = PurePosixPath(path)
        stem, precision = split_stem(pure.stem)
        folder, named = pure.parent, folder_precision(pure.parent.name)
        if named is not None and precision == "fp32":
            folder, precision = folder.parent, named
        return cls(path, "" if str(folder) == "." else str(folder), stem, precision)


def locate(names: Iterable[str], place: Place | None = None) -> Located:
    """Find the graphs by the names in a folder; nothing is read.

    Args:
        names: relative paths with "/".
        place: what the user said of where they are.

    Raises:
        ModelNotFoundError: there is no such file or folder.
        UnsupportedError: `file_name` or `model_file_name` for a folder of components, each of which has one graph.
    """
    names, place = sorted(names), place or Place()
    subfolder = posixpath.normpath(place.subfolder.strip("/")) if place.subfolder.strip("/.") else ""
    root = subfolder if subfolder and is_diffusion_folder(below(names, subfolder)) else ""
    if is_diffusion_folder(below(names, root)):
        if place.file_name or place.model_file_name:
            raise UnsupportedError(
                "file_name= and model_file_name= are for models of one graph; this folder has a graph for each "
                "component: choose among their precisions by dtype="
            )
        return Located(root, component_graphs(below(names, root)))
    shown = [name for name in names if not posixpath.basename(name).startswith(".")]  # ._model.onnx, as macOS leaves it
    files = [_File.of(name) for name in shown if name.lower().endswith(".onnx")]
    chosen, folders = _chosen(files, place, subfolder)
    graphs: dict[str, dict[str, str]] = {}
    for file in chosen:
        graphs.setdefault(file.stem, {}).setdefault(file.precision, file.path)
    main = _main(graphs, place)
    if main is not None and main != MAIN:
        graphs = {MAIN: graphs.pop(main), **{name: paths for name, paths in graphs.items() if name != MAIN}}
    home = _home(set(names), chosen)
    inside = {
        graph: {precision: posixpath.relpath(path, home or ".") for precision, path in paths.items()}
        for graph, paths in graphs.items()
    }
    return Located(home, inside, folders)


def _chosen(files: Sequence[_File], place: Place, subfolder: str) -> tuple[list[_File], tuple[str, ...]]:
    """Choose the files by their folders; also the folders, if they are several and none was named."""
    searched = (f"{subfolder}/onnx", subfolder) if subfolder else GRAPH_FOLDERS
    if place.file_name:
        named = _named(files, place.file_name, subfolder, searched)
        same = [file for file in files if file.folder == named.folder and file.stem != named.stem]
        return [named, *same], ()
    found = [file for folder in searched for file in files if folder in (file.folder, posixpath.dirname(file.path))]
    if found:
        return found, ()
    folders = tuple(dict.fromkeys(file.folder for file in files))
    if subfolder:
        raise ModelNotFoundError(f"no graph in subfolder={subfolder!r}; {_lying(folders)}")
    if len(folders) == 1:
        return list(files), ()
    return [], folders


def _named(files: Sequence[_File], name: str, subfolder: str, searched: Sequence[str]) -> _File:
    wanted = posixpath.normpath(name)
    exact = [file for file in files if file.path in (posixpath.join(subfolder, wanted), wanted)]
    same = [file for file in files if posixpath.basename(file.path) == wanted]
    near = [file for folder in searched for file in same if file.folder == folder]
    found = [*exact, *near][:1] or same
    if len(found) == 1:
        return found[0]
    if found:
        raise ModelNotFoundError(f"file_name={name!r} is in several folders: pass subfolder=, or one of "
                                 f"{', '.join(file.path for file in found)}")  # fmt: skip
    listed = ", ".join(file.path for file in files[:20]) or "none"
    raise ModelNotFoundError(f"no graph file_name={name!r}; the graphs are {listed}")


def _main(graphs: dict[str, dict[str, str]], place: Place) -> str | None:
    """Choose the graph that stands for `MAIN`: the one that was named, or the only one, whatever its name."""
    if place.model_file_name:
        if place.model_file_name not in graphs:
            raise ModelNotFoundError(
                f"no graph model_file_name={place.model_file_name!r}; the graphs are {', '.join(sorted(graphs))}"
            )
        name: str | None = place.model_file_name
    elif place.file_name:
        name = split_stem(PurePosixPath(place.file_name).stem)[0]
    else:
        name = next(iter(graphs)) if len(graphs) == 1 else None
    return None if name is None or name in _PARTS else name


def _home(names: set[str], chosen: Sequence[_File]) -> str:
    """Find the folder of a model's other files, between the root and its graphs: with a config and a tokenizer or
    processor, else with a config, else the root."""
    if not chosen:
        return ""
    parents = [str(parent) for parent in PurePosixPath(chosen[0].path).parents]  # the last is "."
    folders = ["" if parent == "." else parent for parent in reversed(parents)]
    with_config = [folder for folder in folders if {posixpath.join(folder, one) for one in CONFIGS} & names]
    complete = [folder for folder in with_config if {posixpath.join(folder, one) for one in _COMPONENTS} & names]
    return next(iter((*complete, *with_config)), "")


def below(names: Sequence[str], folder: str) -> list[str]:
    """The names in a folder, relative to it."""
    return [name[len(folder) + 1 :] for name in names if name.startswith(f"{folder}/")] if folder else list(names)


def _lying(folders: Sequence[str]) -> str:
    return f"graphs lie in {', '.join(folder or '.' for folder in folders)}" if folders else "there is no graph"
