"""Preprocess videos for models that label them: each frame like an image, the frames of a video together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Unpack

import numpy as np

from onnxpipe.errors import ImageError
from onnxpipe.processing.arrays import check_tensor_type
from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.images import transforms
from onnxpipe.processing.images.base import ImageProcessor, stack
from onnxpipe.processing.images.inputs import group_videos
from onnxpipe.processing.images.settings import (
    BILINEAR,
    HALF,
    IMAGENET_MEAN,
    IMAGENET_STD,
    ImageProcessorOverrides,
    ImageProcessorSettings,
)
from onnxpipe.processing.images.transforms import Array

#: Pixels that all frames of a video may have together: 64 of 1024 x 1024.
MAX_RESULT = 2**26

_VIDEO = ImageProcessorSettings(
    do_resize=True, size={"shortest_edge": 224}, resample=BILINEAR, do_center_crop=True,
    crop_size={"height": 224, "width": 224}, do_rescale=True, do_normalize=True, image_mean=HALF, image_std=HALF,
)  # fmt: skip


class FrameProcessor(ImageProcessor):
    """Prepares the frames of a video as images are."""

    def _frames(self, frames: list[Any], settings: ImageProcessorSettings) -> list[Array]:
        """Prepare the frames of one video: (channels, height, width) each."""
        prepared: list[Array] = []
        for frame in frames:
            prepared.append(self._one(frame, settings).values)
            height, width = prepared[0].shape[-2:]
            if len(frames) * height * width > MAX_RESULT:
                raise ImageError(
                    f"a video of {len(frames)} frames of {width}x{height} pixels has more than the {MAX_RESULT} pixels "
                    "allowed: pass fewer frames or a smaller size"
                )
        return prepared


class _VideoProcessor(FrameProcessor):
    """Make one entry of the batch from the frames of a video."""

    square: ClassVar[bool] = False
    defaults: ClassVar = _VIDEO

    def __call__(
        self, images: Any, *, return_tensors: Any = "np", **overrides: Unpack[ImageProcessorOverrides]
    ) -> BatchFeature:
        """Convert videos to the arrays of the model.

        Args:
            images: the frames of a video as a list or an array (frames, H, W, C), or a list of such videos.
            return_tensors, **overrides: see `ImageProcessor`.

        Returns:
            `pixel_values` float32 (videos, frames, channels, height, width).

        Raises:
            ImageError: videos with different numbers of frames, and what `ImageProcessor` raises.
        """
        check_tensor_type(return_tensors)
        settings = self.settings
        if overrides:
            settings = replace(settings, **self._parsed(overrides, "the call"))
        videos = [self._frames(frames, settings) for frames in group_videos(images)]
        if return_tensors is None:
            return BatchFeature(pixel_values=videos)
        return BatchFeature(pixel_values=stack("pixel_values", [stack("pixel_values", frames) for frames in videos]))


class VideoMAEImageProcessor(_VideoProcessor):
    """VideoMAE, TimeSformer."""


class TimesformerImageProcessor(_VideoProcessor):
    """TimeSformer: its own class in transformers 5 (`TimesformerVideoProcessor`)."""

    defaults: ClassVar = replace(_VIDEO, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD)


class VivitImageProcessor(_VideoProcessor):
    """ViViT: rescale to −1 to 1 before normalising."""

    defaults: ClassVar = replace(_VIDEO, size={"shortest_edge": 256}, rescale_factor=1 / 127.5, offset=True)

    @staticmethod
    def values(values: Array, settings: ImageProcessorSettings) -> Array:
        """Rescale, subtract 1 if `offset`, and normalise."""
        values = transforms.rescale(values, settings)
        if settings.do_rescale and settings.offset:
            values = values - np.float32(1)
        return transforms.normalize(values, settings)
