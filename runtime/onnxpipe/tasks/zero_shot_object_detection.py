"""zero-shot-object-detection: find objects that are named at call time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack, overload

import numpy as np

from onnxpipe.engine.batching import Array, Padding, Row, stack
from onnxpipe.engine.scheduler import Answered, Outputs
from onnxpipe.models.auto import AutoModelForZeroShotObjectDetection
from onnxpipe.processing.model_output import ModelOutput
from onnxpipe.tasks.base.call_types import DetectedObject, ImageCallOptions, ImageInput, Stream
from onnxpipe.tasks.base.columns import one_column
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.image import ImageOptions, ImagePipeline, Size, box_of, known_feeds, post_processor, size_of
from onnxpipe.tasks.base.option_rules import number_option
from onnxpipe.tasks.base.spec import InputPart, TaskSpec
from onnxpipe.tasks.base.text_rows import text_row


@dataclass(frozen=True)
class ZeroShotObjectDetectionOptions(ImageOptions):
    """Options of zero-shot-object-detection.

    Attributes:
        candidate_labels: the objects to find: a list, or one string with commas (spaces after them are part of labels).
        threshold: the score that a box must exceed.
        top_k: the number of boxes, best first; None for all.
    """

    candidate_labels: Any = None
    threshold: float = number_option(0.1, least=0, most=1)
    top_k: int | None = number_option(None, least=1)


class ZeroShotDetectionCallOptions(ImageCallOptions, total=False):
    """The options of a call: see `ZeroShotObjectDetectionOptions`."""

    threshold: float | None
    top_k: int | None


@dataclass(frozen=True)
class _Query:
    """Hold what the answer needs of a row: the image's size, and the labels of the objects to find in it."""

    size: Size
    labels: Sequence[str]


class ZeroShotObjectDetectionPipeline(ImagePipeline[ZeroShotObjectDetectionOptions]):
    """Find named objects: a list of `{"score", "label", "box"}`, best first; boxes may reach beyond the image.

    An input is an image, with the call's `candidate_labels`, or `{"image", "candidate_labels"}`. Its options are those
    of `ZeroShotObjectDetectionOptions`.
    """

    Options = ZeroShotObjectDetectionOptions
    _load_tokenizer = True
    input_modalities = "multimodal"

    def prepare(self) -> None:
        super().prepare()
        self._post_process = post_processor(self.image_processor, ["post_process_object_detection"], self.task)

    @overload
    def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
        self,
        inputs: list[Any],
        candidate_labels: str | Sequence[str] | Sequence[Sequence[str]] | None = None,
        **options: Unpack[ZeroShotDetectionCallOptions],
    ) -> list[list[DetectedObject]]: ...
    @overload
    def __call__(
        self,
        inputs: ImageInput | Mapping[str, Any],
        candidate_labels: str | Sequence[str] | None = None,
        **options: Unpack[ZeroShotDetectionCallOptions],
    ) -> list[DetectedObject]: ...
    @overload
    def __call__(
        self,
        inputs: Stream,
        candidate_labels: str | Sequence[str] | None = None,
        **options: Unpack[ZeroShotDetectionCallOptions],
    ) -> PipelineIterator[list[DetectedObject]]: ...
    def __call__(self, inputs: Any = None, candidate_labels: Any = None, *args: Any, **kwargs: Any) -> Any:
        """See `Pipeline.__call__`. The labels may be the second argument; a list of lists has labels for each image.

        Args:
            inputs: an image, `{"image", "candidate_labels"}`, a list, generator or dataset of either.
            candidate_labels: the objects to find (`text_queries` is the old name).
            *args: ignored with a warning, as in transformers.
            **kwargs: see `Pipeline.__call__`.

        Raises:
            ValueError: not as many lists of labels as images.
        """
        labels = kwargs.pop("text_queries", None)
        labels = candidate_labels if labels is None else labels
        inputs = self.first_argument(inputs, kwargs)
        if isinstance(inputs, (list, tuple)) and labels is not None:
            each = _labels_of_each(labels, len(inputs))
            inputs = [_with_labels(value, own) for value, own in zip(inputs, each, strict=True)]
            labels = None
        return super().__call__(inputs, *args, candidate_labels=labels, **kwargs)

    def encode(self, value: Any, options: ZeroShotObjectDetectionOptions) -> Iterable[Row]:
        parts = value if isinstance(value, Mapping) else {"image": value}
        labels = parts.get("candidate_labels", options.candidate_labels)
        if labels is None:
            raise ValueError("zero-shot-object-detection needs candidate_labels: the objects to find")
        labels = labels.split(",") if isinstance(labels, str) else list(labels)
        if not labels:
            raise ValueError("candidate_labels is empty: name the objects to find")
        image = self.load(parts["image"], options)
        row = self.image_row(self.image_processor(image, return_tensors="np"))
        # OWL's labels are independent: one run for all. Other models encode them with the image, one by one.
        groups = [labels] if self._apart else [[label] for label in labels]
        return [replace(row, extra=_Query(size_of(image), group)) for group in groups]

    def run(self, rows: Sequence[Row], options: ZeroShotObjectDetectionOptions) -> list[Outputs]:
        return [self._detect(row) for row in rows]

    def _detect(self, row: Row) -> Outputs:
        image = {name: array[None] for name, array in row.feeds.items()}
        outputs = self.model.run({**self._tokens(row.extra.labels), **image})
        return {name: outputs[name][0] for name in ("logits", "pred_boxes")}

    def _tokens(self, labels: Sequence[str]) -> dict[str, Array]:
        rows = [text_row(self.tokenizer, self.tokenizer(label)) for label in labels]
        feeds = stack(rows, Padding(self.tokenizer.pad_token_id or 0))
        return known_feeds(feeds, self.model.session.inputs, self.model.name_or_path)

    def decode(self, rows: Answered, options: ZeroShotObjectDetectionOptions) -> list[DetectedObject]:
        objects: list[DetectedObject] = []
        for row, outputs in rows:
            for i, label in enumerate(row.extra.labels):
                logits = outputs["logits"][:, i : i + 1] if self._apart else outputs["logits"]
                own = ModelOutput(logits=logits[None], pred_boxes=outputs["pred_boxes"][None])
                objects += self._boxes(label, own, row.extra.size, options.threshold)
        objects.sort(key=lambda entry: entry["score"], reverse=True)
        return objects[: options.top_k] if options.top_k else objects

    def _boxes(self, label: str, outputs: ModelOutput, size: Size, threshold: float) -> list[DetectedObject]:
        answer = self._post_process(outputs, threshold=threshold, target_sizes=[size])[0]
        return [
            {"score": float(answer["scores"][n]), "label": label, "box": box_of(answer["boxes"][n])}
            for n in np.flatnonzero(answer["scores"])
        ]

    @property
    def _apart(self) -> bool:
        """Whether the model scores each label by itself: (boxes, labels) logits, a column a label."""
        return str(self.model.config.model_type).startswith("owl")


def _labels_of_each(labels: Any, count: int) -> list[Any]:
    """Return the labels of each of `count` images: the same for all, or a list of lists."""
    if isinstance(labels, str) or _are_texts(labels):
        return [labels] * count
    if not isinstance(labels, (list, tuple)) or not all(_are_texts(own) for own in labels):
        raise ValueError("candidate_labels must be a string, a flat list of strings, or per-image label lists.")
    if len(labels) != count:
        raise ValueError(f"Got {count} images but {len(labels)} candidate label lists.")
    return list(labels)


def _are_texts(labels: Any) -> bool:
    return isinstance(labels, (list, tuple)) and all(isinstance(label, str) for label in labels)


def _with_labels(value: Any, labels: Any) -> Any:
    """Add the call's labels to an input, unless it has its own."""
    return {"candidate_labels": labels, **value} if isinstance(value, Mapping) else {
        "image": value, "candidate_labels": labels
    }  # fmt: skip


TASK = TaskSpec(
    name="zero-shot-object-detection",
    pipeline=ZeroShotObjectDetectionPipeline,
    auto_classes=(AutoModelForZeroShotObjectDetection,),
    help="Find objects that you name in images.",
    example='"street.jpg", candidate_labels=["a car", "a person"]',
    default_model=("google/owlvit-base-patch32", "cbc355f"),
    input="multimodal",
    parts=(InputPart("image"), InputPart("candidate_labels", is_list=True)),
    columns=one_column("objects"),
    draws=True,
    candidate_labels=True,
)
