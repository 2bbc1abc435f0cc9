"""Preprocess images for models that find keypoints, or match them between two images."""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

import numpy as np

from onnxpipe.errors import ImageError
from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.images import transforms
from onnxpipe.processing.images.base import ImageProcessor, PreparedImage
from onnxpipe.processing.images.inputs import flatten_images
from onnxpipe.processing.images.postprocess import keypoints
from onnxpipe.processing.images.settings import (
    BILINEAR,
    CROPPING,
    NORMALIZING,
    PADDING,
    ImageProcessorOverrides,
    ImageProcessorSettings,
)
from onnxpipe.processing.images.transforms import Array


class _GreyImageProcessor(ImageProcessor):
    """Resize to 480 x 640 and rescale; with `do_grayscale`, convert to grey on three channels."""

    square: ClassVar[bool] = False
    unused: ClassVar[frozenset[str]] = CROPPING | NORMALIZING | PADDING
    defaults: ClassVar = ImageProcessorSettings(
        do_resize=True, size={"height": 480, "width": 640}, resample=BILINEAR, do_rescale=True, do_grayscale=True
    )

    @staticmethod
    def values(values: Array, settings: ImageProcessorSettings) -> Array:
        """Rescale only."""
        return transforms.rescale(values, settings)

    def finish(self, values: Array, settings: ImageProcessorSettings) -> Array:
        """Convert to grey. An image that is grey already stays as it is, because the weights do not add up to 1."""
        if not settings.do_grayscale or (values == values[:1]).all():
            return values
        grey = values[0] * 0.2989 + values[1] * 0.587 + values[2] * 0.114
        return np.stack([grey] * 3)


class SuperPointImageProcessor(_GreyImageProcessor):
    """SuperPoint."""

    defaults: ClassVar = ImageProcessorSettings(
        do_resize=True, size={"height": 480, "width": 640}, resample=BILINEAR, do_rescale=True, do_grayscale=False
    )

    post_process_keypoint_detection = staticmethod(keypoints.superpoint)


class _PairImageProcessor(_GreyImageProcessor):
    """Take images in pairs."""

    def __call__(
        self, images: Any, *, return_tensors: Any = "np", **overrides: Unpack[ImageProcessorOverrides]
    ) -> BatchFeature:
        """Convert pairs of images to the arrays of the model.

        Args:
            images: two images, or a list of pairs of images.
            return_tensors, **overrides: see `ImageProcessor`.

        Returns:
            `pixel_values` float32 (pairs, 2, 3, height, width).

        Raises:
            ImageError: the images are not in pairs.
        """
        return super().__call__(_flatten_pairs(images), return_tensors=return_tensors, **overrides)

    def collect(self, images: list[PreparedImage], settings: ImageProcessorSettings) -> dict[str, list[Any]]:
        """Collect `pixel_values`, one entry a pair."""
        values = [image.values for image in images]
        return {"pixel_values": [np.stack(values[i : i + 2]) for i in range(0, len(values), 2)]}


def _flatten_pairs(images: Any) -> list[Any]:
    """List the images of one pair, or of a list of pairs, one after the other."""
    entries = list(images) if isinstance(images, (list, tuple)) else []
    pairs = (
        [flatten_images(entry) for entry in entries] if entries and isinstance(entries[0], (list, tuple)) else [entries]
    )
    if any(len(pair) != 2 for pair in pairs):
        raise ImageError("pass two images, [first, second], or a list of such pairs")
    return [image for pair in pairs for image in pair]


class SuperGlueImageProcessor(_PairImageProcessor):
    """SuperGlue."""

    post_process_keypoint_matching = staticmethod(keypoints.superglue)


class LightGlueImageProcessor(_PairImageProcessor):
    """LightGlue."""

    post_process_keypoint_matching = staticmethod(keypoints.lightglue)


class EfficientLoFTRImageProcessor(_PairImageProcessor):
    """EfficientLoFTR."""
