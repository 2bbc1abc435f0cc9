"""Preprocess images for DETR and its followers: resize by the edges, pad, and add a mask."""

from __future__ import annotations

from typing import Any, ClassVar

from onnxpipe.processing.images import transforms
from onnxpipe.processing.images.base import ImageProcessor, PreparedImage, padded_size
from onnxpipe.processing.images.postprocess import detection, segmentation
from onnxpipe.processing.images.settings import BILINEAR, CROPPING, IMAGENET_MEAN, IMAGENET_STD, ImageProcessorSettings

_TRAINING = frozenset({"do_convert_annotations", "do_reduce_labels", "ignore_index", "num_labels", "format"})
_DETR = ImageProcessorSettings(
    do_resize=True, size={"shortest_edge": 800, "longest_edge": 1333}, resample=BILINEAR, do_rescale=True,
    do_normalize=True, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD, do_pad=True, format="coco_detection",
)  # fmt: skip


class _PaddedImageProcessor(ImageProcessor):
    """Pad the images of a batch to the largest; `pixel_mask` marks what is not padding.

    With `do_pad` there is a mask for a single image too (all ones), without it never.
    """

    unused: ClassVar[frozenset[str]] = CROPPING
    also: ClassVar[frozenset[str]] = _TRAINING
    square: ClassVar[bool] = False
    longest: ClassVar[int | None] = 1333
    defaults: ClassVar = _DETR
    model_input_names = ("pixel_values", "pixel_mask")

    def collect(self, images: list[PreparedImage], settings: ImageProcessorSettings) -> dict[str, list[Any]]:
        """Collect `pixel_values` and, with `do_pad`, `pixel_mask` int64 (height, width)."""
        values = [image.values for image in images]
        if not settings.do_pad:
            return {"pixel_values": values}
        return with_mask(values, padded_size(values, settings))


def with_mask(values: list[transforms.Array], size: tuple[int, int]) -> dict[str, list[Any]]:
    """Pad images (channels, height, width) to `size`; return them with the masks of what is not padding."""
    return {
        "pixel_values": [transforms.pad(image, size) for image in values],
        "pixel_mask": [transforms.mask_of(image, size) for image in values],
    }


class DetrImageProcessor(_PaddedImageProcessor):
    """DETR, Table Transformer."""

    post_process_object_detection = staticmethod(detection.detr)
    post_process_semantic_segmentation = staticmethod(segmentation.detr_semantic)
    post_process_instance_segmentation = staticmethod(segmentation.detr_instance)
    post_process_panoptic_segmentation = staticmethod(segmentation.detr_panoptic)


class ConditionalDetrImageProcessor(_PaddedImageProcessor):
    """Conditional DETR, DAB-DETR."""

    post_process_object_detection = staticmethod(detection.conditional_detr)
    post_process_semantic_segmentation = staticmethod(segmentation.conditional_detr_semantic)
    post_process_instance_segmentation = staticmethod(segmentation.detr_instance)
    post_process_panoptic_segmentation = staticmethod(segmentation.detr_panoptic)


class DeformableDetrImageProcessor(_PaddedImageProcessor):
    """Deformable DETR."""

    post_process_object_detection = staticmethod(detection.conditional_detr)


class GroundingDinoImageProcessor(_PaddedImageProcessor):
    """Grounding DINO."""

    post_process_object_detection = staticmethod(detection.grounding_dino)


class YolosImageProcessor(_PaddedImageProcessor):
    """YOLOS: round both sides down to a multiple of 16, the size of a patch."""

    post_process_object_detection = staticmethod(detection.detr)

    def target_size(self, height: int, width: int, settings: ImageProcessorSettings) -> tuple[int, int]:
        """Scale by the edges and round down to the multiple; a size of height and width is taken as it is."""
        size = settings.size or {}
        if "longest_edge" not in size or "shortest_edge" not in size:
            return super().target_size(height, width, settings)
        # Upright images are resized where they are too long, even if their short side is right.
        keep = width >= height
        sides = transforms.within_edges(height, width, size["shortest_edge"], size["longest_edge"], keep)
        return transforms.down_to_multiple(sides[0], 16), transforms.down_to_multiple(sides[1], 16)


class RTDetrImageProcessor(_PaddedImageProcessor):
    """RT-DETR, RT-DETR V2, D-FINE: resize to a square, without normalisation."""

    longest: ClassVar[int | None] = None
    defaults: ClassVar = ImageProcessorSettings(
        do_resize=True, size={"height": 640, "width": 640}, resample=BILINEAR, do_rescale=True, do_normalize=False,
        image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD, do_pad=False, format="coco_detection",
        do_convert_annotations=True,
    )  # fmt: skip

    post_process_object_detection = staticmethod(detection.rt_detr)
