"""image-segmentation: divide images into labelled segments, as masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

import numpy as np

from onnxpipe.engine.batching import Array, Row
from onnxpipe.engine.scheduler import Answered
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.auto import AutoModelForImageSegmentation, AutoModelForSemanticSegmentation
from onnxpipe.processing.model_output import ModelOutput
from onnxpipe.tasks.base.call_types import ImageCallOptions, ImageInput, Stream
from onnxpipe.tasks.base.columns import mask_share, one_column
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.image import ImageOptions, ImagePipeline, Size, size_of
from onnxpipe.tasks.base.option_rules import number_option
from onnxpipe.tasks.base.spec import TaskSpec

if TYPE_CHECKING:
    from PIL.Image import Image

#: The order in which they are tried if the call names none.
SUBTASKS = ("panoptic", "instance", "semantic")


@dataclass(frozen=True)
class ImageSegmentationOptions(ImageOptions):
    """Options of image-segmentation.

    Attributes:
        subtask: "panoptic", "instance" or "semantic"; by default the first of these that the model supports.
        threshold: the score that a segment must exceed (panoptic, instance).
        mask_threshold: the probability from which a pixel is part of a mask (panoptic, instance).
        overlap_mask_area_threshold: the share of its mask that a segment must keep beside others (panoptic, instance).
    """

    subtask: str | None = None
    threshold: float = number_option(0.9, least=0, most=1)
    mask_threshold: float = number_option(0.5, least=0, most=1)
    overlap_mask_area_threshold: float = number_option(0.5, least=0, most=1)


class ImageSegmentationCallOptions(ImageCallOptions, total=False):
    """The options of a call: see `ImageSegmentationOptions`."""

    subtask: Literal["panoptic", "instance", "semantic"] | None
    threshold: float | None
    mask_threshold: float | None
    overlap_mask_area_threshold: float | None


class Segment(TypedDict):
    """A segment of an image; those of semantic segmentation have no score."""

    score: float | None
    label: str
    mask: Image


@dataclass(frozen=True)
class _Patch:
    """Tell which part of an image a row is.

    Attributes:
        size: the image's size.
        offsets: where in the image the row's patch lies (int64 (3,), from EoMT's image processor); None for the whole.
    """

    size: Size
    offsets: Array | None = None


class ImageSegmentationPipeline(ImagePipeline[ImageSegmentationOptions]):
    """Segment images: a list of `{"score", "label", "mask"}`.

    A mask is a grey PIL image of the image's size, 255 where the segment is. Semantic segments have no score (None).
    Its options are those of `ImageSegmentationOptions`.
    """

    Options = ImageSegmentationOptions
    _load_tokenizer = None  # for OneFormer, which reads its task as text

    if TYPE_CHECKING:

        @overload
        def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
            self, inputs: list[Any], **options: Unpack[ImageSegmentationCallOptions]
        ) -> list[list[Segment]]: ...
        @overload
        def __call__(self, inputs: ImageInput, **options: Unpack[ImageSegmentationCallOptions]) -> list[Segment]: ...
        @overload
        def __call__(
            self, inputs: Stream, **options: Unpack[ImageSegmentationCallOptions]
        ) -> PipelineIterator[list[Segment]]: ...
        def __call__(self, inputs: Any, *args: Any, **options: Any) -> Any: ...

    def encode(self, value: Any, options: ImageSegmentationOptions) -> Iterable[Row]:
        self._subtask(options)  # before the model runs
        image = self.load(value, options)
        if self.model.config.model_type != "oneformer":
            return self._patches(self.image_processor(image, return_tensors="np"), size_of(image))
        kwargs = {} if options.subtask is None else {"task_inputs": [options.subtask]}
        processed = dict(self.image_processor(image, return_tensors="np", **kwargs))
        processed["task_inputs"] = self._task_ids(processed["task_inputs"])
        return [self.image_row(processed, _Patch(size_of(image)))]

    def _patches(self, processed: Mapping[str, Any], size: Size) -> list[Row]:
        """Build a row for each patch that the image was cut into; most image processors leave it whole."""
        offsets = processed.get("patch_offsets")
        if offsets is None:
            return [self.image_row(processed, _Patch(size))]
        patches = zip(processed["pixel_values"], np.asarray(offsets), strict=True)
        return [self.image_row({"pixel_values": pixels[None]}, _Patch(size, place)) for pixels, place in patches]

    def decode(self, rows: Answered, options: ImageSegmentationOptions) -> list[Segment]:
        size, outputs, labels = rows[0][0].extra.size, _joined(rows), self.model.config.id2label
        if self._subtask(options) == "semantic":
            segmentation = semantic_map(self.image_processor, outputs, size)
            return [
                {"score": None, "label": labels[int(i)], "mask": mask_of(segmentation == i)}
                for i in np.unique(segmentation)
            ]
        result = getattr(self.image_processor, f"post_process_{self._subtask(options)}_segmentation")(
            outputs,
            threshold=options.threshold,
            mask_threshold=options.mask_threshold,
            overlap_mask_area_threshold=options.overlap_mask_area_threshold,
            target_sizes=[size],
        )[0]
        return [
            {
                "score": segment["score"],
                "label": labels[segment["label_id"]],
                "mask": mask_of(result["segmentation"] == segment["id"]),
            }
            for segment in result["segments_info"]
        ]

    def _subtask(self, options: ImageSegmentationOptions) -> str:
        for subtask in SUBTASKS:
            if options.subtask in (None, subtask) and hasattr(
                self.image_processor, f"post_process_{subtask}_segmentation"
            ):
                return subtask
        raise UnsupportedError(
            f"Subtask {options.subtask} is not supported for model {self.model.name_or_path}; "
            f"{type(self.image_processor).__name__} supports: {', '.join(self._subtasks()) or 'none'}"
        )

    def _subtasks(self) -> list[str]:
        return [name for name in SUBTASKS if hasattr(self.image_processor, f"post_process_{name}_segmentation")]

    def _task_ids(self, tasks: list[str]) -> Array:
        """Tokenize OneFormer's task: int64 (1, length)."""
        length = self.model.config.task_seq_len
        encoded = self.tokenizer(list(tasks), padding="max_length", max_length=length, return_tensors="np")
        return np.asarray(encoded["input_ids"], np.int64)


def _joined(rows: Answered) -> ModelOutput:
    """Join the outputs of an image's patches to a batch, with their `patch_offsets` if it was cut."""
    joined = ModelOutput({name: np.stack([outputs[name] for _, outputs in rows]) for name in rows[0][1]})
    if rows[0][0].extra.offsets is not None:
        joined["patch_offsets"] = np.stack([row.extra.offsets for row, _ in rows])
    return joined


def semantic_map(image_processor: Any, outputs: Mapping[str, Array], size: Size) -> Array:
    """Number the label of each pixel, int (height, width), from an image's outputs with their batch axis."""
    return np.asarray(image_processor.post_process_semantic_segmentation(outputs, target_sizes=[size])[0])


def mask_of(pixels: Array) -> Image:
    """Draw a grey PIL image, 255 where `pixels` (height, width) is true."""
    from PIL.Image import fromarray

    return fromarray(np.where(pixels, np.uint8(255), np.uint8(0)))


def _with_shares(answer: list[Mapping[str, Any]]) -> list[Any]:
    """The segments, each with the share of the image that it covers."""
    return [{**segment, "share": mask_share(segment["mask"])} for segment in answer]


TASK = TaskSpec(
    name="image-segmentation",
    pipeline=ImageSegmentationPipeline,
    auto_classes=(AutoModelForImageSegmentation, AutoModelForSemanticSegmentation),
    help="Divide images into labelled segments.",
    example='"street.jpg"',
    default_model=("facebook/detr-resnet-50-panoptic", "d53b52a"),
    input="image",
    columns=one_column("segments", _with_shares),
    draws=True,
)
