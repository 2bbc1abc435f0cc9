"""Preprocess images for folders that name no model family: what transformers.js calls ImageFeatureExtractor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from onnxpipe.processing.images.base import ImageProcessor
from onnxpipe.processing.images.settings import BILINEAR, HALF, ImageProcessorSettings


class PlainImageProcessor(ImageProcessor):
    """MODNet, RMBG and others: resize, both sides rounded down to a multiple of `size_divisor`; then as settings say.

    Source of the steps and of their order: transformers.js, `ImageProcessor`.
    """

    square: ClassVar[bool] = True
    renamed: ClassVar[Mapping[str, str]] = {"mean": "image_mean", "std": "image_std", "image_size": "size"}
    also: ClassVar[frozenset[str]] = frozenset({"size_divisor", "do_pad"})
    defaults: ClassVar = ImageProcessorSettings(
        do_convert_rgb=True, do_resize=True, size={"height": 224, "width": 224}, resample=BILINEAR, do_rescale=True,
        do_normalize=True, image_mean=HALF, image_std=HALF, do_center_crop=False,
    )  # fmt: skip

    def target_size(self, height: int, width: int, settings: ImageProcessorSettings) -> tuple[int, int]:
        """Round the size down to a multiple of the divisor, but not to 0."""
        height, width = super().target_size(height, width, replace(settings, size_divisor=None))
        step = settings.size_divisor or 1
        return max(height // step, 1) * step, max(width // step, 1) * step
