"""Prepare images for models of timm, as the `pretrained_cfg` of their config.json says.

Sources: transformers' `TimmWrapperImageProcessor`; timm's `resolve_data_config` and `transforms_imagenet_eval`, whose
steps are those of torchvision on Pillow images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from onnxpipe.bundle.timm_config import PRETRAINED
from onnxpipe.errors import BundleError
from onnxpipe.processing.images import transforms
from onnxpipe.processing.images.base import ImageProcessor
from onnxpipe.processing.images.settings import (
    BICUBIC,
    BILINEAR,
    CROPPING,
    IMAGENET_MEAN,
    IMAGENET_STD,
    PADDING,
    ImageProcessorSettings,
)
from onnxpipe.processing.images.transforms import Array, ImageOrArray
from onnxpipe.processing.processor_config import ProcessorConfig


class TimmWrapperImageProcessor(ImageProcessor):
    """Models of timm: resize so that `crop_pct` of the image is kept, and crop the centre.

    `crop_mode` says how: "center" scales the short side and keeps the proportions, "squash" scales each side by itself,
    "border" scales the long side and lays the image on the mean colour.
    """

    unused: ClassVar[frozenset[str]] = CROPPING | PADDING
    renamed: ClassVar[Mapping[str, str]] = {
        "input_size": "size", "interpolation": "resample", "mean": "image_mean", "std": "image_std"
    }  # fmt: skip
    defaults: ClassVar = ImageProcessorSettings(
        do_resize=True, size={"height": 224, "width": 224}, resample=BICUBIC, crop_pct=0.875, crop_mode="center",
        do_rescale=True, do_normalize=True, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD,
    )  # fmt: skip

    @classmethod
    def _settings_in(cls, config: ProcessorConfig) -> tuple[dict[str, Any], dict[str, Any]]:
        values = dict(config.values.get(PRETRAINED) or config.values)
        for name in ("interpolation", "crop_pct", "crop_mode"):  # empty, they mean the default
            if not values.get(name):
                values.pop(name, None)
        size = values.get("input_size")
        if size is not None:
            if not isinstance(size, (list, tuple)) or len(size) != 3:
                raise BundleError(f"{config.name}: input_size must be [channels, height, width]; got {size!r:.80}")
            values["input_size"] = list(size[1:])
            for name in ("mean", "std"):  # one number holds for all channels
                if isinstance(values.get(name), list) and len(values[name]) == 1:
                    values[name] = values[name] * 3
        return super()._settings_in(replace(config, values=values))

    def shape(self, image: ImageOrArray, settings: ImageProcessorSettings) -> ImageOrArray:
        """Resize, and crop or pad to the size."""
        if not settings.do_resize:
            return image
        height, width = transforms.target_size(*transforms.size_of(image), settings.size)
        share = settings.crop_pct or 1.0
        original, scaled = transforms.size_of(image), (int(height / share), int(width / share))
        target, resample = scaled, settings.resample
        if settings.crop_mode == "border":
            target = _fitted(original, scaled, inside=True)
        elif settings.crop_mode != "squash" and scaled[0] == scaled[1]:
            target = transforms.with_short_side(*original, scaled[0])
        elif settings.crop_mode != "squash":  # timm passes no filter here
            target, resample = _fitted(original, scaled, inside=False), BILINEAR
        array = transforms.as_array(transforms.resize(image, target, resample))
        fill = settings.image_mean if settings.crop_mode == "border" else None
        return _centre(array, (height, width), 0.0 if fill is None else fill)


def _fitted(original: tuple[int, int], size: tuple[int, int], inside: bool) -> tuple[int, int]:
    """Scale a height and width, in their proportions, so that both fit into a size, or so that both fill it."""
    shares = [side / target for side, target in zip(original, size)]
    share = max(shares) if inside else min(shares)
    height, width = (round(side / share) for side in original)
    return height, width


def _centre(array: Array, size: tuple[int, int], fill: float | tuple[float, ...]) -> Array:
    """Pad an image to at least a size, and crop its centre; halves are rounded to the even number, as in torchvision.

    Args:
        fill: the colour, of 0 to 1.
    """
    more = [max(target - side, 0) for side, target in zip(array.shape, size)]
    if any(more):
        shape = [side + extra for side, extra in zip(array.shape, more)]
        checked = transforms.checked_size((shape[0], shape[1]), (array.shape[0], array.shape[1]))
        colour = np.round(np.asarray(fill) * 255) if array.dtype == np.uint8 else np.asarray(fill)
        canvas = np.empty((*checked, array.shape[2]), array.dtype)
        canvas[:] = colour.astype(array.dtype)
        top, left = (extra // 2 for extra in more)
        canvas[top : top + array.shape[0], left : left + array.shape[1]] = array
        array = canvas
    top, left = (round((side - target) / 2) for side, target in zip(array.shape, size))
    return array[top : top + size[0], left : left + size[1]]
