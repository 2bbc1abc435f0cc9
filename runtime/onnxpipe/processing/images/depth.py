"""Preprocess images for depth estimation: to sizes that are multiples of a patch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Unpack

import numpy as np

from onnxpipe.errors import ImageError, UnsupportedError
from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.images import transforms
from onnxpipe.processing.images.base import ImageProcessor, stack
from onnxpipe.processing.images.interpolate import interpolate
from onnxpipe.processing.images.postprocess import depth, segmentation
from onnxpipe.processing.images.settings import (
    BICUBIC,
    BILINEAR,
    CROPPING,
    HALF,
    PADDING,
    ImageProcessorOverrides,
    ImageProcessorSettings,
)
from onnxpipe.processing.images.transforms import Array, ImageOrArray

_DPT = ImageProcessorSettings(
    do_resize=True, size={"height": 384, "width": 384}, resample=BICUBIC, keep_aspect_ratio=False, ensure_multiple_of=1,
    do_rescale=True, do_normalize=True, image_mean=HALF, image_std=HALF, do_pad=False,
)  # fmt: skip
_NO_PAD_SIZE = frozenset({"pad_size"})


def multiples(height: int, width: int, settings: ImageProcessorSettings) -> tuple[int, int]:
    """Compute a height and width near those of `size`, in multiples of `ensure_multiple_of`.

    With `keep_aspect_ratio` both sides are scaled by the same factor, the one that changes the image less.
    """
    size, multiple = settings.size or {}, settings.ensure_multiple_of or 1
    if "height" not in size:
        raise UnsupportedError(f"size must have a height and a width; got {size}")
    by_height, by_width = size["height"] / height, size["width"] / width
    if settings.keep_aspect_ratio:
        by_height = by_width = by_width if abs(1 - by_width) < abs(1 - by_height) else by_height
    return (
        int(round(by_height * height / multiple) * multiple),
        int(round(by_width * width / multiple) * multiple),
    )


class _DPTImageProcessor(ImageProcessor):
    """Resize to multiples; with `do_pad`, pad on all sides to a multiple of `size_divisor`."""

    unused: ClassVar[frozenset[str]] = CROPPING | _NO_PAD_SIZE
    also: ClassVar[frozenset[str]] = frozenset({"size_divisor"})
    defaults: ClassVar = _DPT

    def target_size(self, height: int, width: int, settings: ImageProcessorSettings) -> tuple[int, int]:
        """See `multiples`."""
        return multiples(height, width, settings)

    def finish(self, values: Array, settings: ImageProcessorSettings) -> Array:
        """Pad with zeros, half of them before and half after the image."""
        if not settings.do_pad or not settings.size_divisor:
            return values
        height, width = values.shape[-2:]
        size = (
            transforms.up_to_multiple(height, settings.size_divisor),
            transforms.up_to_multiple(width, settings.size_divisor),
        )
        transforms.checked_size(size, (height, width))
        missing = (size[0] - height, size[1] - width)
        return np.pad(values, [(0, 0), *((n // 2, n - n // 2) for n in missing)])

    def collect(self, images: list[Any], settings: ImageProcessorSettings) -> dict[str, list[Any]]:
        """Collect `pixel_values`, which are padded already."""
        return super().collect(images, replace(settings, do_pad=False))


class DPTImageProcessor(_DPTImageProcessor):
    """DPT, Depth Anything."""

    defaults: ClassVar = replace(_DPT, do_reduce_labels=False)

    post_process_semantic_segmentation = staticmethod(segmentation.semantic)
    post_process_depth_estimation = staticmethod(depth.depth)


class PromptDepthAnythingImageProcessor(_DPTImageProcessor):
    """Prompt Depth Anything: with a coarse depth map as a prompt."""

    defaults: ClassVar = replace(_DPT, prompt_scale_to_meter=0.001)
    model_input_names = ("pixel_values", "prompt_depth")

    post_process_depth_estimation = staticmethod(depth.depth)

    def __call__(
        self,
        images: Any,
        prompt_depth: Any = None,
        *,
        return_tensors: Any = "np",
        **overrides: Unpack[ImageProcessorOverrides],
    ) -> BatchFeature:
        """Convert images and depth maps to the arrays of the model.

        Args:
            images, return_tensors, **overrides: see `ImageProcessor`.
            prompt_depth: for each image the measured depth (height, width), as an array or a Pillow image; times
                `prompt_scale_to_meter` it is in metres.

        Returns:
            `pixel_values`, and `prompt_depth` float32 (images, 1, height, width) if it was passed.
        """
        features = super().__call__(images, return_tensors=return_tensors, **overrides)
        if prompt_depth is None:
            return features
        override = overrides.get("prompt_scale_to_meter")
        scale = self.prompt_scale_to_meter if override is None else override
        depths = [_metres(measured, scale) for measured in _maps(prompt_depth)]
        if len(depths) != len(features["pixel_values"]):
            raise ImageError(f"prompt_depth has {len(depths)} maps for {len(features['pixel_values'])} images")
        features["prompt_depth"] = depths if return_tensors is None else stack("prompt_depth", depths)
        return features


def _maps(prompt: Any) -> list[Array]:
    """List the depth maps of a prompt, each (height, width)."""
    if isinstance(prompt, (list, tuple)):
        return [measured for entry in prompt for measured in _maps(entry)]
    array = np.asarray(prompt)
    if array.ndim == 3:
        return list(array)
    if array.ndim != 2:
        raise ImageError(f"prompt_depth must have maps of the shape (height, width); got {array.shape}")
    return [array]


def _metres(measured: Array, scale: float) -> Array:
    """Convert a map to metres, (1, height, width) float32.

    In a constant map the first row is made a little different, because the model divides by the range.
    """
    metres = (measured * scale)[None]
    if metres.min() == metres.max():
        metres[0, 0] = metres[0, 0] + 1e-6
    return metres.astype(np.float32)


class GLPNImageProcessor(ImageProcessor):
    """GLPN: round both sides down to a multiple of `size_divisor`."""

    unused: ClassVar[frozenset[str]] = CROPPING | PADDING | frozenset({"size"})
    defaults: ClassVar = ImageProcessorSettings(do_resize=True, resample=BILINEAR, do_rescale=True, size_divisor=32)

    post_process_depth_estimation = staticmethod(depth.depth)

    def target_size(self, height: int, width: int, settings: ImageProcessorSettings) -> tuple[int, int]:
        """Round both sides down to the multiple."""
        divisor = settings.size_divisor or 1
        return transforms.down_to_multiple(height, divisor), transforms.down_to_multiple(width, divisor)


class ZoeDepthImageProcessor(ImageProcessor):
    """ZoeDepth: pad with the mirrored image, and resize floats, not bytes.

    The numbers are torch's up to the order of additions (1e-6). The default multiple is 32 in transformers 4, and 1/32
    in transformers 5, which only rounds to whole pixels.
    """

    unused: ClassVar[frozenset[str]] = CROPPING | _NO_PAD_SIZE
    defaults: ClassVar = ImageProcessorSettings(
        do_rescale=True, do_pad=True, do_resize=True, size={"height": 384, "width": 512}, resample=BILINEAR,
        keep_aspect_ratio=True, ensure_multiple_of=1 / 32, do_normalize=True, image_mean=HALF, image_std=HALF,
    )  # fmt: skip
    older: ClassVar = {"ensure_multiple_of": 32}

    post_process_depth_estimation = staticmethod(depth.zoedepth)

    def shape(self, image: ImageOrArray, settings: ImageProcessorSettings) -> ImageOrArray:
        """Return the image as it is: all further steps work on the rescaled numbers."""
        return image

    @staticmethod
    def values(values: Array, settings: ImageProcessorSettings) -> Array:
        """Rescale only."""
        return transforms.rescale(values, settings)

    def finish(self, values: Array, settings: ImageProcessorSettings) -> Array:
        """Pad, resize and normalise."""
        if settings.do_pad:
            above, before = (int(np.sqrt(side / 2) * 3) for side in values.shape[-2:])
            values = np.pad(values, ((0, 0), (above, above), (before, before)), mode="reflect")
        if settings.do_resize:
            modes = {BILINEAR: "bilinear", BICUBIC: "bicubic"}
            if settings.resample not in modes:
                raise UnsupportedError(
                    f"resample={settings.resample}: it must be 2 (bilinear) or 3 (bicubic) for ZoeDepth"
                )
            height, width = values.shape[-2:]
            size = transforms.checked_size(multiples(height, width, settings), (height, width))
            values = interpolate(values, size, modes[settings.resample], align_corners=True)
        return np.asarray(transforms.normalize(values, settings), np.float32)

    def collect(self, images: list[Any], settings: ImageProcessorSettings) -> dict[str, list[Any]]:
        """Collect `pixel_values`, which are padded already."""
        return super().collect(images, replace(settings, do_pad=False))
