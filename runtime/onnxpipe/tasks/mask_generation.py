"""mask-generation: masks of everything in a picture, by asking a model about a grid of points.

A picture is one crop (itself), or several with `crops_n_layers`; a row is a batch of points in one of them. A crop's
embedding is computed when its first row runs, and dropped with its last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.engine.batching import Array, Row
from onnxpipe.engine.scheduler import Answered, Outputs
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.auto import AutoModelForMaskGeneration
from onnxpipe.tasks.base.columns import mask_share, one_column
from onnxpipe.tasks.base.image import ImageOptions, ImagePipeline, Size
from onnxpipe.tasks.base.spec import TaskSpec


@dataclass(frozen=True)
class MaskGenerationOptions(ImageOptions):
    """Parameters of mask-generation.

    Attributes:
        points_per_batch: points a run of the model; None for all of a crop at once.
        points_per_crop: points of the grid a side; of the whole picture and of each crop.
        crops_n_layers: how many times the picture is also looked at in crops: layer i cuts it in 2^i parts a side.
        crop_overlap_ratio: how far crops overlap, as a share of the picture's short side.
        crop_n_points_downscale_factor: layer i has this to the power of i times fewer points a side.
        pred_iou_thresh: the quality that the model must give a mask.
        stability_score_thresh: how little a mask must change with the threshold, as an intersection over union.
        stability_score_offset: how far the threshold moves for that.
        mask_threshold: what makes a pixel part of a mask.
        crops_nms_thresh: of masks whose boxes overlap more than this (as an intersection over union) the best is kept.
        output_rle_mask: give the masks run-length encoded too, as "rle_mask".
        output_bboxes_mask: give the masks' boxes too, as "bounding_boxes" of shape (masks, 4).
    """

    points_per_batch: int | None = 64
    points_per_crop: int = 32
    crops_n_layers: int = 0
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1
    mask_threshold: float = 0
    crops_nms_thresh: float = 0.7
    output_rle_mask: bool = False
    output_bboxes_mask: bool = False


@dataclass
class _Crop:
    """A part of a picture.

    Attributes:
        processed: what the image processor made of it, with a leading axis of 1; gone once it is embedded.
        sizes: keywords of the post-processing: how large it was, and became.
        full: the whole picture's size.
        box: where it lies in the picture: left, top, right, bottom.
        rows: rows that are still to run.
        embeddings: of the model, from its first row to its last.
    """

    processed: Mapping[str, Array]
    sizes: Mapping[str, Any]
    full: Size
    box: Array
    rows: int
    embeddings: Any = None


class MaskGenerationPipeline(ImagePipeline):
    """Finds masks: `{"masks": [bool (height, width), ...], "scores": float32 (masks,)}`, best first.

    Its parameters are those of `MaskGenerationOptions`.
    """

    Options = MaskGenerationOptions
    none_counts = frozenset({"points_per_batch"})
    token_budget = 1

    def parse(self, given: Mapping[str, Any], base: MaskGenerationOptions | None) -> MaskGenerationOptions:
        for name in ("max_hole_area", "max_sprinkle_area"):
            if given.get(name) is not None:
                raise UnsupportedError(f"{name} is refused: no image processor of transformers does anything with it")
        kept = {name: value for name, value in given.items() if name not in ("max_hole_area", "max_sprinkle_area")}
        options: MaskGenerationOptions = super().parse(kept, base)
        if options.points_per_batch is not None and options.points_per_batch <= 0:
            raise ValueError(
                "Cannot have points_per_batch<=0. Must be >=1 to returned batched outputs. "
                "To return all points at once, set points_per_batch to None"
            )
        return options

    def encode(self, value: Any, options: MaskGenerationOptions) -> Iterator[Row]:
        image = self.load(value, options)
        processor = self.image_processor
        side = processor.size.get("longest_edge", processor.size.get("height"))
        boxes, grid, pictures, labels = processor.generate_crop_boxes(
            image,
            side,
            options.crops_n_layers,
            options.crop_overlap_ratio,
            options.points_per_crop,
            options.crop_n_points_downscale_factor,
        )
        for c, picture in enumerate(pictures):
            points, kinds = grid[0, :, c], labels[0, :, c]  # (points, 2), (points,)
            step = options.points_per_batch or len(points)
            crop = self._crop(picture, Size(image.height, image.width), boxes[c], -(-len(points) // step))
            for i in range(0, len(points), step):
                feeds: dict[str, Array] = {
                    "input_points": np.asarray(points[i : i + step, None], np.float32),
                    "input_labels": np.asarray(kinds[i : i + step, None], np.int64),
                }
                yield Row(feeds, 1, crop)

    def _crop(self, picture: Any, full: Size, box: Array, rows: int) -> _Crop:
        processed = dict(self.image_processor(picture, return_tensors="np"))
        sizes = {
            name: np.asarray(processed.pop(name)).tolist()
            for name in ("original_sizes", "reshaped_input_sizes")
            if name in processed
        }
        return _Crop(processed, sizes, full, box, rows)

    def run(self, rows: Sequence[Row], options: MaskGenerationOptions) -> list[Outputs]:
        return [self._ask(row, options) for row in rows]

    def _ask(self, row: Row, options: MaskGenerationOptions) -> Outputs:
        """The masks at the points of a row that are good enough, run-length encoded, with their scores and boxes."""
        crop: _Crop = row.extra
        if crop.embeddings is None:
            crop.embeddings = self.model.get_image_embeddings(crop.processed["pixel_values"])
            crop.processed = {}
        points, labels = row.feeds["input_points"][None], row.feeds["input_labels"][None]
        found = self.model.decode_masks(crop.embeddings, points, labels)
        small, quality = found["pred_masks"][0], found["iou_scores"][0]
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

    def decode(self, rows: Answered, options: MaskGenerationOptions) -> dict[str, Any]:
        encoded = [mask for _, outputs in rows for mask in outputs["masks"]]
        scores = np.concatenate([outputs["scores"] for _, outputs in rows])
        boxes = np.concatenate([outputs["boxes"].reshape(-1, 4) for _, outputs in rows])
        masks, scores, encoded, boxes = self.image_processor.post_process_for_mask_generation(
            encoded, scores, boxes, options.crops_nms_thresh
        )
        answer: dict[str, Any] = {"masks": list(masks), "scores": scores}
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
