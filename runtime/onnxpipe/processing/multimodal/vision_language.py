"""Processors of vision-language models: the markers of images and videos in a text become as many tokens as these take
up.

processor(images=[image], text="<image> What is this?")      # input_ids, attention_mask, pixel_values
processor.apply_chat_template(messages, tokenize=True, return_dict=True)
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from onnxpipe.bundle.files import has_file, read_json
from onnxpipe.errors import BundleError, UnknownArgumentError, UnsupportedError
from onnxpipe.processing.arrays import as_array, check_tensor_type
from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.images.base import ImageProcessor
from onnxpipe.processing.images.inputs import flatten_images, group_images
from onnxpipe.processing.images.settings import RENAMED
from onnxpipe.processing.multimodal import placeholders
from onnxpipe.processing.multimodal.image_chats import ImageChatMixin, Processed
from onnxpipe.processing.multimodal.image_text import TextImageProcessor
from onnxpipe.processing.multimodal.videos import VideoMixin
from onnxpipe.processing.processor_config import ProcessorConfig
from onnxpipe.processing.text.batch_encoding import BatchEncoding
from onnxpipe.processing.text.chat.control_tokens import ControlTokens
from onnxpipe.processing.text.chat_templates import encode_marked
from onnxpipe.processing.text.keywords import TokenizerCallOptions
from onnxpipe.processing.text.tokenizer import Tokenizer
from onnxpipe.processing.video.inputs import flatten_videos

_TEXT_OPTIONS = frozenset({*TokenizerCallOptions.__annotations__, "add_special_tokens", "return_mm_token_type_ids"})


class VisionLanguageProcessor(ImageChatMixin, VideoMixin, TextImageProcessor, ABC):
    """An image processor and a tokenizer, and how many tokens of a prompt an image takes up.

    A family is a subclass: it says what stands for an image in a text (`replacement`), which settings
    `processor_config.json` has, and in what else it differs.

    Args:
        image_processor, tokenizer: the parts.
        chat_template: the template, or templates by name; None for the tokenizer's.
        **settings: those of `processor_config.json`.

    Attributes:
        image_processor, tokenizer, chat_template: as above.
        settings: with the defaults of the class.
        image_token, image_token_id: the marker of an image in a text.
        feature_token, feature_token_id: the token that an image's features take the place of; mostly the same.
        video_processor, video_token, video_token_id: see `VideoMixin`.

    Raises:
        BundleError: the tokenizer has no token for images.
        UnknownArgumentError: a setting that the class has not.
    """

    #: The settings of the class with their defaults.
    defaults: ClassVar[Mapping[str, Any]] = {"image_token": "<image>"}
    #: Keywords of the tokenizer's call that hold unless a call passes others.
    text_defaults: ClassVar[Mapping[str, Any]] = {}
    #: Settings of the image processor that hold unless a call passes others.
    image_defaults: ClassVar[Mapping[str, Any]] = {}
    #: Arrays of the image processor that the model does not get.
    unused: ClassVar[frozenset[str]] = frozenset()
    #: Whether the image processor takes the images grouped by text.
    grouped: ClassVar[bool] = False
    #: The name under which a call returns what kind of token each is; None where the model does not ask.
    types_name: ClassVar[str | None] = None
    #: Whether answers are read without special tokens, unless a call says otherwise.
    skips_special_tokens: ClassVar[bool] = True
    #: Tokens beside these two that only the processor and the template may write.
    reserved: ClassVar[tuple[str, ...]] = ()
    #: The names of the two tokens in tokenizers and settings.
    marker_role: ClassVar[str] = "image_token"
    feature_role: ClassVar[str] = "image_token"

    tokenizer: Tokenizer

    def __init__(
        self, image_processor: ImageProcessor, tokenizer: Tokenizer | None = None, chat_template: Any = None,
        **settings: Any,
    ) -> None:  # fmt: skip
        if tokenizer is None:
            raise UnsupportedError(f"{type(self).__name__} needs a tokenizer")
        super().__init__(image_processor, tokenizer)
        for name in settings:
            if name not in self.defaults:
                raise UnknownArgumentError.among(type(self).__name__, name, self.defaults)
        self.settings = {**self.defaults, **{k: v for k, v in settings.items() if v is not None}}
        self.chat_template = tokenizer.chat_template if chat_template is None else chat_template
        self.image_token, self.feature_token = self.token(self.marker_role), self.token(self.feature_role)
        self.image_token_id, self.feature_token_id = self.id_of(self.image_token), self.id_of(self.feature_token)
        self.video_token = None if self.video_role is None else self.token(self.video_role)
        self.video_token_id = tokenizer.get_vocab().get(self.video_token or "")

    @classmethod
    def from_parts(cls, image_processor: ImageProcessor, tokenizer: Tokenizer | None, config: ProcessorConfig) -> Self:
        """Make a processor of its parts and of `processor_config.json`; what that lacks, config.json says.

        Raises:
            BundleError: a setting of the file is no number, or the tokenizer has no token for images.
        """
        folder = config.folder
        values = _read(folder, "processor_config.json")
        template = values.get("chat_template") or _read(folder, "chat_template.json").get("chat_template")
        if folder is not None and has_file(folder, "chat_template.jinja"):
            template = None  # the tokenizer has read it
        try:
            settings = {**cls.settings_of_model(config.model), **{k: values[k] for k in cls.defaults if k in values}}
            return cls(image_processor, tokenizer, template, **settings)
        except (ArithmeticError, AttributeError, KeyError, TypeError) as error:
            raise BundleError(f"{config.name}: the processor's settings are damaged: {error!r}") from error

    @classmethod
    def settings_of_model(cls, model: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that config.json implies, for folders whose processor does not say."""
        return {}

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> list[str]:
        """Write the files of the parts and `processor_config.json`, and return their paths."""
        path = Path(save_directory) / "processor_config.json"
        paths = super().save_pretrained(save_directory)
        settings = {**self.settings, "processor_class": type(self).__name__}
        if self.chat_template != self.tokenizer.chat_template:
            settings["chat_template"] = self.chat_template
        path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return [*paths, str(path)]

    # -- the call -----------------------------------------------------------------------------------------------------
    def __call__(
        self, images: Any = None, text: Any = None, videos: Any = None, *, return_tensors: Any = "np", **options: Any
    ) -> BatchFeature:
        """Make the arrays for the model.

        Args:
            images: an image, a list of images in the order of their markers, or a list with a list for each text; see
                `ImageProcessor`.
            text: a text or a list of texts, with a marker (`image_token`, `video_token`) where each image or video
                belongs.
            videos: a video, or a list of videos in the order of their markers; see `ChatVideoProcessor`.
            return_tensors: "np" for arrays (texts of different lengths then need padding=True); None for lists.
            **options: keywords of the tokenizer's call, and settings of the image processor and the video processor;
                a setting of both holds for both.

        Returns:
            `input_ids`, `attention_mask` int64 (texts, tokens), `pixel_values` and the other arrays of the family.

        Raises:
            ImageError: more markers than images or fewer, likewise of videos, or a prompt of which some were truncated.
            UnknownArgumentError: a keyword of none.
            UnsupportedError: neither images nor texts nor videos, or videos for a family that takes none.
        """
        flat = None if videos is None else flatten_videos(videos)
        return self._process(images, flat, text, return_tensors, options, None).features

    def _process(
        self,
        images: Any,
        videos: list[Any] | None,
        text: Any,
        return_tensors: Any,
        options: Mapping[str, Any],
        control: ControlTokens | None,
    ) -> Processed:
        """Make the arrays for the model; `control` has marked what users typed."""
        check_tensor_type(return_tensors)
        for_text, for_images, for_videos = self._split(options)
        if images is None and text is None and videos is None:
            raise UnsupportedError("pass images=, text=, videos=, or several of them")
        nested, flat = self._grouped(images)
        texts = self.prompts(None if text is None else self._texts(text), nested, flat)
        clips = self.video_features(videos, for_videos) if videos else BatchFeature()
        if texts is None:
            images = nested if self.grouped and nested else flat
            found = BatchFeature() if flat is None else self._image_features(images, for_images)
            return Processed(self._kept(self.joined([], found, clips), return_tensors, options))
        groups = placeholders.groups_of(texts, self.image_token, flat, nested)
        every = [image for group in groups for image in group]
        features, replacements = BatchFeature(), []
        if every:
            features = self._image_features(self.for_image_processor(groups, nested), for_images)
            replacements = [self.replacement(features, i) for i in range(len(every))]
        marked: dict[str, list[str]] = {self.image_token: replacements}
        if self.video_token is not None:
            placeholders.groups_of(texts, self.video_token, videos, None, "videos")
            marked[self.video_token] = [self.video_replacement(clips, i) for i in range(len(videos or ()))]
        prompts = placeholders.expand(texts, marked)
        encoded = self._encode(
            [prompt.text for prompt in prompts], {**for_text, "return_tensors": return_tensors}, control
        )
        tokens = self._with_types(encoded, for_text.get("return_mm_token_type_ids", self.types_name is not None))
        kept = self._kept(self.joined(texts, features, clips), return_tensors, options)
        return Processed(BatchFeature({**tokens, **kept}), prompts, encoded)

    def _grouped(self, images: Any) -> tuple[list[list[Any]] | None, list[Any] | None]:
        """Return images as a list for each text, if they come so, and as a flat list; None where there are none."""
        if images is None or (isinstance(images, (list, tuple)) and not any(map(_some, images))):
            return None, None
        nested = group_images(images)
        return nested, ([image for group in nested for image in group] if nested else flatten_images(images))

    def _texts(self, text: Any) -> list[str]:
        texts = [text] if isinstance(text, str) else list(text) if isinstance(text, (list, tuple)) else [text]
        if not texts or any(not isinstance(one, str) for one in texts):
            raise UnsupportedError("`text` must be a string or list of strings.")
        return texts

    def prompts(
        self, texts: list[str] | None, nested: Sequence[Sequence[Any]] | None, flat: Sequence[Any] | None
    ) -> list[str] | None:
        """Return the texts with a marker for each image, for families that put markers or other tokens there.

        Args:
            texts: what the user passed; None for images alone.
            nested: the images of each text, if they were passed so.
            flat: all images; None for none.
        """
        return texts

    def for_image_processor(self, groups: list[list[Any]], nested: Any) -> list[Any]:
        """Return the images in the form that the image processor takes."""
        return groups if self.grouped else [image for group in groups for image in group]

    @abstractmethod
    def replacement(self, features: BatchFeature, index: int) -> str:
        """Return what stands in the prompt for an image.

        Args:
            features: the image processor's arrays of all images.
            index: which image.
        """

    def _image_features(self, images: Any, options: Mapping[str, Any]) -> BatchFeature:
        return self.image_processor(images, **{**self.image_defaults, **options})

    def _kept(self, features: BatchFeature, return_tensors: Any, options: Mapping[str, Any]) -> BatchFeature:
        """Return what the model gets of the arrays, as lists without `return_tensors`; `video_metadata` if asked."""
        metadata = features.pop("video_metadata", None)
        kept = {name: array for name, array in features.items() if name not in self.unused}
        kept = kept if return_tensors is not None else {name: list(kept[name]) for name in kept}
        asked = metadata is not None and options.get("return_metadata")
        return BatchFeature({**kept, "video_metadata": metadata} if asked else kept)

    def _encode(self, texts: list[str], options: Mapping[str, Any], control: ControlTokens | None) -> BatchEncoding:
        """Encode the prompts, and check that no image was cut off."""
        own = {**self.text_defaults, **options}
        own.pop("return_mm_token_type_ids", None)
        if control is None:
            encoded = self.tokenizer(texts, **own)
        else:
            encoded = encode_marked(self.tokenizer, control, texts, own, batched=True)
        placeholders.check_kept(encoded["input_ids"], texts, self.feature_token, self.feature_token_id)
        if self.video_token is not None and self.video_token_id is not None:
            placeholders.check_kept(encoded["input_ids"], texts, self.video_token, self.video_token_id, "video")
        return encoded

    def _with_types(self, encoded: BatchEncoding, typed: bool) -> dict[str, Any]:
        """Return the rows of an encoding, with what kind of token each is if `typed`."""
        tokens, ids = dict(encoded.data), encoded["input_ids"]
        if typed:
            types = self.token_types(ids)
            tokens[self.types_name or "mm_token_type_ids"] = np.array(types) if isinstance(ids, np.ndarray) else types
        return tokens

    def token_types(self, rows: Any) -> list[list[int]]:
        """Return 1 for tokens of images, 2 for those of videos and 0 for others."""
        kinds = {self.feature_token_id: 1} | ({} if self.video_token_id is None else {self.video_token_id: 2})
        return [[kinds.get(int(token), 0) for token in row] for row in rows]

    # -- options ------------------------------------------------------------------------------------------------------
    @property
    def call_options(self) -> frozenset[str]:
        """The keywords that a call takes beside `images`, `text`, `videos` and `return_tensors`."""
        images = self.image_processor.known_settings | self.image_processor.shorthands
        return _TEXT_OPTIONS | images | self.video_settings

    def _split(self, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Split a call's keywords into the tokenizer's, the image processor's and the video processor's."""
        known = self.call_options
        for name in options:
            if RENAMED.get(name, name) not in known and name not in known:
                raise UnknownArgumentError.among(type(self).__name__, name, known)
        videos = self.video_settings
        images = known - _TEXT_OPTIONS - (videos - self.image_processor.known_settings)
        return (
            {name: value for name, value in options.items() if name in _TEXT_OPTIONS},
            {name: value for name, value in options.items() if RENAMED.get(name, name) in images},
            {name: value for name, value in options.items() if RENAMED.get(name, name) in videos},
        )

    @property
    def model_input_names(self) -> list[str]:
        """The arrays that a call with both may return."""
        names = [name for name in super().model_input_names if name not in self.unused]
        videos = () if self.video_processor is None else self.video_processor.model_input_names
        names = list(dict.fromkeys([*names, *videos]))
        return [*names, *([] if self.types_name is None else [self.types_name])]

    def post_process_image_text_to_text(
        self, generated_outputs: Any, skip_special_tokens: bool | None = None, **options: Any
    ) -> Any:
        """Decode generated ids (texts, tokens) to a list of texts; keywords as in the tokenizer's `batch_decode`."""
        if skip_special_tokens is None:
            skip_special_tokens = self.skips_special_tokens
        return self.tokenizer.batch_decode(generated_outputs, skip_special_tokens=skip_special_tokens, **options)

    # -- tokens -------------------------------------------------------------------------------------------------------
    @property
    def guarded(self) -> tuple[str, ...]:
        """The tokens that stay text where users type them."""
        videos = () if self.video_token is None else (self.video_token,)
        return self.image_token, self.feature_token, *videos, *self.reserved

    def token(self, role: str) -> str:
        """Return a token by its role: the tokenizer's, or that of the settings."""
        named = getattr(self.tokenizer, role, None)
        return str(self.settings[role] if named is None else named)

    def id_of(self, token: str) -> int:
        """Return the id of a token.

        Raises:
            BundleError: the tokenizer does not have it.
        """
        found = self.tokenizer.get_vocab().get(token)
        if found is None:
            raise BundleError(f"the tokenizer has no token {token!r}, which {type(self).__name__} needs")
        return found

    def number(self, name: str) -> int:
        """Return a setting that is a whole number.

        Raises:
            BundleError: it is not, or the files do not have it.
        """
        value = self.settings.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MOST:
            raise BundleError(f"{name} of {type(self).__name__} must be a whole number; got {value!r}: write it into "
                              "processor_config.json")  # fmt: skip
        return value


#: More tokens than any image takes up: a config must not fill the memory.
_MOST = 1 << 16


def _read(folder: Path | None, name: str) -> dict[str, Any]:
    return read_json(folder, name) if folder is not None and has_file(folder, name) else {}


def _some(entry: Any) -> bool:
    """Return whether an entry of a list of images holds one."""
    return bool(entry) if isinstance(entry, (list, tuple)) else entry is not None or as_array(entry) is not None
