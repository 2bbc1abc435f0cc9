"""object-detection: find the objects in images: boxes with labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack, overload

from onnxpipe.engine.scheduler import Answered
from onnxpipe.models.auto import AutoModelForObjectDetection
from onnxpipe.tasks.base.call_types import DetectedObject, ImageCallOptions, ImageInput, Stream
from onnxpipe.tasks.base.columns import one_column
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.image import ImageOptions, ImagePipeline, batch_of_one, box_of, post_processor
from onnxpipe.tasks.base.option_rules import number_option
from onnxpipe.tasks.base.spec import TaskSpec


@dataclass(frozen=True)
class ObjectDetectionOptions(ImageOptions):
    """Options of object-detection.

    Attributes:
        threshold: the score that a box must exceed.
    """

    threshold: float = number_option(0.5, least=0, most=1)


class ObjectDetectionCallOptions(ImageCallOptions, total=False):
    """The options of a call: see `ObjectDetectionOptions`."""

    threshold: float | None


class ObjectDetectionPipeline(ImagePipeline[ObjectDetectionOptions]):
    """Find objects: a list of `{"score", "label", "box"}`, the boxes in pixels of the image, in the model's order.

    Its options are those of `ObjectDetectionOptions`.
    """

    Options = ObjectDetectionOptions

    if TYPE_CHECKING:

        @overload
        def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
            self, inputs: list[Any], **options: Unpack[ObjectDetectionCallOptions]
        ) -> list[list[DetectedObject]]: ...
        @overload
        def __call__(
            self, inputs: ImageInput, **options: Unpack[ObjectDetectionCallOptions]
        ) -> list[DetectedObject]: ...
        @overload
        def __call__(
            self, inputs: Stream, **options: Unpack[ObjectDetectionCallOptions]
        ) -> PipelineIterator[list[DetectedObject]]: ...
        def __call__(self, inputs: Any, *args: Any, **options: Any) -> Any: ...

    def prepare(self) -> None:
        super().prepare()
        self._post_process = post_processor(self.image_processor, ["post_process_object_detection"], self.task)

    def decode(self, rows: Answered, options: ObjectDetectionOptions) -> list[DetectedObject]:
        row, outputs = rows[0]
        result = self._post_process(batch_of_one(outputs), threshold=options.threshold, target_sizes=[row.extra])[0]
        labels = self.model.config.id2label
        return [
            {"score": float(score), "label": labels[int(label)], "box": box_of(box)}
            for score, label, box in zip(result["scores"], result["labels"], result["boxes"], strict=True)
        ]


TASK = TaskSpec(
    name="object-detection",
    pipeline=ObjectDetectionPipeline,
    auto_classes=(AutoModelForObjectDetection,),
    help="Find objects in images: boxes with labels.",
    example='"street.jpg", threshold=0.7',
    default_model=("facebook/detr-resnet-50", "1d5f47b"),
    input="image",
    columns=one_column("objects"),
    draws=True,
)
