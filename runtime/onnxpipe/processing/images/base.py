"""Turn images into the arrays of a model: `ImageProcessor`, with the steps that all families share.

    image ─to_image_or_array─▶ RGB ─shape─▶ right size ─values─▶ numbers ─finish─▶ array ─collect─▶ batch

The class of a family has its own defaults (`defaults`) and overrides the steps in which the family differs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Self, Unpack

import numpy as np

from onnxpipe.errors import ImageError, UnknownArgumentError, UnsupportedError
from onnxpipe.processing.arrays import check_tensor_type
from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.images import transforms
from onnxpipe.processing.images.inputs import flatten_images, to_image_or_array
from onnxpipe.processing.images.settings import (
    COMMON,
    LONGEST_SIDE,
    NAMES,
    RENAMED,
    ImageProcessorKeywords,
    ImageProcessorOverrides,
    ImageProcessorSettings,
    parse,
)
from onnxpipe.processing.images.transforms import Array, ImageOrArray
from onnxpipe.processing.processor_base import ProcessorBase
from onnxpipe.processing.processor_config import Kind, ProcessorConfig

#: Settings of the steps that look at each value alone; `ImageProcessor.values` may read no others.
_VALUE_SETTINGS = ("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std", "rescale_offset",
                   "offset", "include_top")  # fmt: skip
_REFUSED = {
    "segmentation_maps": "it is for training",
    "annotations": "it is for training",
    "return_segmentation_masks": "it is for training",
    "masks_path": "it is for training",
    "instance_id_to_semantic_id": "it is for training",
    "data_format": "arrays always have their channels first",
    "device": "images are preprocessed on the CPU",
    "disable_grouping": "it is for torchvision, which is not used here",
}


@dataclass(frozen=True)
class PreparedImage:
    """An image that is ready for a batch.

    Attributes:
        values: float32 (channels, height, width).
        original: height and width of the input.
        shaped: height and width after resizing and cropping, before padding.
    """

    values: Array
    original: tuple[int, int]
    shaped: tuple[int, int]


class ImageProcessor(ProcessorBase):
    """Turn images into arrays when called; the settings are attributes. Threads may share a processor.

    Every setting of the class can be read, set, and passed to a call; see `ImageProcessorSettings`.

    Args:
        **settings: override the defaults of the class.

    Raises:
        UnknownArgumentError: a keyword that the class does not know.
        UnsupportedError: a value that is not valid.
    """

    kind: ClassVar[Kind] = "image"
    type_key: ClassVar[str] = "image_processor_type"
    #: Settings that a file leaves out.
    defaults: ClassVar[ImageProcessorSettings] = ImageProcessorSettings()
    #: Defaults of transformers 4 where they were different: they hold for files that it wrote.
    older: ClassVar[Mapping[str, Any]] = {}
    #: Settings of the class that are None by default.
    also: ClassVar[frozenset[str]] = frozenset()
    #: Settings of other classes for which this one has no step.
    unused: ClassVar[frozenset[str]] = frozenset()
    #: Settings of calls that set others.
    shorthands: ClassVar[frozenset[str]] = frozenset()
    #: Names of settings in older files of the class -> today's names.
    renamed: ClassVar[Mapping[str, str]] = {}
    #: Whether one number as the size means height and width; else it is the shortest edge.
    square: ClassVar[bool] = True
    #: The longest edge that goes with one number as the shortest edge.
    longest: ClassVar[int | None] = None
    #: The largest number in a size.
    size_limit: ClassVar[int] = LONGEST_SIDE
    #: Arrays whose rows of all images follow each other in a batch, instead of being stacked.
    packed: ClassVar[frozenset[str]] = frozenset()
    #: The settings that the class knows.
    known_settings: ClassVar[frozenset[str]] = COMMON
    #: The names of the arrays that a call returns.
    model_input_names: Sequence[str] = ("pixel_values",)

    def __init__(self, **settings: Unpack[ImageProcessorOverrides]) -> None:
        super().__init__(**settings)

    # -- loading and saving -------------------------------------------------------------------------------------------
    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **keywords: Unpack[ImageProcessorKeywords]
    ) -> Self:
        """Load the processor of a folder or of a Hub repository, from `preprocessor_config.json` or
        `processor_config.json`.

        Args:
            pretrained_model_name_or_path: a folder, or a Hub id.
            **keywords: the Hub's (`FileKeywords`), and settings instead of what the files say.

        Raises:
            ModelNotFoundError: no such folder or repository, or it has no such file.
            BundleError: a damaged file.
            UnknownArgumentError, UnsupportedError: see the class.
        """
        return cls._load(pretrained_model_name_or_path, keywords)

    @classmethod
    def from_dict(
        cls, config: Mapping[str, Any], *, older: bool = False, **overrides: Unpack[ImageProcessorOverrides]
    ) -> Self:
        """Make a processor from what `preprocessor_config.json` holds.

        Args:
            config: the file's object. What this class does not know is kept, as attributes and for `to_dict`.
            older: the file is of transformers 4 or older, so settings that it lacks mean what they meant there.
            **overrides: instead of what the file says.

        Raises:
            BundleError: a value that is not valid.
            UnknownArgumentError: an override that this class does not know.
        """
        return cls.from_config(ProcessorConfig(config, older=older), overrides)

    @classmethod
    def _settings_in(cls, config: ProcessorConfig) -> tuple[dict[str, Any], dict[str, Any]]:
        known = cls.known_settings | ({"max_size"} if cls._takes_max_size() else frozenset())
        names = {**RENAMED, **cls.renamed}
        values = {names.get(key, key): value for key, value in config.values.items() if value is not None}
        settings = {**(cls.older if config.older else {}), **{k: v for k, v in values.items() if k in known}}
        return settings, {k: v for k, v in values.items() if k not in known and k not in _NOT_KEPT}

    def _plain_settings(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in NAMES if name in self.known_settings}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if v is not None}

    # -- settings -----------------------------------------------------------------------------------------------------
    def __init_subclass__(cls) -> None:
        with_default = {name for name, value in vars(cls.defaults).items() if value is not None}
        cls.known_settings = frozenset((COMMON | with_default | cls.also) - cls.unused)

    def _apply(self, settings: Mapping[str, Any]) -> None:
        for name, value in vars(replace(self.settings, **self._parsed(settings, "the constructor"))).items():
            if name in self.known_settings:
                self.__dict__[name] = value

    def _parsed(self, settings: Mapping[str, Any], where: str) -> dict[str, Any]:
        known = self.known_settings
        renamed: dict[str, Any] = {RENAMED.get(name, name): value for name, value in settings.items()}
        longest = renamed.pop("max_size", None) if self._takes_max_size() else None
        for name in renamed:
            if name not in known:
                if name in _REFUSED:
                    raise UnsupportedError(f"{name}= is not supported: {_REFUSED[name]}")
                raise UnknownArgumentError.among(f"{type(self).__name__} ({where})", name, known)
        if longest is not None and self.longest is None:
            renamed.setdefault("size", {**(self.defaults.size or {}), "longest_edge": longest})
        return parse(renamed, self.square, self.longest if longest is None else longest, self.size_limit)

    @classmethod
    def _takes_max_size(cls) -> bool:
        """Return whether old files may have {"size": 800, "max_size": 1333} for a size with two edges."""
        return "longest_edge" in (cls.defaults.size or {}) and "shortest_edge" in (cls.defaults.size or {})

    @property
    def settings(self) -> ImageProcessorSettings:
        """The settings, from the attributes, as one object."""
        own = self.__dict__
        return replace(self.defaults, **{name: own[name] for name in self.known_settings if name in own})

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a setting may have any form that files and calls may use, and None turns a step off."""
        if name in self.known_settings:
            parsed = parse({name: value}, self.square, self.longest, self.size_limit)
            value = parsed.get(name, False if name.startswith("do_") else None)
        self.__dict__[name] = value

    # -- the call -----------------------------------------------------------------------------------------------------
    def __call__(
        self, images: Any, *, return_tensors: Any = "np", **overrides: Unpack[ImageProcessorOverrides]
    ) -> BatchFeature:
        """Convert images to the arrays of the model.

        Args:
            images: an image, or a list of images: Pillow images, arrays (H, W, C) or (C, H, W), paths, URLs, bytes.
            return_tensors: "np" for arrays of the batch; None for lists with one entry an image.
            **overrides: settings for this call alone.

        Returns:
            `pixel_values` float32 (images, channels, height, width), and the other arrays of the family.

        Raises:
            ImageError: something that is not an image, or images that end up in different sizes, which make no batch.
            UnknownArgumentError, UnsupportedError: see the class.
        """
        check_tensor_type(return_tensors)
        settings = self.settings
        if overrides:
            settings = replace(settings, **self._parsed(overrides, "the call"))
        return self._converted(images, settings, return_tensors is not None)

    def preprocess(
        self, images: Any, *, return_tensors: Any = "np", **overrides: Unpack[ImageProcessorOverrides]
    ) -> BatchFeature:
        """Call the processor: the same, by its other name."""
        return self(images, return_tensors=return_tensors, **overrides)

    def _converted(self, images: Any, settings: ImageProcessorSettings, stacked: bool) -> BatchFeature:
        return self._features(flatten_images(images), settings, stacked)

    def _features(self, images: list[Any], settings: ImageProcessorSettings, stacked: bool) -> BatchFeature:
        data = self.collect([self._one(image, settings) for image in images], settings)
        return self.batch(data) if stacked else BatchFeature(data)

    def batch(self, data: Mapping[str, list[Any]]) -> BatchFeature:
        """Make one array of the rows of each name."""
        return BatchFeature(
            {name: np.concatenate(rows) if name in self.packed else stack(name, rows) for name, rows in data.items()}
        )

    def _one(self, image: Any, settings: ImageProcessorSettings) -> PreparedImage:
        image = to_image_or_array(image, settings)
        original = transforms.size_of(image)
        array = transforms.as_array(self.shape(image, settings))
        return PreparedImage(self.finish(self._numbers(array, settings), settings), original, array.shape[:2])

    def _numbers(self, array: Array, settings: ImageProcessorSettings) -> Array:
        """Apply `values` to an array (height, width, channels); return float32 (channels, height, width).

        A byte has only 256 values, so for bytes the steps are run on those alone, and the results are looked up.
        """
        if array.dtype != np.uint8:
            values = self.values(np.moveaxis(array, -1, 0), settings)
            return np.ascontiguousarray(values, dtype=np.float32)
        channels = array.shape[-1]
        table = _table(self.values, channels, tuple(getattr(settings, name) for name in _VALUE_SETTINGS))
        values = np.empty((channels, *array.shape[:2]), np.float32)
        for channel in range(channels):
            np.take(table[channel], array[..., channel], out=values[channel], mode="clip")
        return values

    # -- the steps, for families to override --------------------------------------------------------------------------
    def shape(self, image: ImageOrArray, settings: ImageProcessorSettings) -> ImageOrArray:
        """Bring an image to the model's size: resize it, then crop its centre."""
        if settings.do_resize:
            size = self.target_size(*transforms.size_of(image), settings)
            image = transforms.resize(image, size, settings.resample)
        if settings.do_center_crop:
            image = transforms.center_crop(image, settings.crop_size)
        return image

    def target_size(self, height: int, width: int, settings: ImageProcessorSettings) -> tuple[int, int]:
        """Return the height and width to which an image is resized."""
        return transforms.target_size(height, width, settings.size)

    @staticmethod
    def values(values: Array, settings: ImageProcessorSettings) -> Array:
        """Convert an array (channels, ...) to the model's numbers. A result may depend only on the value, its channel,
        and the settings in `_VALUE_SETTINGS`."""
        return transforms.normalize(transforms.rescale(values, settings), settings)

    def finish(self, values: Array, settings: ImageProcessorSettings) -> Array:
        """Apply the family's own steps to the numbers of one image, (channels, height, width)."""
        return values

    def collect(self, images: list[PreparedImage], settings: ImageProcessorSettings) -> dict[str, list[Any]]:
        """Collect the arrays by name, one entry an image, padded to the largest if `do_pad` is set."""
        values = [image.values for image in images]
        if settings.do_pad:
            size = padded_size(values, settings)
            values = [transforms.pad(image, size) for image in values]
        return {"pixel_values": values}


def padded_size(images: list[Array], settings: ImageProcessorSettings) -> tuple[int, int]:
    """Return `pad_size`, or the largest height and width."""
    if settings.pad_size is None:
        return transforms.largest(images)
    if "height" not in settings.pad_size:
        raise UnsupportedError(f"pad_size must have a height and a width; got {settings.pad_size}")
    return settings.pad_size["height"], settings.pad_size["width"]


def stack(name: str, rows: list[Any]) -> Array:
    """Stack rows into one array.

    Raises:
        ImageError: the rows have different shapes.
    """
    if len(rows) == 1 and isinstance(rows[0], np.ndarray):
        return rows[0][None]
    shapes = sorted({np.shape(row) for row in rows})
    if len(shapes) > 1:
        raise ImageError(
            f"{name}: the images end up in different shapes, {' and '.join(map(str, shapes[:3]))}: pass them one at "
            "a time, or a size with height and width"
        )
    return np.stack([np.asarray(row) for row in rows])


#: Keys of files that name the class they are for, or that are not settings.
_NOT_KEPT = frozenset(
    {"image_processor_type", "feature_extractor_type", "processor_class", "_processor_class", "_valid_processor_keys",
     "_valid_kwargs_names", "transformers_version", "max_size", "use_fast", "device", "disable_grouping", "data_format",
     "return_tensors", "default_to_square", "video_processor_type"}
)  # fmt: skip


@lru_cache(maxsize=64)
def _table(
    run: Callable[[Array, ImageProcessorSettings], Array], channels: int, settings_of_values: tuple[Any, ...]
) -> Array:
    """Return the float32 results of `run` for the bytes 0–255 in each channel: (channels, 256)."""
    settings = ImageProcessorSettings(**dict(zip(_VALUE_SETTINGS, settings_of_values)))
    every = np.broadcast_to(np.arange(256, dtype=np.uint8), (channels, 1, 256))
    return np.ascontiguousarray(run(every, settings).reshape(channels, 256), dtype=np.float32)
