"""Load what a task needs beside its model: a tokenizer, and processors of audio, images or videos."""

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
    """The components that the user passed: a name, `(name, {keywords})`, or the object itself; None for none.

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
    """The place from which components are loaded that were not passed.

    Attributes:
        folder: the model's folder; None if the model was passed as an object.
        config: the config that was passed: a name, a `Config`, or None.
        hub: keywords of the loaders: revision, token, cache_dir, local_files_only.
        use_fast: a keyword of the tokenizer's loader.
    """

    folder: Path | None
    config: Any = None
    hub: Mapping[str, Any] = field(default_factory=dict)
    use_fast: bool = True


@dataclass(frozen=True)
class ComponentType:
    """A type of component.

    Attributes:
        title: its name in messages.
        loader: the class with `from_pretrained`.
        base: the class that transformers' message names.
        files: the files that mark a folder which has one; one of them is enough.
    """

    title: str
    loader: str
    base: str
    files: tuple[str, ...] = ()


_TOKENIZER = ComponentType(
    "tokenizer", "AutoTokenizer", "PreTrainedTokenizer",
    ("tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "spiece.model"),
)  # fmt: skip
_IMAGE_PROCESSOR = ComponentType(
    "image processor", "AutoImageProcessor", "PreTrainedImageProcessor",
    ("preprocessor_config.json", "processor_config.json"),
)  # fmt: skip
_FEATURE_EXTRACTOR = ComponentType(
    "feature extractor", "AutoFeatureExtractor", "SequenceFeatureExtractor",
    ("preprocessor_config.json", "processor_config.json"),
)  # fmt: skip
_VIDEO_PROCESSOR = ComponentType(
    "video processor", "AutoVideoProcessor", "PreTrainedVideoProcessor", ("video_preprocessor_config.json",)
)
_PROCESSOR = ComponentType("processor", "AutoProcessor", "ProcessorMixin")


def load_components(
    cls: type[Pipeline], task: str, passed: PassedComponents, source: ComponentSource
) -> dict[str, Any]:
    """Load the components of a task, by the names that its constructor has.

    Args:
        cls: the task's class; its `_load_...` say what it needs (True), accepts (None) or refuses (False).
        task: its name, for errors.
        passed: the components that the user passed.
        source: where the others come from.

    Raises:
        UnsupportedError: a component was passed that the task does not use.
        Exception: a component that the task needs was not passed, and the model is not a name.
    """
    takes_audio = cls._load_feature_extractor is not False
    image_processor = passed.image_processor
    if image_processor is None and not takes_audio:
        image_processor = passed.feature_extractor  # its old name
    feature_extractor = passed.feature_extractor if takes_audio else None
    if cls.Options is not None and cls.input_modalities == "text" and not takes_audio:
        refused = [image_processor, passed.video_processor, None if cls._load_processor is None else passed.processor]
        if any(component is not None for component in refused):
            raise UnsupportedError(f"{task} works on text: it takes no feature extractor, image processor or processor")
        if passed.processor is not None and passed.tokenizer is None:
            return {"processor": _load(_PROCESSOR, passed.processor, source)}
        return {} if cls._load_tokenizer is False else {"tokenizer": _load(_TOKENIZER, passed.tokenizer, source)}
    if cls._load_processor:
        if any(one is not None for one in (passed.tokenizer, image_processor, passed.video_processor)):
            raise UnsupportedError(
                f"{task} takes its tokenizer and image processor from one processor: pass processor= that has them"
            )
        return {"processor": _load(_PROCESSOR, passed.processor, source)}
    loaded: dict[str, Any] = {}
    if passed.processor is not None:
        loaded["processor"] = _load(_PROCESSOR, passed.processor, source)
        if passed.tokenizer is image_processor is feature_extractor is None:
            return loaded  # the constructor takes the others from it
    components = (
        ("tokenizer", _TOKENIZER, cls._load_tokenizer, passed.tokenizer),
        ("feature_extractor", _FEATURE_EXTRACTOR, cls._load_feature_extractor, feature_extractor),
        ("image_processor", _IMAGE_PROCESSOR, cls._load_image_processor, image_processor),
        ("video_processor", _VIDEO_PROCESSOR, cls._load_video_processor, passed.video_processor),
    )
    for name, kind, needed, component in components:
        if component is not None and needed is False:
            raise UnsupportedError(f"{task} takes no {kind.title}: leave {name}= out")
        if component is not None or needed:
            loaded[name] = _load(kind, component, source)
        elif needed is None and _has(source.folder, kind):
            loaded[name] = _load_if_known(kind, source) if cls.Options is None else _load(kind, None, source)
    return loaded


def _has(folder: Path | None, kind: ComponentType) -> bool:
    return folder is not None and any((folder / name).is_file() for name in kind.files)


def _load_if_known(kind: ComponentType, source: ComponentSource) -> Any:
    """Load a component for a class of the user's own, which may not need it at all."""
    try:
        return _load(kind, None, source)
    except UnsupportedError:
        return None


def _load(kind: ComponentType, component: Any, source: ComponentSource) -> Any:
    kwargs: dict[str, Any] = {"use_fast": source.use_fast} if kind is _TOKENIZER else {}
    if isinstance(component, tuple):
        name, own = component
        return _loader(kind)(name, **{**kwargs, **source.hub, **own})
    if isinstance(component, (str, os.PathLike)):
        return _loader(kind)(component, **kwargs, **source.hub)
    if component is not None:
        return component
    if source.folder is not None:
        return _loader(kind)(source.folder, **kwargs)
    if isinstance(source.config, str):
        return _loader(kind)(source.config, **kwargs, **source.hub)
    raise Exception(
        f"Impossible to guess which {kind.title} to use. "
        f"Please provide a {kind.base} class or a path/identifier to a pretrained {kind.title}."
    )


def _loader(kind: ComponentType) -> Any:
    if kind is _TOKENIZER:
        return AutoTokenizer.from_pretrained
    from onnxpipe.processing import auto  # not at the top: tasks of text need none of it

    return getattr(auto, kind.loader).from_pretrained
