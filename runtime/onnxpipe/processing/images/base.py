"""ImageProcessor: pictures to the arrays of a model, in the steps that all families share.

    image ─to_image_or_array─▶ RGB ─shape─▶ right size ─values─▶ numbers ─finish─▶ array ─collect─▶ batch

A family's class says what it does by default (`defaults`) and overrides the steps in which it really differs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self, Unpack

import numpy as np

from onnxpipe.errors import BundleError, ImageError, UnknownArgumentError, UnsupportedError
from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.images import transforms
from onnxpipe.processing.images.inputs import flatten_images, to_image_or_array
from onnxpipe.processing.images.settings import (
    COMMON,
    NAMES,
    RENAMED,
    ImageProcessorOverrides,
    ImageProcessorSettings,
    parse,
)
from onnxpipe.processing.images.transforms import Array, ImageOrArray
from onnxpipe.processing.text.batch_encoding import check_tensor_type

#: What changes a value by the value alone; `ImageProcessor.values` may read no other setting.
_OF_VALUES = ("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std", "rescale_offset", "offset",
              "include_top")  # fmt: skip
_REFUSED = {
    "segmentation_maps": "it is for training",
    "annotations": "it is for training",
    "return_segmentation_masks": "it is for training",
    "masks_path": "it is for training",
    "instance_id_to_semantic_id": "it is for training",
    "data_format": "arrays have their channels first",
    "device": "pictures are prepared on the CPU",
    "disable_grouping": "it speeds torchvision up, which is not here",
    "return_row_col_info": "it belongs to models that are not here",
}


@dataclass(frozen=True)
class PreparedImage:
    """One picture, ready for a batch.

    Attributes:
        values: float32 (channels, height, width).
        original: height and width that it came with.
        shaped: height and width after resizing and cropping, before padding.
    """

    values: Array
    original: tuple[int, int]
    shaped: tuple[int, int]


class ImageProcessor:
    """Settings as attributes, images to arrays as a call. Threads may share one.

    Every setting that the class has may be read, set, and given to a call; see `ImageProcessorSettings`.

    Args:
        **settings: instead of the class's defaults.

    Raises:
        UnknownArgumentError: a keyword that this class has not.
        UnsupportedError: a value that means nothing.
    """

    #: What a file that is silent means.
    defaults: ClassVar[ImageProcessorSettings] = ImageProcessorSettings()
    #: Where transformers 4 had other defaults: they hold for files that it wrote.
    older: ClassVar[Mapping[str, Any]] = {}
    #: Settings of the class that are None by default.
    also: ClassVar[frozenset[str]] = frozenset()
    #: Settings that other classes have and this one has no step for.
    unused: ClassVar[frozenset[str]] = frozenset()
    #: Names that settings had in older files of the class.
    renamed: ClassVar[Mapping[str, str]] = {}
    #: Whether a size that is one number is both sides.
    square: ClassVar[bool] = True
    #: The longest edge that goes with such a size, where it is the shortest edge.
    longest: ClassVar[int | None] = None
    #: The settings that mean something to the class.
    known_settings: ClassVar[frozenset[str]] = COMMON
    #: The arrays of a call.
    model_input_names: Sequence[str] = ("pixel_values",)

    def __init__(self, **settings: Unpack[ImageProcessorOverrides]) -> None:
        self._extra: dict[str, Any] = {}
        self._become(settings)

    # -- loading and saving -------------------------------------------------------------------------------------------
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
    ) -> Self:
        """The processor of a folder or of a Hub repository, from `preprocessor_config.json` or `processor_config.json`.

        Args:
            pretrained_model_name_or_path: a folder, or a Hub id.
            revision: branch, tag or commit on the Hub.
            token: the Hub's token, or True for the stored one.
            cache_dir: the Hub's cache; None for its default.
            local_files_only: never ask the network.
            subfolder: where in the folder the files are.
            trust_remote_code: refused when true.
            **overrides: instead of what the files say.

        Raises:
            ModelNotFoundError: no such folder or repository, or it has no such file.
            BundleError: a damaged file.
            UnknownArgumentError, UnsupportedError: see the class.
        """
        from onnxpipe.processing.processor_config import fetch_config

        found = fetch_config(
            pretrained_model_name_or_path, revision=revision, token=token, cache_dir=cache_dir,
            local_files_only=local_files_only, subfolder=subfolder, trust_remote_code=trust_remote_code,
        )  # fmt: skip
        return cls.of_file(found.config, found.name, found.older, found.folder, overrides)

    @classmethod
    def from_dict(
        cls, config: Mapping[str, Any], *, older: bool = False, **overrides: Unpack[ImageProcessorOverrides]
    ) -> Self:
        """A processor from what `preprocessor_config.json` holds.

        Args:
            config: the file's object. What this class does not know is kept, as attributes and for `to_dict`.
            older: the file is of transformers 4 or older, so silent settings mean what they meant there.
            **overrides: instead of what the file says.

        Raises:
            BundleError: a value that means nothing.
            UnknownArgumentError: an override that this class has not.
        """
        return cls.of_file(config, "the config", older, None, overrides)

    @classmethod
    def of_file(
        cls, config: Mapping[str, Any], name: str, older: bool, folder: Path | None, overrides: ImageProcessorOverrides
    ) -> Self:
        """See `from_dict`; `folder` is where other files of the model are."""
        processor = cls()
        known = cls.known_settings | ({"max_size"} if cls._takes_max_size() else frozenset())
        names = {**RENAMED, **cls.renamed}
        given = {names.get(key, key): value for key, value in config.items() if value is not None}
        processor._extra = {k: v for k, v in given.items() if k not in known and k not in _NOT_KEPT}
        settings = {k: v for k, v in given.items() if k in known}
        try:
            processor._become({**cls.older, **settings} if older else settings)
        except UnsupportedError as error:
            raise BundleError(f"{name}: {error}") from error
        processor._become(overrides)
        processor._load_more(folder)
        return processor

    def _load_more(self, folder: Path | None) -> None:
        """For families that need other files of the model."""

    def to_dict(self) -> dict[str, Any]:
        """The settings as `preprocessor_config.json` has them."""
        values = {name: getattr(self, name) for name in NAMES if name in self.known_settings}
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if v is not None}
        return {**self._extra, **plain, "image_processor_type": type(self).__name__}

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> list[str]:
        """Writes `preprocessor_config.json`, which transformers 4 and 5 read too, to a folder made if need be; returns
        its path in a list."""
        path = Path(save_directory) / "preprocessor_config.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return [str(path)]

    # -- settings -----------------------------------------------------------------------------------------------------
    def __init_subclass__(cls) -> None:
        told = {name for name, value in vars(cls.defaults).items() if value is not None}
        cls.known_settings = frozenset((COMMON | told | cls.also) - cls.unused)

    def _become(self, settings: ImageProcessorOverrides | Mapping[str, Any]) -> None:
        for name, value in vars(replace(self.settings, **self._parsed(settings, "the constructor"))).items():
            if name in self.known_settings:
                self.__dict__[name] = value

    def _parsed(self, settings: ImageProcessorOverrides | Mapping[str, Any], where: str) -> dict[str, Any]:
        known = self.known_settings
        renamed: dict[str, Any] = {RENAMED.get(name, name): value for name, value in settings.items()}
        longest = renamed.pop("max_size", None) if self._takes_max_size() else None
        for name in renamed:
            if name not in known:
                if name in _REFUSED:
                    raise UnsupportedError(f"{name}= is refused: {_REFUSED[name]}")
                raise UnknownArgumentError.among(f"{type(self).__name__} ({where})", name, known)
        if longest is not None and self.longest is None:
            renamed.setdefault("size", {**(self.defaults.size or {}), "longest_edge": longest})
        return parse(renamed, self.square, self.longest if longest is None else longest)

    @classmethod
    def _takes_max_size(cls) -> bool:
        """Old files say {"size": 800, "max_size": 1333} where newer ones have a size of two edges."""
        return "longest_edge" in (cls.defaults.size or {}) and "shortest_edge" in (cls.defaults.size or {})

    @property
    def settings(self) -> ImageProcessorSettings:
        """The attributes that are settings, as one object."""
        own = self.__dict__
        return replace(self.defaults, **{name: own[name] for name in self.known_settings if name in own})

    def __setattr__(self, name: str, value: Any) -> None:
        """Settings may be set in any form; None switches a step off."""
        if name in self.known_settings:
            value = parse({name: value}, self.square, self.longest).get(name, False if name.startswith("do_") else None)
        self.__dict__[name] = value

    def __getattr__(self, name: str) -> Any:
        extra = self.__dict__.get("_extra", {})
        if name not in extra:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return extra[name]

    def __repr__(self) -> str:
        return f"{type(self).__name__} {json.dumps(self.to_dict(), indent=2, sort_keys=True)}"

    # -- the call -----------------------------------------------------------------------------------------------------
    def __call__(
        self, images: Any, *, return_tensors: Any = "np", **overrides: Unpack[ImageProcessorOverrides]
    ) -> BatchFeature:
        """Arrays for the model.

        Args:
            images: a picture, or a list of them: Pillow images, arrays (H, W, C) or (C, H, W), paths, URLs, bytes.
            return_tensors: "np" for arrays of the batch; None for lists, one entry a picture.
            **overrides: settings for this call alone.

        Returns:
            `pixel_values` float32 (pictures, channels, height, width), and what else the family has.

        Raises:
            ImageError: something that is no picture, or pictures that come out in sizes that make no batch.
            UnknownArgumentError, UnsupportedError: see the class.
        """
        check_tensor_type(return_tensors)
        settings = self.settings
        if overrides:
            settings = replace(settings, **self._parsed(overrides, "the call"))
        return self._features(flatten_images(images), settings, return_tensors is not None)

    def preprocess(
        self, images: Any, *, return_tensors: Any = "np", **overrides: Unpack[ImageProcessorOverrides]
    ) -> BatchFeature:
        """The call, by its other name."""
        return self(images, return_tensors=return_tensors, **overrides)

    def _features(self, images: list[Any], settings: ImageProcessorSettings, stacked: bool) -> BatchFeature:
        data = self.collect([self._one(image, settings) for image in images], settings)
        return BatchFeature({name: stack(name, rows) for name, rows in data.items()} if stacked else data)

    def _one(self, image: Any, settings: ImageProcessorSettings) -> PreparedImage:
        picture = to_image_or_array(image, settings)
        original = transforms.size_of(picture)
        array = transforms.as_array(self.shape(picture, settings))
        return PreparedImage(self.finish(self._numbers(array, settings), settings), original, array.shape[:2])

    def _numbers(self, array: Array, settings: ImageProcessorSettings) -> Array:
        """`values` of an array (height, width, channels), as float32 (channels, height, width).

        There are but 256 bytes, so for bytes the steps are run over those alone, and their results looked up.
        """
        if array.dtype != np.uint8:
            values = self.values(np.moveaxis(array, -1, 0), settings)
            return np.ascontiguousarray(values, dtype=np.float32)
        channels = array.shape[-1]
        table = _table(self.values, channels, tuple(getattr(settings, name) for name in _OF_VALUES))
        values = np.empty((channels, *array.shape[:2]), np.float32)
        for channel in range(channels):
            np.take(table[channel], array[..., channel], out=values[channel], mode="clip")
        return values

    # -- the steps, for families to override --------------------------------------------------------------------------
    def shape(self, picture: ImageOrArray, settings: ImageProcessorSettings) -> ImageOrArray:
        """The picture in the model's size: resized, then its middle cut out."""
        if settings.do_resize:
            size = self.target_size(*transforms.size_of(picture), settings)
            picture = transforms.resize(picture, size, settings.resample)
        if settings.do_center_crop:
            picture = transforms.center_crop(picture, settings.crop_size)
        return picture

    def target_size(self, height: int, width: int, settings: ImageProcessorSettings) -> tuple[int, int]:
        """The height and width that a picture is resized to."""
        return transforms.target_size(height, width, settings.size)

    @staticmethod
    def values(values: Array, settings: ImageProcessorSettings) -> Array:
        """The model's numbers of an array (channels, ...). What becomes of a value may depend on its channel only, and
        on the settings named in `_OF_VALUES`."""
        return transforms.normalize(transforms.rescale(values, settings), settings)

    def finish(self, values: Array, settings: ImageProcessorSettings) -> Array:
        """What a family does to the numbers of one picture, (channels, height, width)."""
        return values

    def collect(self, images: list[PreparedImage], settings: ImageProcessorSettings) -> dict[str, list[Any]]:
        """The arrays by name, one entry a picture: padded to the largest, where `do_pad` says so."""
        values = [image.values for image in images]
        if settings.do_pad:
            size = padded_size(values, settings)
            values = [transforms.pad(image, size) for image in values]
        return {"pixel_values": values}


def padded_size(images: list[Array], settings: ImageProcessorSettings) -> tuple[int, int]:
    """`pad_size`, or the largest height and width."""
    if settings.pad_size is None:
        return transforms.largest(images)
    if "height" not in settings.pad_size:
        raise UnsupportedError(f"pad_size must have a height and a width; got {settings.pad_size}")
    return settings.pad_size["height"], settings.pad_size["width"]


def stack(name: str, rows: list[Any]) -> Array:
    """One array of the rows.

    Raises:
        ImageError: rows of unlike shape.
    """
    if len(rows) == 1 and isinstance(rows[0], np.ndarray):
        return rows[0][None]
    shapes = sorted({np.shape(row) for row in rows})
    if len(shapes) > 1:
        raise ImageError(
            f"{name}: the pictures come out in different shapes, {' and '.join(map(str, shapes[:3]))}: give them one "
            "at a time, or a size with height and width"
        )
    return np.stack([np.asarray(row) for row in rows])


#: Keys of files that say which class they are for, and nothing of the settings.
_NOT_KEPT = frozenset(
    {"image_processor_type", "feature_extractor_type", "processor_class", "_processor_class", "_valid_processor_keys",
     "_valid_kwargs_names", "transformers_version", "max_size", "use_fast", "device", "disable_grouping", "data_format",
     "return_tensors", "default_to_square", "video_processor_type"}
)  # fmt: skip


@lru_cache(maxsize=64)
def _table(run: Callable[[Array, ImageProcessorSettings], Array], channels: int, of_values: tuple[Any, ...]) -> Array:
    """The float32 values that `run` makes of the bytes 0–255 for each channel: (channels, 256)."""
    settings = ImageProcessorSettings(**dict(zip(_OF_VALUES, of_values)))
    every = np.broadcast_to(np.arange(256, dtype=np.uint8), (channels, 1, 256))
    return np.ascontiguousarray(run(every, settings).reshape(channels, 256), dtype=np.float32)
