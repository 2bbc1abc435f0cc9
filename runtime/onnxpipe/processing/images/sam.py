"""Preprocess images for Segment Anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.images.base import ImageProcessor, PreparedImage
from onnxpipe.processing.images.postprocess import masks as mask_steps
from onnxpipe.processing.images.settings import (
    BILINEAR,
    IMAGENET_MEAN,
    IMAGENET_STD,
    ImageProcessorSettings,
)

_SAM = ImageProcessorSettings(
    do_convert_rgb=True, do_resize=True, resample=BILINEAR, do_rescale=True, do_normalize=True,
    image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD,
)  # fmt: skip


class SamImageProcessor(ImageProcessor):
    """SAM: resize the long side to 1024 and pad to a square.

    Besides `pixel_values`, a call returns `original_sizes` and `reshaped_input_sizes`, int64 (images, 2): height and
    width of the input, and after resizing.
    """

    defaults: ClassVar = replace(
        _SAM, size={"longest_edge": 1024}, do_pad=True, pad_size={"height": 1024, "width": 1024},
        mask_size={"longest_edge": 256}, mask_pad_size={"height": 256, "width": 256},
    )  # fmt: skip

    generate_crop_boxes = staticmethod(mask_steps.generate_crop_boxes)
    filter_masks = staticmethod(mask_steps.filter_masks)
    post_process_for_mask_generation = staticmethod(mask_steps.post_process_for_mask_generation)

    def post_process_masks(
        self,
        masks: Any,
        original_sizes: Any,
        reshaped_input_sizes: Any,
        mask_threshold: float = 0.0,
        binarize: bool = True,
        pad_size: Mapping[str, int] | None = None,
    ) -> list[np.ndarray]:
        """Call `postprocess.masks.post_process_masks`; a `pad_size` of None means that of the processor."""
        padded = self.pad_size if pad_size is None else pad_size
        return mask_steps.post_process_masks(
            masks, original_sizes, reshaped_input_sizes, mask_threshold, binarize, padded
        )

    def target_size(self, height: int, width: int, settings: ImageProcessorSettings) -> tuple[int, int]:
        """Scale to that long side; sides are rounded half up."""
        size = settings.size or {}
        if "longest_edge" not in size:
            raise UnsupportedError(f"size must have a longest_edge; got {size}")
        scale = size["longest_edge"] / max(height, width)
        return int(height * scale + 0.5), int(width * scale + 0.5)

    def collect(self, images: list[PreparedImage], settings: ImageProcessorSettings) -> dict[str, list[Any]]:
        """Collect `pixel_values` and the two sizes."""
        return {
            **super().collect(images, settings),
            "original_sizes": [np.array(image.original, np.int64) for image in images],
            "reshaped_input_sizes": [np.array(image.shaped, np.int64) for image in images],
        }


class Sam2ImageProcessor(ImageProcessor):
    """SAM 2: resize to a square.

    transformers has it for torchvision only; Pillow resizes here, which differs by at most one grey level. A call also
    returns `original_sizes` int64 (images, 2): height and width of the input.
    """

    defaults: ClassVar = replace(_SAM, size={"height": 1024, "width": 1024}, mask_size={"height": 256, "width": 256})

    generate_crop_boxes = staticmethod(mask_steps.generate_crop_boxes)
    filter_masks = staticmethod(mask_steps.filter_masks)
    post_process_masks = staticmethod(mask_steps.post_process_masks_sam2)
    post_process_for_mask_generation = staticmethod(mask_steps.post_process_for_mask_generation)

    def collect(self, images: list[PreparedImage], settings: ImageProcessorSettings) -> dict[str, list[Any]]:
        """Collect `pixel_values` and the sizes."""
        return {
            **super().collect(images, settings),
            "original_sizes": [np.array(image.original, np.int64) for image in images],
        }
