"""Preprocess images for classifiers, backbones and image-text models: resize, crop, rescale, normalise."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.images import transforms
from onnxpipe.processing.images.base import ImageProcessor
from onnxpipe.processing.images.postprocess import segmentation
from onnxpipe.processing.images.settings import (
    BICUBIC,
    BILINEAR,
    CLIP_MEAN,
    CLIP_STD,
    CROPPING,
    HALF,
    IMAGENET_MEAN,
    IMAGENET_STD,
    NEAREST,
    NORMALIZING,
    PADDING,
    ImageProcessorSettings,
)
from onnxpipe.processing.images.transforms import Array, ImageOrArray


def _square(side: int) -> dict[str, int]:
    return {"height": side, "width": side}


_CLIP = ImageProcessorSettings(
    do_convert_rgb=True, do_resize=True, size={"shortest_edge": 224}, resample=BICUBIC, do_center_crop=True,
    crop_size=_square(224), do_rescale=True, do_normalize=True, image_mean=CLIP_MEAN, image_std=CLIP_STD,
)  # fmt: skip
_MOBILENET = ImageProcessorSettings(
    do_resize=True, size={"shortest_edge": 256}, resample=BILINEAR, do_center_crop=True, crop_size=_square(224),
    do_rescale=True, do_normalize=True, image_mean=HALF, image_std=HALF,
)  # fmt: skip


class ViTImageProcessor(ImageProcessor):
    """ViT, Swin, Swin V2, ViT-MSN and many others."""

    defaults: ClassVar = ImageProcessorSettings(
        do_resize=True, size=_square(224), resample=BILINEAR, do_rescale=True, do_normalize=True,
        image_mean=HALF, image_std=HALF,
    )  # fmt: skip


class DeiTImageProcessor(ImageProcessor):
    """DeiT."""

    defaults: ClassVar = ImageProcessorSettings(
        do_resize=True, size=_square(256), resample=BICUBIC, do_center_crop=True, crop_size=_square(224),
        do_rescale=True, do_normalize=True, image_mean=HALF, image_std=HALF,
    )  # fmt: skip


class BeitImageProcessor(ImageProcessor):
    """BEiT, Data2Vec-Vision. transformers 4 resized to 256 and cropped the centre."""

    defaults: ClassVar = ImageProcessorSettings(
        do_resize=True, size=_square(224), resample=BICUBIC, do_center_crop=False, crop_size=_square(224),
        do_rescale=True, do_normalize=True, image_mean=HALF, image_std=HALF, do_reduce_labels=False,
    )  # fmt: skip
    older: ClassVar = {"size": 256, "do_center_crop": True}

    post_process_semantic_segmentation = staticmethod(segmentation.semantic)


class BitImageProcessor(ImageProcessor):
    """BiT, DINOv2, FocalNet, Hiera."""

    square: ClassVar[bool] = False
    defaults: ClassVar = _CLIP


class CLIPImageProcessor(ImageProcessor):
    """CLIP and similar models."""

    square: ClassVar[bool] = False
    defaults: ClassVar = _CLIP


class ChineseCLIPImageProcessor(ImageProcessor):
    """Chinese-CLIP."""

    square: ClassVar[bool] = False
    defaults: ClassVar = _CLIP


class ConvNextImageProcessor(ImageProcessor):
    """ConvNeXT, ResNet, RegNet, CvT: below 384 pixels, resize to a little more and crop the centre."""

    square: ClassVar[bool] = False
    defaults: ClassVar = ImageProcessorSettings(
        do_resize=True, size={"shortest_edge": 384}, resample=BICUBIC, crop_pct=224 / 256, do_rescale=True,
        do_normalize=True, image_mean=HALF, image_std=HALF,
    )  # fmt: skip
    older: ClassVar = {"resample": BILINEAR}

    def shape(self, image: ImageOrArray, settings: ImageProcessorSettings) -> ImageOrArray:
        """Resize; below 384 pixels, crop the centre too."""
        edge = transforms.shortest_edge(settings.size) if settings.do_resize else 384
        if edge < 384:
            size = self.target_size(*transforms.size_of(image), settings)
            image = transforms.resize(image, size, settings.resample)
            image, settings = transforms.center_crop(image, _square(edge)), replace(settings, do_resize=False)
        return super().shape(image, settings)

    def target_size(self, height: int, width: int, settings: ImageProcessorSettings) -> tuple[int, int]:
        """Return a square of the edge from 384 pixels on; below, the short side is edge / crop_pct."""
        edge = transforms.shortest_edge(settings.size)
        if edge >= 384:
            return edge, edge
        return transforms.with_short_side(height, width, int(edge / (settings.crop_pct or 1)))


class EfficientNetImageProcessor(ImageProcessor):
    """EfficientNet, ALIGN: divide by the deviation once more if `include_top` is set."""

    defaults: ClassVar = ImageProcessorSettings(
        do_resize=True, size=_square(346), resample=BICUBIC, do_center_crop=False, crop_size=_square(289),
        do_rescale=True, rescale_offset=False, do_normalize=True, image_mean=HALF, image_std=HALF, include_top=True,
    )  # fmt: skip
    older: ClassVar = {"resample": NEAREST}

    @staticmethod
    def values(values: Array, settings: ImageProcessorSettings) -> Array:
        """Rescale, subtract 1 if `rescale_offset`, normalise, and divide again if `include_top`."""
        values = transforms.rescale(values, settings)
        if settings.do_rescale and settings.rescale_offset:
            values = values - np.float32(1)
        values = transforms.normalize(values, settings)
        if settings.include_top and settings.image_std is not None:
            values = transforms.standardize(values, 0, settings.image_std)
        return values


class MobileNetV1ImageProcessor(ImageProcessor):
    """MobileNet V1."""

    square: ClassVar[bool] = False
    defaults: ClassVar = _MOBILENET


class MobileNetV2ImageProcessor(ImageProcessor):
    """MobileNet V2, and DeepLab on it."""

    square: ClassVar[bool] = False
    also: ClassVar[frozenset[str]] = frozenset({"do_reduce_labels"})
    defaults: ClassVar = _MOBILENET

    post_process_semantic_segmentation = staticmethod(segmentation.semantic)


class MobileViTImageProcessor(ImageProcessor):
    """MobileViT: channels in the order BGR, without normalisation."""

    unused: ClassVar[frozenset[str]] = NORMALIZING
    square: ClassVar[bool] = False
    defaults: ClassVar = ImageProcessorSettings(
        do_resize=True, size={"shortest_edge": 224}, resample=BICUBIC, do_center_crop=True, crop_size=_square(256),
        do_rescale=True, do_flip_channel_order=True, do_reduce_labels=False,
    )  # fmt: skip
    older: ClassVar = {"resample": BILINEAR}

    def shape(self, image: ImageOrArray, settings: ImageProcessorSettings) -> ImageOrArray:
        """Resize, crop, and convert RGB to BGR."""
        array = transforms.as_array(super().shape(image, settings))
        return array[..., ::-1] if settings.do_flip_channel_order else array

    @staticmethod
    def values(values: Array, settings: ImageProcessorSettings) -> Array:
        """Rescale only."""
        return transforms.rescale(values, settings)

    post_process_semantic_segmentation = staticmethod(segmentation.semantic)


class LevitImageProcessor(ImageProcessor):
    """LeViT: resize the short side to 256/224 of the size."""

    square: ClassVar[bool] = False
    defaults: ClassVar = ImageProcessorSettings(
        do_resize=True, size={"shortest_edge": 224}, resample=BICUBIC, do_center_crop=True, crop_size=_square(224),
        do_rescale=True, do_normalize=True, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD,
    )  # fmt: skip

    def target_size(self, height: int, width: int, settings: ImageProcessorSettings) -> tuple[int, int]:
        """Scale to that short side; a size of height and width is taken as it is."""
        if settings.size and "shortest_edge" in settings.size:
            return transforms.with_short_side(height, width, int(256 / 224 * settings.size["shortest_edge"]))
        return super().target_size(height, width, settings)


class PoolFormerImageProcessor(ImageProcessor):
    """PoolFormer: resize to the size divided by `crop_pct`."""

    square: ClassVar[bool] = False
    defaults: ClassVar = ImageProcessorSettings(
        do_resize=True, size={"shortest_edge": 224}, resample=BICUBIC, crop_pct=0.9, do_center_crop=True,
        crop_size=_square(224), do_rescale=True, do_normalize=True, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD,
    )  # fmt: skip

    def target_size(self, height: int, width: int, settings: ImageProcessorSettings) -> tuple[int, int]:
        """Divide the short side by `crop_pct`, or height and width where they differ."""
        size, share = settings.size or {}, settings.crop_pct
        if share is None or not ("shortest_edge" in size or "height" in size):
            return super().target_size(height, width, settings)
        if "height" in size and size["height"] != size["width"]:
            return int(size["height"] / share), int(size["width"] / share)
        return transforms.with_short_side(height, width, int(size.get("shortest_edge", size.get("height", 0)) / share))


class PvtImageProcessor(ImageProcessor):
    """PVT and PVT V2."""

    defaults: ClassVar = ImageProcessorSettings(
        do_resize=True, size=_square(224), resample=BICUBIC, do_rescale=True, do_normalize=True,
        image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD,
    )  # fmt: skip
    older: ClassVar = {"resample": BILINEAR}


class PerceiverImageProcessor(ImageProcessor):
    """Perceiver: crop the centre before resizing, in the proportion size : crop_size."""

    defaults: ClassVar = ImageProcessorSettings(
        do_center_crop=True, crop_size=_square(256), do_resize=True, size=_square(224), resample=BICUBIC,
        do_rescale=True, do_normalize=True, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD,
    )  # fmt: skip

    def shape(self, image: ImageOrArray, settings: ImageProcessorSettings) -> ImageOrArray:
        """Crop, then resize."""
        size, crop = settings.size or {}, settings.crop_size or {}
        if settings.do_center_crop:
            if "height" not in size or "height" not in crop:
                raise UnsupportedError(f"size and crop_size must have height and width; got {size} and {crop}")
            short = min(transforms.size_of(image))
            inner = {side: int(size[side] / crop[side] * short) for side in ("height", "width")}
            image = transforms.center_crop(image, inner)
        return super().shape(image, replace(settings, do_center_crop=False))


class SiglipImageProcessor(ImageProcessor):
    """SigLIP, and SigLIP 2 of fixed size."""

    square: ClassVar[bool] = False
    defaults: ClassVar = ImageProcessorSettings(
        do_convert_rgb=True, do_resize=True, size=_square(224), resample=BICUBIC, do_rescale=True, do_normalize=True,
        image_mean=HALF, image_std=HALF,
    )  # fmt: skip
    older: ClassVar = {"do_convert_rgb": False}


class BlipImageProcessor(ImageProcessor):
    """BLIP, BLIP-2, InstructBLIP."""

    defaults: ClassVar = ImageProcessorSettings(
        do_convert_rgb=True, do_resize=True, size=_square(384), resample=BICUBIC, do_rescale=True, do_normalize=True,
        image_mean=CLIP_MEAN, image_std=CLIP_STD,
    )  # fmt: skip


class DINOv3ViTImageProcessor(ImageProcessor):
    """DINOv3. transformers has it for torchvision only, which resizes floats; the same here, to float precision."""

    defaults: ClassVar = ImageProcessorSettings(
        do_resize=True, size=_square(224), resample=BILINEAR, do_rescale=True, do_normalize=True,
        image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD,
    )  # fmt: skip

    def shape(self, image: ImageOrArray, settings: ImageProcessorSettings) -> ImageOrArray:
        """Resize as floats: nothing is rounded to whole grey levels."""
        if settings.do_resize:
            size = self.target_size(*transforms.size_of(image), settings)
            image = transforms.resize_floats(transforms.as_array(image), size, settings.resample)
        return super().shape(image, replace(settings, do_resize=False))


class SegformerImageProcessor(ImageProcessor):
    """SegFormer, UPerNet."""

    unused: ClassVar[frozenset[str]] = CROPPING | PADDING
    defaults: ClassVar = ImageProcessorSettings(
        do_resize=True, size=_square(512), resample=BILINEAR, do_rescale=True, do_normalize=True,
        image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD, do_reduce_labels=False,
    )  # fmt: skip

    post_process_semantic_segmentation = staticmethod(segmentation.semantic)


class TextNetImageProcessor(ImageProcessor):
    """TextNet: round both sides up to a multiple of `size_divisor`."""

    square: ClassVar[bool] = False
    defaults: ClassVar = ImageProcessorSettings(
        do_convert_rgb=True, do_resize=True, size={"shortest_edge": 640}, resample=BILINEAR, do_center_crop=False,
        crop_size=_square(224), do_rescale=True, do_normalize=True, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD,
        size_divisor=32,
    )  # fmt: skip

    def target_size(self, height: int, width: int, settings: ImageProcessorSettings) -> tuple[int, int]:
        """Scale to the short side, and round up."""
        height, width = transforms.with_short_side(height, width, transforms.shortest_edge(settings.size))
        divisor = settings.size_divisor or 1
        return transforms.up_to_multiple(height, divisor), transforms.up_to_multiple(width, divisor)
