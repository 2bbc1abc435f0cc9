"""Image processors of segmenters that answer with masks and classes of queries."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any, ClassVar, Unpack

import numpy as np

from onnxpipe.bundle.files import inside, read_json
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
    """By the edges, both sides then rounded up to a multiple of `size_divisor`; padded, with a mask."""

    square: ClassVar[bool] = False
    unused: ClassVar[frozenset[str]] = CROPPING
    also: ClassVar[frozenset[str]] = frozenset({"ignore_index", "num_labels"})
    defaults: ClassVar = replace(_EDGES, size_divisor=32, do_reduce_labels=False)
    model_input_names = ("pixel_values", "pixel_mask")

    def target_size(self, height: int, width: int, settings: ImageProcessorSettings) -> tuple[int, int]:
        """By the edges, rounded up."""
        sides = super().target_size(height, width, settings)
        divisor = settings.size_divisor or 1
        return transforms.up_to_multiple(sides[0], divisor), transforms.up_to_multiple(sides[1], divisor)

    def collect(self, images: list[PreparedImage], settings: ImageProcessorSettings) -> dict[str, list[Any]]:
        """`pixel_values` and `pixel_mask`, always."""
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
    """OneFormer: with the sentence that names the task, which `OneFormerProcessor` turns into numbers.

    Attributes:
        metadata: of the classes, where `class_info_file` lies in the model's folder: class number (as text) to name,
            `class_names`, and `thing_ids`, the numbers of countable things. Else None.
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
        if folder is None or not file or not (folder / Path(file).name).is_file():
            return
        classes = read_json(inside(folder, Path(file).name))
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
        """Arrays for the model.

        Args:
            images, return_tensors, **overrides: see `ImageProcessor`.
            task_inputs: "semantic", "instance" or "panoptic", or a list of such; None for panoptic.

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
        """`pixel_values` padded to the largest, and `pixel_mask`."""
        values = [image.values for image in images]
        return with_mask(values, transforms.largest(values))


class EomtImageProcessor(ImageProcessor):
    """EoMT. Semantic models take a long picture in square pieces that overlap, the others take it whole and padded.

    The pieces of a call are the rows of `pixel_values`; `patch_offsets` int64 (pieces, 3) has of each the number of the
    picture, and where it begins and ends along the long side.
    """

    square: ClassVar[bool] = False
    unused: ClassVar[frozenset[str]] = CROPPING | frozenset({"pad_size"})
    also: ClassVar[frozenset[str]] = frozenset({"ignore_index"})
    defaults: ClassVar = replace(
        _EDGES, size={"shortest_edge": 640, "longest_edge": 640}, do_split_image=False, do_pad=False
    )

    def _features(self, images: list[Any], settings: ImageProcessorSettings, stacked: bool) -> BatchFeature:
        prepared = [self._one(image, settings) for image in images]
        pieces = [piece for number, image in enumerate(prepared) for piece in _pieces(image.values, number, settings)]
        values = [piece for piece, _ in pieces]
        if settings.do_pad:
            black = self._numbers(np.zeros((1, 1, values[0].shape[0]), np.uint8), settings)
            values = [_padded(piece, black, settings) for piece in values]
        features = BatchFeature(pixel_values=stack("pixel_values", values) if stacked else values)
        if settings.do_split_image:
            features["patch_offsets"] = np.array([offsets for _, offsets in pieces], np.int64)
        return features

    def post_process_semantic_segmentation(
        self, outputs: Any, target_sizes: Any, size: Any = None, return_segmentation_scores: bool = False
    ) -> list[Any]:
        """See `segmentation.eomt_semantic`; `size` is that of the processor unless it is given."""
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
        """See `segmentation.eomt_panoptic`; `size` is that of the processor unless it is given."""
        limits = (threshold, mask_threshold, overlap_mask_area_threshold)
        return segmentation.eomt_panoptic(outputs, target_sizes, size or self.size, *limits, stuff_classes)

    def post_process_instance_segmentation(
        self, outputs: Any, target_sizes: Any, threshold: float = 0.8, size: Any = None
    ) -> list[dict[str, Any]]:
        """See `segmentation.eomt_instance`; `size` is that of the processor unless it is given."""
        return segmentation.eomt_instance(outputs, target_sizes, size or self.size, threshold)


def _pieces(image: Array, number: int, settings: ImageProcessorSettings) -> list[tuple[Array, tuple[int, int, int]]]:
    """Squares of the shortest edge along the long side, evenly spread, each with its offsets."""
    if not settings.do_split_image:
        return [(image, (number, 0, 0))]
    side = (settings.size or {}).get("shortest_edge")
    if side is None:
        raise UnsupportedError(f"do_split_image=True needs a size with a shortest_edge; got {settings.size}")
    height, width = image.shape[-2:]
    count = ceil(max(height, width) / side)
    overlap = (count * side - max(height, width)) / (count - 1) if count > 1 else 0
    starts = [int(i * (side - overlap)) for i in range(count)]
    cut = [image[:, s : s + side] if height > width else image[:, :, s : s + side] for s in starts]
    return [(piece, (number, start, start + side)) for piece, start in zip(cut, starts)]


def _padded(piece: Array, black: Array, settings: ImageProcessorSettings) -> Array:
    """At least as high as the shortest edge and as wide as the longest."""
    size = settings.size or {}
    if "shortest_edge" not in size:
        raise UnsupportedError(f"do_pad=True needs a size with a shortest_edge; got {size}")
    height = max(piece.shape[-2], size["shortest_edge"])
    width = max(piece.shape[-1], size.get("longest_edge", size["shortest_edge"]))
    return transforms.pad(piece, (height, width), black)
