"""What a task gets beside its model: a tokenizer, a processor of sound or pictures, as its class asks for them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.text.tokenizer import AutoTokenizer

if TYPE_CHECKING:
    from onnxpipe.tasks.base.pipeline import Pipeline


@dataclass(frozen=True)
class PassedComponents:
    """The components that the user passed: a name, `(name, {keywords})`, or the thing itself; None for none.

    Attributes:
        tokenizer, feature_extractor, image_processor, video_processor, processor: as in `pipeline()`.
    """

    tokenizer: Any = None
    feature_extractor: Any = None
    image_processor: Any = None
    video_processor: Any = None
    processor: Any = None


@dataclass(frozen=True)
class ComponentSource:
    """Where components come from that were not passed.

    Attributes:
        folder: the model's; None where the model was passed as an object.
        config: the config that was passed: a name, a `Config`, or None.
        hub: keywords of the loaders: revision, token, cache_dir, local_files_only.
        use_fast: of the tokenizer's loader.
    """

    folder: Path | None
    config: Any = None
    hub: Mapping[str, Any] = field(default_factory=dict)
    use_fast: bool = True


@dataclass(frozen=True)
class ComponentType:
    """A kind of component.

    Attributes:
        title: what messages call it.
        loader: the class with `from_pretrained`.
        base: the class that transformers' message names.
        files: one of these is in a folder that has one.
    """

    title: str
    loader: str
    base: str
    files: tuple[str, ...] = ()


_TOKENIZER = ComponentType(
    "tokenizer", "AutoTokenizer", "PreTrainedTokenizer",
    ("tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "spiece.model"),
)  # fmt: skip
_IMAGES = ComponentType(
    "image processor", "AutoImageProcessor", "PreTrainedImageProcessor",
    ("preprocessor_config.json", "processor_config.json"),
)  # fmt: skip
_SOUNDS = ComponentType(
    "feature extractor", "AutoFeatureExtractor", "SequenceFeatureExtractor",
    ("preprocessor_config.json", "processor_config.json"),
)  # fmt: skip
_VIDEOS = ComponentType(
    "video processor", "AutoVideoProcessor", "PreTrainedVideoProcessor", ("video_preprocessor_config.json",)
)
_BOTH = ComponentType("processor", "AutoProcessor", "ProcessorMixin")


def load_parts(cls: type[Pipeline], task: str, given: PassedComponents, home: ComponentSource) -> dict[str, Any]:
    """The components of a task, by the names that its constructor has.

    Args:
        cls: the task's class; its `_load_...` tell what it needs (True), takes (None) or refuses (False).
        task: its name, for errors.
        given: what the user passed.
        home: where the rest comes from.

    Raises:
        UnsupportedError: something was passed that the task has no use for.
        Exception: something that the task needs was not passed, and the model is no name.
    """
    hears = cls._load_feature_extractor is not False
    pictures = given.image_processor
    if pictures is None and not hears:
        pictures = given.feature_extractor  # its old name
    sounds = given.feature_extractor if hears else None
    if cls.Options is not None and cls.input_modalities == "text" and not hears:
        refused = [pictures, given.video_processor, None if cls._load_processor is None else given.processor]
        if any(part is not None for part in refused):
            raise UnsupportedError(f"{task} works on text: it takes no feature extractor, image processor or processor")
        if given.processor is not None and given.tokenizer is None:
            return {"processor": _load(_BOTH, given.processor, home)}
        return {} if cls._load_tokenizer is False else {"tokenizer": _load(_TOKENIZER, given.tokenizer, home)}
    parts: dict[str, Any] = {}
    if given.processor is not None:
        parts["processor"] = _load(_BOTH, given.processor, home)
        if given.tokenizer is pictures is sounds is None:
            return parts  # the constructor takes the others from it
    wishes = (
        ("tokenizer", _TOKENIZER, cls._load_tokenizer, given.tokenizer),
        ("feature_extractor", _SOUNDS, cls._load_feature_extractor, sounds),
        ("image_processor", _IMAGES, cls._load_image_processor, pictures),
        ("video_processor", _VIDEOS, cls._load_video_processor, given.video_processor),
    )
    for name, kind, wanted, passed in wishes:
        if passed is not None and wanted is False:
            raise UnsupportedError(f"{task} takes no {kind.title}")
        if passed is not None or wanted:
            parts[name] = _load(kind, passed, home)
        elif wanted is None and _has(home.folder, kind):
            parts[name] = _load_if_known(kind, home) if cls.Options is None else _load(kind, None, home)
    return parts


def _has(folder: Path | None, kind: ComponentType) -> bool:
    return folder is not None and any((folder / name).is_file() for name in kind.files)


def _load_if_known(kind: ComponentType, home: ComponentSource) -> Any:
    """For classes of the user's own, which may not want it at all."""
    try:
        return _load(kind, None, home)
    except UnsupportedError:
        return None


def _load(kind: ComponentType, given: Any, home: ComponentSource) -> Any:
    keywords: dict[str, Any] = {"use_fast": home.use_fast} if kind is _TOKENIZER else {}
    if isinstance(given, tuple):
        name, own = given
        return _loader(kind)(name, **{**keywords, **home.hub, **own})
    if isinstance(given, (str, os.PathLike)):
        return _loader(kind)(given, **keywords, **home.hub)
    if given is not None:
        return given
    if home.folder is not None:
        return _loader(kind)(home.folder, **keywords)
    if isinstance(home.config, str):
        return _loader(kind)(home.config, **keywords, **home.hub)
    raise Exception(
        f"Impossible to guess which {kind.title} to use. "
        f"Please provide a {kind.base} class or a path/identifier to a pretrained {kind.title}."
    )


def _loader(kind: ComponentType) -> Any:
    if kind is _TOKENIZER:
        return AutoTokenizer.from_pretrained
    from onnxpipe.processing import auto  # not at the top: tasks of text need none of it

    return getattr(auto, kind.loader).from_pretrained
