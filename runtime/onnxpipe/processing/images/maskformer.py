"""Preprocess images for segmentation models whose queries predict masks and classes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any, ClassVar, Unpack

import numpy as np

from onnxpipe.bundle.files import has_file, read_json
from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.batch_feature import BatchFeature
from onnxpipe.processing.images import transforms
from onnxpipe.processing.images.base import ImageProcessor, PreparedImage, padded_size, stack
from onnxpipe.processing.images.detr import with_mask
from onnxpipe.processing.images.postprocess import segmentation
from onnxpipe.processing.images.settings import (
    BILINEAR,
    CROPPING,
    IMAGENET_MEAN,
    IMAGENET_STD,
    PADDING,
    ImageProcessorOverrides,
    ImageProcessorSettings,
)
from onnxpipe.processing.images.transforms import Array

_EDGES = ImageProcessorSettings(
    do_resize=True, size={"shortest_edge": 800, "longest_edge": 1333}, resample=BILINEAR, do_rescale=True,
    do_normalize=True, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD,
)  # fmt: skip


class _MaskFormerImageProcessor(ImageProcessor):
    """Resize by the edges, rounded up to a multiple of `size_divisor`; pad, and add a mask."""

    square: ClassVar[bool] = False
    unused: ClassVar[frozenset[str]] = CROPPING
    also: ClassVar[frozenset[str]] = frozenset({"ignore_index", "num_labels"})
    defaults: ClassVar = replace(_EDGES, size_divisor=32, do_reduce_labels=False)
    model_input_names = ("pixel_values", "pixel_mask")

    def target_size(self, height: int, width: int, settings: ImageProcessorSettings) -> tuple[int, int]:
        """Scale by the edges, and round up."""
        sides = super().target_size(height, width, settings)
        divisor = settings.size_divisor or 1
        return transforms.up_to_multiple(sides[0], divisor), transforms.up_to_multiple(sides[1], divisor)

    def collect(self, images: list[PreparedImage], settings: ImageProcessorSettings) -> dict[str, list[Any]]:
        """Collect `pixel_values` and `pixel_mask`, with or without `do_pad`."""
        values = [image.values for image in images]
        return with_mask(values, padded_size(values, settings))


class MaskFormerImageProcessor(_MaskFormerImageProcessor):
    """MaskFormer."""

    post_process_semantic_segmentation = staticmethod(segmentation.maskformer_semantic)
    post_process_instance_segmentation = staticmethod(segmentation.maskformer_instance)
    post_process_panoptic_segmentation = staticmethod(segmentation.maskformer_panoptic)


class Mask2FormerImageProcessor(_MaskFormerImageProcessor):
    """Mask2Former."""

    post_process_semantic_segmentation = staticmethod(segmentation.mask2former_semantic)
    post_process_instance_segmentation = staticmethod(segmentation.mask2former_instance)
    post_process_panoptic_segmentation = staticmethod(segmentation.mask2former_panoptic)


class OneFormerImageProcessor(ImageProcessor):
    """OneFormer: add the sentence that names the task, which `OneFormerProcessor` converts to tokens.

    Attributes:
        metadata: the classes, if `class_info_file` is in the model's folder: class number (as a string) -> name,
            `class_names`, and `thing_ids`, the numbers of the classes that are countable things. Else None.
    """

    square: ClassVar[bool] = False
    unused: ClassVar[frozenset[str]] = CROPPING | PADDING
    also: ClassVar[frozenset[str]] = frozenset({"ignore_index", "num_labels", "num_text", "class_info_file"})
    defaults: ClassVar = replace(
        _EDGES, do_convert_rgb=True, do_reduce_labels=False, repo_path="shi-labs/oneformer_demo"
    )
    model_input_names = ("pixel_values", "pixel_mask", "task_inputs")
    metadata: dict[str, Any] | None = None

    post_process_semantic_segmentation = staticmethod(segmentation.oneformer_semantic)
    post_process_instance_segmentation = staticmethod(segmentation.oneformer_instance)
    post_process_panoptic_segmentation = staticmethod(segmentation.oneformer_panoptic)

    def _load_more(self, folder: Path | None) -> None:
        file = self.class_info_file
        if folder is None or not file or not has_file(folder, Path(file).name):
            return
        classes = read_json(folder, Path(file).name)
        names = {key: entry["name"] for key, entry in classes.items()}
        things = [int(key) for key, entry in classes.items() if entry["isthing"]]
        self.metadata = {**names, "thing_ids": things, "class_names": list(names.values())}

    def __call__(
        self,
        images: Any,
        task_inputs: str | Sequence[str] | None = None,
        *,
        return_tensors: Any = "np",
        **overrides: Unpack[ImageProcessorOverrides],
    ) -> BatchFeature:
        """Convert images to the arrays of the model, and tasks to sentences.

        Args:
            images, return_tensors, **overrides: see `ImageProcessor`.
            task_inputs: "semantic", "instance" or "panoptic", or a list of these; None for panoptic.

        Returns:
            `pixel_values`, `pixel_mask`, and `task_inputs`, the sentences.
        """
        tasks = [task_inputs] if isinstance(task_inputs, str) else list(task_inputs or ["panoptic"])
        wrong = [task for task in tasks if task not in ("semantic", "instance", "panoptic")]
        if wrong:
            raise UnsupportedError(f"task_inputs must be semantic, instance, or panoptic; got {wrong[0]!r}")
        features = super().__call__(images, return_tensors=return_tensors, **overrides)
        features["task_inputs"] = [f"the task is {task}" for task in tasks]
        return features

    def collect(self, images: list[PreparedImage], settings: ImageProcessorSettings) -> dict[str, list[Any]]:
        """Collect `pixel_values`, padded to the largest, and `pixel_mask`."""
        values = [image.values for image in images]
        return with_mask(values, transforms.largest(values))


class EomtImageProcessor(ImageProcessor):
    """EoMT: split long images into overlapping squares for semantic models; pad whole images for the others.

    The rows of `pixel_values` are the patches of all images of a call; `patch_offsets` int64 (patches, 3) has for each
    the number of its image, and where it starts and ends along the long side.
    """

    square: ClassVar[bool] = False
    unused: ClassVar[frozenset[str]] = CROPPING | frozenset({"pad_size"})
    also: ClassVar[frozenset[str]] = frozenset({"ignore_index"})
    defaults: ClassVar = replace(
        _EDGES, size={"shortest_edge": 640, "longest_edge": 640}, do_split_image=False, do_pad=False
    )

    def _features(self, images: list[Any], settings: ImageProcessorSettings, stacked: bool) -> BatchFeature:
        prepared = [self._one(image, settings) for image in images]
        patches = [patch for number, image in enumerate(prepared) for patch in _patches(image.values, number, settings)]
        values = [patch for patch, _ in patches]
        if settings.do_pad:
            black = self._numbers(np.zeros((1, 1, values[0].shape[0]), np.uint8), settings)
            values = [_padded(patch, black, settings) for patch in values]
        features = BatchFeature(pixel_values=stack("pixel_values", values) if stacked else values)
        if settings.do_split_image:
            features["patch_offsets"] = np.array([offsets for _, offsets in patches], np.int64)
        return features

    def post_process_semantic_segmentation(
        self, outputs: Any, target_sizes: Any, size: Any = None, return_segmentation_scores: bool = False
    ) -> list[Any]:
        """Call `segmentation.eomt_semantic`; a `size` of None means that of the processor."""
        return segmentation.eomt_semantic(outputs, target_sizes, size or self.size, return_segmentation_scores)

    def post_process_panoptic_segmentation(
        self,
        outputs: Any,
        target_sizes: Any,
        threshold: float = 0.8,
        mask_threshold: float = 0.5,
        overlap_mask_area_threshold: float = 0.8,
        stuff_classes: Collection[int] | None = None,
        size: Any = None,
    ) -> list[dict[str, Any]]:
        """Call `segmentation.eomt_panoptic`; a `size` of None means that of the processor."""
        limits = (threshold, mask_threshold, overlap_mask_area_threshold)
        return segmentation.eomt_panoptic(outputs, target_sizes, size or self.size, *limits, stuff_classes)

    def post_process_instance_segmentation(
        self, outputs: Any, target_sizes: Any, threshold: float = 0.8, size: Any = None
    ) -> list[dict[str, Any]]:
        """Call `segmentation.eomt_instance`; a `size` of None means that of the processor."""
        return segmentation.eomt_instance(outputs, target_sizes, size or self.size, threshold)


def _patches(image: Array, number: int, settings: ImageProcessorSettings) -> list[tuple[Array, tuple[int, int, int]]]:
    """Cut squares of the shortest edge, evenly spaced along the long side; return each with its offsets."""
    if not settings.do_split_image:
        return [(image, (number, 0, 0))]
    side = (settings.size or {}).get("shortest_edge")
    if side is None:
        raise UnsupportedError(f"do_split_image=True needs a size with a shortest_edge; got {settings.size}")
    height, width = image.shape[-2:]
    count = ceil(max(height, width) / side)
    overlap = (count * side - max(height, width)) / (count - 1) if count > 1 else 0
    starts = [int(i * (side - overlap)) for i in range(count)]
    squares = [image[:, s : s + side] if height > width else image[:, :, s : s + side] for s in starts]
    return [(square, (number, start, start + side)) for square, start in zip(squares, starts)]


def _padded(patch: Array, black: Array, settings: ImageProcessorSettings) -> Array:
    """Pad to a height of at least the shortest edge and a width of at least the longest."""
    size = settings.size or {}
    if "shortest_edge" not in size:
        raise UnsupportedError(f"do_pad=True needs a size with a shortest_edge; got {size}")
    height = max(patch.shape[-2], size["shortest_edge"])
    width = max(patch.shape[-1], size.get("longest_edge", size["shortest_edge"]))
    return transforms.pad(patch, (height, width), black)
