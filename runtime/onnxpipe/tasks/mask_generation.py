"""mask-generation: outline everything in an image, by prompting a model with a grid of points.

An image is one crop (itself), or several with `crops_n_layers`; a row is a batch of points in one of them. A crop's
embedding is computed when its first row runs, and dropped with its last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from onnxpipe.engine.batching import Array, Row
from onnxpipe.engine.scheduler import Answered, Outputs
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.auto import AutoModelForMaskGeneration
from onnxpipe.tasks.base.call_types import ImageCallOptions, ImageInput, Stream
from onnxpipe.tasks.base.columns import mask_share, one_column
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.image import ImageOptions, ImagePipeline, Size
from onnxpipe.tasks.base.option_rules import number_option
from onnxpipe.tasks.base.spec import TaskSpec


@dataclass(frozen=True)
class MaskGenerationOptions(ImageOptions):
    """Options of mask-generation.

    Attributes:
        points_per_batch: points of a run of the model; None for all of a crop at once.
        points_per_crop: points a side of the grid, for the whole image and for each crop.
        crops_n_layers: the number of layers of crops that are run too: layer i cuts the image into 2^i parts a side.
        crop_overlap_ratio: how far crops overlap, as a share of the image's short side.
        crop_n_points_downscale_factor: layer i has this to the power of i times fewer points a side.
        pred_iou_thresh: the quality that a mask must exceed, as the model predicts it.
        stability_score_thresh: how little a mask may change with the threshold, as an intersection over union.
        stability_score_offset: how far the threshold moves for that.
        mask_threshold: the value from which a pixel is part of a mask.
        crops_nms_thresh: of masks whose boxes overlap more than this (as an intersection over union) the best is kept.
        output_rle_mask: return the masks run-length encoded too, as "rle_mask".
        output_bboxes_mask: return the masks' boxes too, as "bounding_boxes" of shape (masks, 4).
    """

    points_per_batch: int | None = number_option(64, least=1)
    points_per_crop: int = number_option(32, least=1)
    crops_n_layers: int = number_option(0, least=0)
    crop_overlap_ratio: float = number_option(512 / 1500, least=0, most=1)
    crop_n_points_downscale_factor: int = number_option(1, least=1)
    pred_iou_thresh: float = number_option(0.88, least=0)
    stability_score_thresh: float = number_option(0.95, least=0)
    stability_score_offset: float = number_option(1, least=0)
    mask_threshold: float = number_option(0)
    crops_nms_thresh: float = number_option(0.7, least=0, most=1)
    output_rle_mask: bool = False
    output_bboxes_mask: bool = False


class MaskGenerationCallOptions(ImageCallOptions, total=False):
    """The options of a call: see `MaskGenerationOptions`."""

    points_per_batch: int | None
    points_per_crop: int | None
    crops_n_layers: int | None
    crop_overlap_ratio: float | None
    crop_n_points_downscale_factor: int | None
    pred_iou_thresh: float | None
    stability_score_thresh: float | None
    stability_score_offset: float | None
    mask_threshold: float | None
    crops_nms_thresh: float | None
    output_rle_mask: bool | None
    output_bboxes_mask: bool | None


class GeneratedMasks(TypedDict):
    """The masks of an image, bool (height, width), best first, with their scores, float32 (masks,)."""

    masks: list[NDArray[np.bool_]]
    scores: NDArray[np.float32]
    rle_mask: NotRequired[list[dict[str, Any]]]
    bounding_boxes: NotRequired[NDArray[Any]]


@dataclass
class _Crop:
    """A part of an image.

    Attributes:
        processed: the image processor's outputs, with a leading axis of 1; dropped once the crop is embedded.
        sizes: keywords of the post-processing: the crop's size before and after processing.
        full: the whole image's size.
        box: the crop's place in the image: left, top, right, bottom.
        rows: the number of rows that are still to run.
        embeddings: the model's image embeddings, kept from the crop's first row to its last.
    """

    processed: Mapping[str, Array]
    sizes: Mapping[str, Any]
    full: Size
    box: Array
    rows: int
    embeddings: Any = None


class MaskGenerationPipeline(ImagePipeline[MaskGenerationOptions]):
    """Find masks: `{"masks": [bool (height, width), ...], "scores": float32 (masks,)}`, best first.

    Its options are those of `MaskGenerationOptions`.
    """

    Options = MaskGenerationOptions
    none_counts = frozenset({"points_per_batch"})
    token_budget = 1

    if TYPE_CHECKING:

        @overload
        def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
            self, inputs: list[Any], **options: Unpack[MaskGenerationCallOptions]
        ) -> list[GeneratedMasks]: ...
        @overload
        def __call__(self, inputs: ImageInput, **options: Unpack[MaskGenerationCallOptions]) -> GeneratedMasks: ...
        @overload
        def __call__(
            self, inputs: Stream, **options: Unpack[MaskGenerationCallOptions]
        ) -> PipelineIterator[GeneratedMasks]: ...
        def __call__(self, inputs: Any, *args: Any, **options: Any) -> Any: ...

    def parse(self, kwargs: Mapping[str, Any], base: MaskGenerationOptions | None) -> MaskGenerationOptions:
        for name in ("max_hole_area", "max_sprinkle_area"):
            if kwargs.get(name) is not None:
                raise UnsupportedError(f"{name} is not supported: no image processor of transformers uses it")
        kept = {name: value for name, value in kwargs.items() if name not in ("max_hole_area", "max_sprinkle_area")}
        return super().parse(kept, base)

    def encode(self, value: Any, options: MaskGenerationOptions) -> Iterator[Row]:
        image = self.load(value, options)
        processor = self.image_processor
        side = processor.size.get("longest_edge", processor.size.get("height"))
        boxes, grid, crops, labels = processor.generate_crop_boxes(
            image,
            side,
            options.crops_n_layers,
            options.crop_overlap_ratio,
            options.points_per_crop,
            options.crop_n_points_downscale_factor,
        )
        for c, crop_image in enumerate(crops):
            points, kinds = grid[0, :, c], labels[0, :, c]  # (points, 2), (points,)
            step = options.points_per_batch or len(points)
            crop = self._crop(crop_image, Size(image.height, image.width), boxes[c], -(-len(points) // step))
            for i in range(0, len(points), step):
                feeds: dict[str, Array] = {
                    "input_points": np.asarray(points[i : i + step, None], np.float32),
                    "input_labels": np.asarray(kinds[i : i + step, None], np.int64),
                }
                yield Row(feeds, 1, crop)

    def _crop(self, crop_image: Any, full: Size, box: Array, rows: int) -> _Crop:
        processed = dict(self.image_processor(crop_image, return_tensors="np"))
        sizes = {
            name: np.asarray(processed.pop(name)).tolist()
            for name in ("original_sizes", "reshaped_input_sizes")
            if name in processed
        }
        return _Crop(processed, sizes, full, box, rows)

    def run(self, rows: Sequence[Row], options: MaskGenerationOptions) -> list[Outputs]:
        return [self._masks_at(row, options) for row in rows]

    def _masks_at(self, row: Row, options: MaskGenerationOptions) -> Outputs:
        """Decode the masks at a row's points; return the good ones, run-length encoded, with scores and boxes."""
        crop: _Crop = row.extra
        if crop.embeddings is None:
            crop.embeddings = self.model.get_image_embeddings(crop.processed["pixel_values"])
            crop.processed = {}
        points, labels = row.feeds["input_points"][None], row.feeds["input_labels"][None]
        decoded = self.model.decode_masks(crop.embeddings, points, labels)
        small, quality = decoded["pred_masks"][0], decoded["iou_scores"][0]
        if options.pred_iou_thresh > 0:  # before they are enlarged, which is most of the work
            good = quality > options.pred_iou_thresh
            small, quality = small[good][:, None], quality[good][:, None]
        processor = self.image_processor
        masks = processor.post_process_masks(
            small[None], mask_threshold=options.mask_threshold, binarize=False, **crop.sizes
        )[0]
        encoded, scores, boxes = processor.filter_masks(
            masks,
            quality,
            crop.full,
            crop.box,
            options.pred_iou_thresh,
            options.stability_score_thresh,
            options.mask_threshold,
            options.stability_score_offset,
        )
        crop.rows -= 1
        if not crop.rows:
            crop.embeddings = None
        return {"masks": encoded, "scores": np.asarray(scores), "boxes": np.asarray(boxes)}

    def decode(self, rows: Answered, options: MaskGenerationOptions) -> GeneratedMasks:
        encoded = [mask for _, outputs in rows for mask in outputs["masks"]]
        scores = np.concatenate([outputs["scores"] for _, outputs in rows])
        boxes = np.concatenate([outputs["boxes"].reshape(-1, 4) for _, outputs in rows])
        masks, scores, encoded, boxes = self.image_processor.post_process_for_mask_generation(
            encoded, scores, boxes, options.crops_nms_thresh
        )
        answer: GeneratedMasks = {"masks": list(masks), "scores": scores}
        if options.output_rle_mask:
            answer["rle_mask"] = encoded
        if options.output_bboxes_mask:
            answer["bounding_boxes"] = boxes
        return answer


def _with_shares(answer: Mapping[str, Any]) -> list[Any]:
    """The masks with their scores and the share of the image that each covers."""
    pairs = zip(answer["masks"], answer["scores"])
    return [{"score": float(score), "mask": mask, "share": mask_share(mask)} for mask, score in pairs]


TASK = TaskSpec(
    name="mask-generation",
    pipeline=MaskGenerationPipeline,
    auto_classes=(AutoModelForMaskGeneration,),
    help="Outline everything in an image (Segment Anything).",
    example='"photo.jpg", points_per_batch=64',
    default_model=("facebook/sam-vit-huge", "87aecf0"),
    input="image",
    columns=one_column("masks", _with_shares),
    draws=True,
)
