"""AutoImageProcessor, AutoVideoProcessor, AutoFeatureExtractor, AutoProcessor: the class that a model's files name, or
its family's. Only the module of that class is imported."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from onnxpipe.bundle.hub_options import HubOptions
from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.processor_config import (
    ProcessorConfig,
    fetch_config,
    fetch_folder,
    find_config,
    has_config,
    has_tokenizer,
)
from onnxpipe.processing.registry import (
    CHAT_VIDEO_PROCESSORS,
    FEATURE_EXTRACTORS,
    IMAGE_PROCESSORS,
    audio_text_processor,
    image_text_processor,
    is_image_config,
)

if TYPE_CHECKING:
    from onnxpipe.processing.audio.base import FeatureExtractor
    from onnxpipe.processing.audio.settings import FeatureExtractorKeywords, FeatureExtractorOverrides
    from onnxpipe.processing.images.base import ImageProcessor
    from onnxpipe.processing.images.settings import ImageProcessorKeywords, ImageProcessorOverrides
    from onnxpipe.processing.multimodal.audio_text import SpeechProcessor
    from onnxpipe.processing.multimodal.image_text import TextImageProcessor
    from onnxpipe.processing.text.tokenizer import Tokenizer
    from onnxpipe.processing.video.chats import ChatVideoProcessor


class AutoImageProcessor:
    """Image processors by name."""

    def __init__(self) -> None:
        raise OSError("AutoImageProcessor is made with AutoImageProcessor.from_pretrained(name_or_path)")

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        use_fast: bool | None = None,
        backend: str | None = None,
        **keywords: Unpack[ImageProcessorKeywords],
    ) -> ImageProcessor:
        """Load the processor of a folder or of a Hub repository.

        Args:
            pretrained_model_name_or_path: a folder, or a Hub id.
            use_fast: makes no difference: there is one class of each, with the numbers of transformers' PIL classes.
            backend: "pil", or None.
            **keywords: the Hub's (`FileKeywords`), and settings instead of what the files say.

        Raises:
            ModelNotFoundError: no such folder or repository, or it says nothing of images.
            BundleError: a damaged file.
            UnsupportedError: a class that is not here; the message names those that are.
            UnknownArgumentError: a setting that the class has not.
        """
        if backend not in (None, "pil", "auto"):
            raise UnsupportedError(f"backend={backend!r}: images are prepared by Pillow and NumPy; leave it out")
        hub, overrides = HubOptions.split(keywords)
        return _image_processor(fetch_config(pretrained_model_name_or_path, "image", hub), overrides)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], **overrides: Unpack[ImageProcessorOverrides]) -> ImageProcessor:
        """Make the processor that the object of a `preprocessor_config.json` describes."""
        return IMAGE_PROCESSORS.class_for(config, {}, "the config").from_dict(config, **overrides)


class AutoVideoProcessor:
    """Processors of videos by name: of `video_preprocessor_config.json`, or where there is none, of the images' file.

    Those of models that chat are found by the family where the file names none.
    """

    def __init__(self) -> None:
        raise OSError("AutoVideoProcessor is made with AutoVideoProcessor.from_pretrained(name_or_path)")

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **keywords: Unpack[ImageProcessorKeywords]
    ) -> ImageProcessor:
        """Load the processor of a folder or of a Hub repository; arguments and errors as in `AutoImageProcessor`."""
        hub, overrides = HubOptions.split(keywords)
        config = fetch_config(pretrained_model_name_or_path, "video", hub)
        named = str(config.values.get("video_processor_type"))
        if named in CHAT_VIDEO_PROCESSORS or config.model_type in CHAT_VIDEO_PROCESSORS.families:
            return _chat_video_processor(config, overrides)
        return _image_processor(config, overrides)


class AutoFeatureExtractor:
    """Feature extractors by name."""

    def __init__(self) -> None:
        raise OSError("AutoFeatureExtractor is made with AutoFeatureExtractor.from_pretrained(name_or_path)")

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **keywords: Unpack[FeatureExtractorKeywords]
    ) -> Any:
        """Load the extractor of a folder or of a Hub repository; arguments and errors as in `FeatureExtractor`.

        Returns:
            A `FeatureExtractor`; of a model of images its image processor, as that was called until 2023.

        Raises:
            UnsupportedError: a class that is not here; the message names those that are.
        """
        hub, overrides = HubOptions.split(keywords)
        config = fetch_config(pretrained_model_name_or_path, "audio", hub)
        if is_image_config(config.values, config.model):
            return _image_processor(config, overrides)
        return _feature_extractor(config, overrides)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], **overrides: Unpack[FeatureExtractorOverrides]) -> FeatureExtractor:
        """Make the extractor that the object of a `preprocessor_config.json` describes."""
        return FEATURE_EXTRACTORS.class_for(config, {}, "the config").from_dict(config, **overrides)


class AutoProcessor:
    """Tokenizer and image processor, or tokenizer and feature extractor, of a model in one, by name."""

    def __init__(self) -> None:
        raise OSError("AutoProcessor is made with AutoProcessor.from_pretrained(name_or_path)")

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], *, use_fast: bool | None = None, **keywords: Any
    ) -> TextImageProcessor | ImageProcessor | SpeechProcessor | FeatureExtractor | Tokenizer:
        """Load what a model's inputs need; arguments and errors as in `AutoImageProcessor` and `AutoFeatureExtractor`.

        Returns:
            A `Processor`, or for audio a `SpeechProcessor`; of a model that takes images or audio alone its image
            processor or feature extractor, of one that takes texts alone its tokenizer.
        """
        hub, overrides = HubOptions.split(keywords)
        folder = fetch_folder(pretrained_model_name_or_path, hub, need="both")
        name = str(os.fspath(pretrained_model_name_or_path))
        if (for_audio := _audio_processor(folder, name, overrides)) is not None:
            return for_audio
        if not has_config(folder):
            return _tokenizer(folder)
        config = find_config(folder, name)
        images = _image_processor(config, overrides)
        both = image_text_processor(_family(config))
        if has_tokenizer(folder):
            processor = both.from_parts(images, _tokenizer(folder), config)
            if config.model_type in CHAT_VIDEO_PROCESSORS.families:
                processor.video_processor = _chat_video_processor(find_config(folder, name, "video"), {})
            return processor
        return images if both.needs_tokenizer else both.from_parts(images, None, config)


def _family(config: ProcessorConfig) -> str:
    """The family whose processor a model has: of an encoder with a decoder, the encoder's."""
    encoder = config.model.get("encoder")
    inner = encoder.get("model_type") if isinstance(encoder, Mapping) else None
    return str(inner) if config.model_type == "vision-encoder-decoder" and inner else config.model_type


def _audio_processor(
    folder: Path, name: str, overrides: Mapping[str, Any]
) -> SpeechProcessor | FeatureExtractor | None:
    """The processor of a model that takes audio; None for one that does not."""
    if not has_config(folder, "audio"):
        return None
    config = find_config(folder, name, "audio")
    if is_image_config(config.values, config.model):
        return None
    extractor = _feature_extractor(config, overrides)
    if not has_tokenizer(folder):
        return extractor
    return audio_text_processor(config.model_type)(extractor, _tokenizer(folder))


def _image_processor(config: ProcessorConfig, overrides: Mapping[str, Any]) -> ImageProcessor:
    return IMAGE_PROCESSORS.class_for(config.values, config.model, config.name).from_config(config, overrides)


def _chat_video_processor(config: ProcessorConfig, overrides: Mapping[str, Any]) -> ChatVideoProcessor:
    named, table = config.values.get("video_processor_type"), CHAT_VIDEO_PROCESSORS
    # files of older versions name classes of images, or none
    name = str(named) if named in table else table.families[config.model_type]
    return table[name].from_config(config, overrides)


def _feature_extractor(config: ProcessorConfig, overrides: Mapping[str, Any]) -> FeatureExtractor:
    return FEATURE_EXTRACTORS.class_for(config.values, config.model, config.name).from_config(config, overrides)


def _tokenizer(folder: Path) -> Tokenizer:
    from onnxpipe.processing.text.tokenizer import Tokenizer  # not at the top: images and audio alone need none of it

    return Tokenizer.from_folder(folder)
