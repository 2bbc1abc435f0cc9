"""Where the zoo's models and their bundles are kept between test runs.

`ONNXPIPE_TEST_CACHE` (default `<repository>/.cache/tests`) holds one folder a build, named by a hash of everything that
went into it: the zoo's code and the versions of torch and transformers for models; for bundles also the code of the
exporter. Several pytest-xdist workers may need the same folder: one builds it under a file lock, the others wait.
"""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path

from zoo import DIFFUSION, FAMILY, GENERATING, VISION_LANGUAGE, build, task_of
from zoo.audio import families as audio
from zoo.vision import families as vision

_ROOT = Path(__file__).resolve().parents[2]
_FAILED: dict[Path, Exception] = {}
"""What could not be built, so that a hundred tests do not try again."""


def cache_folder() -> Path:
    """Return the root of the cache, created if absent."""
    folder = Path(os.environ.get("ONNXPIPE_TEST_CACHE") or _ROOT / ".cache" / "tests")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cached_model(family: str, head: str) -> Path:
    """The zoo's model of `family` with `head`, built at the first call."""
    folder = cache_folder() / f"zoo-{_zoo_key(_kind(head))}" / f"{family}-{head}"
    return _once(folder, lambda target: build(family, head, target))


def cached_bundle(family: str, head: str, precisions: Iterable[str] = ("fp32",)) -> Path:
    """The same model exported with the graphs of `precisions`."""
    wanted = tuple(precisions)
    key = _bundle_key(_kind(head))
    folder = cache_folder() / f"bundles-{key}" / f"{family}-{head}-{'-'.join(wanted)}"

    def make(target: Path) -> None:
        from onnxpipe_export import export

        task = None if head in (DIFFUSION, FAMILY) else task_of(head)
        export(str(cached_model(family, head)), str(target), task=task, precision=wanted)

    return _once(folder, make)


def cached_variant(family: str, head: str, *, attention: str) -> Path:
    """The same model exported with a kind of attention: "standard" or "gqa"."""
    key = _bundle_key(_kind(head))
    folder = cache_folder() / f"bundles-{key}" / f"{family}-{head}-{attention}"

    def make(target: Path) -> None:
        from onnxpipe_export import export

        export(str(cached_model(family, head)), str(target), task=task_of(head), attention=attention)

    return _once(folder, make)


def cached_export(model: Path, precisions: Iterable[str]) -> Path:
    """A model from elsewhere, exported for the task that its config names, known by its files."""
    wanted = tuple(precisions)
    files = [(p.name, p.stat().st_size) for p in sorted(model.iterdir()) if p.is_file()]
    key = _hash([model / "config.json"], [_bundle_key("encoders"), repr(files), *wanted])

    def make(target: Path) -> None:
        from onnxpipe_export import export

        export(str(model), str(target), precision=wanted)

    return _once(cache_folder() / "real" / f"{model.name}-{key}", make)


def _once(folder: Path, make: Callable[[Path], object]) -> Path:
    """Return `folder`; `make` fills a neighbour that is renamed when whole, so a crash leaves nothing half built."""
    from filelock import FileLock

    if folder.exists():
        return folder
    if folder in _FAILED:
        raise _FAILED[folder]
    if not folder.parent.exists():
        _forget_old(cache_folder())
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            draft = folder.with_name(folder.name + ".part")
            shutil.rmtree(draft, ignore_errors=True)
            try:
                make(draft)
            except Exception as error:
                _FAILED[folder] = error
                raise
            draft.rename(folder)
    return folder


def _forget_old(root: Path) -> None:
    """Remove what was built from sources of more than a week ago."""
    for old in root.iterdir():
        if old.is_dir() and time.time() - old.stat().st_mtime > 7 * 86400:
            shutil.rmtree(old, ignore_errors=True)


def _kind(head: str) -> str:
    """Which of `_SOURCES` decide what a model with `head` holds."""
    if audio.is_audio(head):
        return "audio"
    if head == VISION_LANGUAGE:
        return "vision-language"
    if head in ("tables", DIFFUSION, FAMILY):
        return head
    return "vision" if vision.is_vision(head) else "generators" if head in GENERATING else "encoders"


@cache
def _zoo_key(kind: str) -> str:
    here = Path(__file__).parent
    sources = [path for name in _SOURCES[kind] for path in sorted(here.glob(f"{name}.py"))]
    sources += [_ROOT / "export" / "onnxpipe_export" / name for name in _SYNTHETIC.get(kind, ())]
    return _hash(sources, [version(name) for name in _VERSIONS.get(kind, _LIBRARIES)])


_LIBRARIES = ("torch", "transformers", "tokenizers")
_VERSIONS = {"diffusion": (*_LIBRARIES, "diffusers")}
"""The libraries whose versions decide too."""

_TOKENIZERS = ("corpus", "text/synthetic_tokenizer", "text/byte_level_tokenizers", "text/sentencepiece_tokenizers")
_SOURCES = {
    "encoders": ("__init__", "corpus", "text/synthetic_tokenizer", "text/tokenization", "text/encoders"),
    "generators": ("__init__", *_TOKENIZERS, "text/generators", "text/generator_*", "text/chat_templates"),
    "tables": (
        "__init__",
        *_TOKENIZERS,
        "text/tokenization",
        "text/encoders",
        "text/generators",
        "text/generator_*",
        "text/tables",
    ),
    "family": (*_TOKENIZERS, "text/families", "text/generator_tokenizers", "text/chat_templates"),
    "diffusion": (
        *_TOKENIZERS,
        "text/tokenization",
        "text/generator_tokenizers",
        "vision/image_text_tokenizers",
        "diffusion",
    ),
    "vision": ("variants", "vision/*", *_TOKENIZERS, "text/tokenization"),
    "vision-language": (
        *_TOKENIZERS,
        "text/generators",
        "text/generator_*",
        "text/chat_templates",
        "vision_language/*",
        "vision/family",
    ),
    "audio": ("variants", "audio/*", *_TOKENIZERS, "text/tokenization"),
}
"""The modules that decide what a model's files hold."""

_SYNTHETIC = {"vision": ("cases/images.py",), "audio": ("cases/audio.py",)}
"""The exporter's synthetic inputs, on which the zoo settles its models."""


@cache
def _bundle_key(kind: str) -> str:
    import onnxpipe_export

    sources = sorted(Path(onnxpipe_export.__file__).parent.rglob("*.py"))
    return _hash(sources, [_zoo_key(kind), version("onnx"), version("onnxruntime")])


def _hash(sources: Iterable[Path], words: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for path in sources:
        digest.update(_code(path) if path.suffix == ".py" else path.read_bytes())
    digest.update(" ".join(words).encode())
    return digest.hexdigest()[:12]


def _code(path: Path) -> bytes:
    """What a module does, without its comments and docstrings: words alone make no other bundle."""
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [each for each in body if not _is_text(each)]  # type: ignore[attr-defined]
    return ast.dump(tree).encode()


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
