"""object-detection: boxes around the things in a picture, with their labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onnxpipe.engine.scheduler import Answered
from onnxpipe.models.auto import AutoModelForObjectDetection
from onnxpipe.tasks.base.columns import one_column
from onnxpipe.tasks.base.image import ImageOptions, ImagePipeline, batch_of_one, box_of, post_processor
from onnxpipe.tasks.base.spec import TaskSpec


@dataclass(frozen=True)
class ObjectDetectionOptions(ImageOptions):
    """Parameters of object-detection.

    Attributes:
        threshold: the score that a box must exceed.
    """

    threshold: float = 0.5


class ObjectDetectionPipeline(ImagePipeline):
    """Finds things: a list of `{"score", "label", "box"}`, the boxes in pixels of the picture, in the model's order.

    Its parameters are those of `ObjectDetectionOptions`.
    """

    Options = ObjectDetectionOptions

    def decode(self, rows: Answered, options: ObjectDetectionOptions) -> list[dict[str, Any]]:
        row, outputs = rows[0]
        found = self._post_process(batch_of_one(outputs), threshold=options.threshold, target_sizes=[row.extra])[0]
        labels = self.model.config.id2label
        return [
            {"score": float(score), "label": labels[int(label)], "box": box_of(box)}
            for score, label, box in zip(found["scores"], found["labels"], found["boxes"], strict=True)
        ]

    def prepare(self) -> None:
        super().prepare()
        self._post_process = post_processor(self.image_processor, ["post_process_object_detection"], self.task)


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
