"""AutoImageProcessor, AutoVideoProcessor, AutoProcessor: the class that a model's files name, or its family's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.images.base import ImageProcessor
from onnxpipe.processing.images.processors import BothProcessors, SamProcessor, processor_of
from onnxpipe.processing.images.registry import CLASSES, class_of_family
from onnxpipe.processing.images.settings import ImageProcessorOverrides
from onnxpipe.processing.processor_config import (
    Found,
    fetch_config,
    fetch_folder,
    find_config,
    has_config,
    has_tokenizer,
)
from onnxpipe.processing.text.tokenizer import AutoTokenizer, Tokenizer

if TYPE_CHECKING:
    from onnxpipe.processing.audio.base import FeatureExtractor
    from onnxpipe.processing.audio.processors import SpeechProcessor


class AutoImageProcessor:
    """Image processors by name."""

    def __init__(self) -> None:
        raise OSError("AutoImageProcessor is made with AutoImageProcessor.from_pretrained(name_or_path)")

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        subfolder: str = "",
        use_fast: bool | None = None,
        backend: str | None = None,
        trust_remote_code: bool | None = None,
        **overrides: Unpack[ImageProcessorOverrides],
    ) -> ImageProcessor:
        """The processor of a folder or of a Hub repository.

        Args:
            pretrained_model_name_or_path: a folder, or a Hub id.
            revision, token, cache_dir, local_files_only: for the Hub.
            subfolder: where in the folder the files are.
            use_fast: makes no difference: there is one class of each, with the numbers of transformers' PIL classes.
            backend: "pil", or None.
            trust_remote_code: refused when true.
            **overrides: settings, instead of what the files say.

        Raises:
            ModelNotFoundError: no such folder or repository, or it says nothing of images.
            BundleError: a damaged file.
            UnsupportedError: a class that is not here; the message names those that are.
            UnknownArgumentError: an override that the class has not.
        """
        if backend not in (None, "pil", "auto"):
            raise UnsupportedError(f"backend={backend!r}: pictures are prepared by Pillow and NumPy; leave it out")
        found = fetch_config(
            pretrained_model_name_or_path, revision=revision, token=token, cache_dir=cache_dir,
            local_files_only=local_files_only, subfolder=subfolder, trust_remote_code=trust_remote_code,
        )  # fmt: skip
        return from_found(found, overrides)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], **overrides: Unpack[ImageProcessorOverrides]) -> ImageProcessor:
        """The processor that the object of a `preprocessor_config.json` describes."""
        return class_for(config, {}, "the config").from_dict(config, **overrides)


class AutoVideoProcessor:
    """Processors of videos by name: of `video_preprocessor_config.json`, or where there is none, those of pictures."""

    def __init__(self) -> None:
        raise OSError("AutoVideoProcessor is made with AutoVideoProcessor.from_pretrained(name_or_path)")

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        subfolder: str = "",
        trust_remote_code: bool | None = None,
        **overrides: Unpack[ImageProcessorOverrides],
    ) -> ImageProcessor:
        """The processor of a folder or of a Hub repository; arguments and errors as in `AutoImageProcessor`."""
        found = fetch_config(
            pretrained_model_name_or_path, kind="video", revision=revision, token=token, cache_dir=cache_dir,
            local_files_only=local_files_only, subfolder=subfolder, trust_remote_code=trust_remote_code,
        )  # fmt: skip
        return from_found(found, overrides)


class AutoProcessor:
    """Tokenizer and image processor, or feature extractor of sound, of a model in one, by name."""

    def __init__(self) -> None:
        raise OSError("AutoProcessor is made with AutoProcessor.from_pretrained(name_or_path)")

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        subfolder: str = "",
        use_fast: bool | None = None,
        trust_remote_code: bool | None = None,
        **overrides: Any,
    ) -> BothProcessors | ImageProcessor | SpeechProcessor | FeatureExtractor | Tokenizer:
        """What a model needs to be fed; arguments and errors as in `AutoImageProcessor` and `AutoFeatureExtractor`.

        Returns:
            A `Processor`, or of sound a `SpeechProcessor`; of a model that takes pictures or sound alone its image
            processor or feature extractor, of one that takes texts alone its tokenizer.
        """
        folder = fetch_folder(
            pretrained_model_name_or_path, revision=revision, token=token, cache_dir=cache_dir,
            local_files_only=local_files_only, subfolder=subfolder, trust_remote_code=trust_remote_code,
        )  # fmt: skip
        name = os.fspath(pretrained_model_name_or_path)
        if (heard := _processor_of_sound(folder, str(name), overrides)) is not None:
            return heard
        if not has_config(folder):
            return AutoTokenizer.from_folder(folder)
        found = find_config(folder, str(name))
        of_images: Any = overrides
        images = from_found(found, of_images)
        cls_of_family = processor_of(str(found.model.get("model_type", "")))
        speaks = has_tokenizer(folder)
        if not speaks and cls_of_family is not SamProcessor:
            return images
        return cls_of_family(images, AutoTokenizer.from_folder(folder) if speaks else None)


def _processor_of_sound(folder: Path, name: str, overrides: Any) -> SpeechProcessor | FeatureExtractor | None:
    """What feeds a model that hears; None of one that does not."""
    if not has_config(folder, "sound"):
        return None
    from onnxpipe.processing.audio import auto, processors  # not at the top: pictures need nothing of it

    found = find_config(folder, name, "sound")
    if auto.of_pictures(found.config, found.model):
        return None
    extractor: FeatureExtractor = auto.from_found(found, overrides)
    if not has_tokenizer(folder):
        return extractor
    return processors.processor_of(str(found.model.get("model_type", "")))(extractor, AutoTokenizer.from_folder(folder))


def from_found(found: Found, overrides: ImageProcessorOverrides) -> ImageProcessor:
    """The processor of what a folder says."""
    chosen = class_for(found.config, found.model, found.name)
    return chosen.of_file(found.config, found.name, found.older, found.folder, overrides)


def class_for(config: Mapping[str, Any], model: Mapping[str, Any], name: str) -> type[ImageProcessor]:
    """The class that a processor's config names; if it names none, that of the model's family.

    Args:
        config: `preprocessor_config.json`.
        model: `config.json`.
        name: of the file, for errors.

    Raises:
        UnsupportedError: there is no such class here.
    """
    kinds = ("video_processor_type", "image_processor_type", "feature_extractor_type")
    named = next((config[kind] for kind in kinds if config.get(kind)), None)
    if not named:
        found = class_of_family(str(model.get("model_type", "")))
        if found is None:
            family = f"the family {model['model_type']!r} has none here" if "model_type" in model else "nor its family"
            raise UnsupportedError(f"{name} names no image processor, and {family}; known: {_known()}")
        return found
    chosen = CLASSES.get(canonical(str(named)))
    if chosen is None:
        raise UnsupportedError(f"{name} names the image processor {named!r}, which is not here; known: {_known()}")
    return chosen


#: What transformers.js calls the one that belongs to no family.
_OF_NO_FAMILY = frozenset({"ImageFeatureExtractor", "ImageProcessor"})


def canonical(name: str) -> str:
    """A class's name as it is here: without the suffixes of variants, and by the new name of the kind."""
    if name in _OF_NO_FAMILY:
        return "PlainImageProcessor"
    for suffix in ("Fast", "Pil"):
        name = name.removesuffix(suffix)
    return name.replace("FeatureExtractor", "ImageProcessor").replace("VideoProcessor", "ImageProcessor")


def _known() -> str:
    return ", ".join(sorted(CLASSES))
