"""zero-shot-object-detection: boxes around things that are named at call time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxpipe.engine.batching import Array, Padding, Row, stack
from onnxpipe.engine.scheduler import Answered, Outputs
from onnxpipe.models.auto import AutoModelForZeroShotObjectDetection
from onnxpipe.processing.model_output import ModelOutput
from onnxpipe.tasks.base.columns import one_column
from onnxpipe.tasks.base.image import ImageOptions, ImagePipeline, Size, box_of, known_feeds, post_processor, size_of
from onnxpipe.tasks.base.pipeline import text_row
from onnxpipe.tasks.base.spec import InputPart, TaskSpec


@dataclass(frozen=True)
class ZeroShotObjectDetectionOptions(ImageOptions):
    """Parameters of zero-shot-object-detection.

    Attributes:
        candidate_labels: what to look for: a list, or one string with commas (spaces after them belong to the labels).
        threshold: the score that a box must exceed.
        top_k: how many boxes, best first; None for all.
    """

    candidate_labels: Any = None
    threshold: float = 0.1
    top_k: int | None = None


@dataclass(frozen=True)
class _Asked:
    """What the answer needs of a row: the picture's size, and the labels that were looked for in it."""

    size: Size
    labels: Sequence[str]


class ZeroShotObjectDetectionPipeline(ImagePipeline):
    """Finds named things: a list of `{"score", "label", "box"}`, best first; boxes may reach beyond the picture.

    An input is a picture, with the call's `candidate_labels`, or `{"image", "candidate_labels"}`. Its parameters are
    those of `ZeroShotObjectDetectionOptions`.
    """

    Options = ZeroShotObjectDetectionOptions
    _load_tokenizer = True
    input_modalities = "multimodal"

    def prepare(self) -> None:
        super().prepare()
        self._post_process = post_processor(self.image_processor, ["post_process_object_detection"], self.task)

    def __call__(self, inputs: Any = None, candidate_labels: Any = None, *args: Any, **kwargs: Any) -> Any:
        """See `Pipeline.__call__`. The labels may be the second argument; a list of lists has labels for each picture.

        Args:
            inputs: a picture, `{"image", "candidate_labels"}`, a list, generator or dataset of either.
            candidate_labels: what to look for (`text_queries` is its old name).
            *args: ignored with a warning, as in transformers.
            **kwargs: see `Pipeline.__call__`.

        Raises:
            ValueError: lists of labels that are not as many as the pictures.
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
        asked = value if isinstance(value, Mapping) else {"image": value}
        labels = asked.get("candidate_labels", options.candidate_labels)
        if labels is None:
            raise ValueError("zero-shot-object-detection needs candidate_labels: what to look for")
        labels = labels.split(",") if isinstance(labels, str) else list(labels)
        if not labels:
            raise ValueError("candidate_labels is empty: there is nothing to look for")
        image = self.load(asked["image"], options)
        row = self.image_row(self.image_processor(image, return_tensors="np"))
        # OWL's labels do not see each other: one run for all. Other models read them with the picture, one by one.
        groups = [labels] if self._apart else [[label] for label in labels]
        return [replace(row, extra=_Asked(size_of(image), group)) for group in groups]

    def run(self, rows: Sequence[Row], options: ZeroShotObjectDetectionOptions) -> list[Outputs]:
        return [self._look(row) for row in rows]

    def _look(self, row: Row) -> Outputs:
        picture = {name: array[None] for name, array in row.feeds.items()}
        outputs = self.model.run({**self._tokens(row.extra.labels), **picture})
        return {name: outputs[name][0] for name in ("logits", "pred_boxes")}

    def _tokens(self, labels: Sequence[str]) -> dict[str, Array]:
        rows = [text_row(self.tokenizer, self.tokenizer(label)) for label in labels]
        feeds = stack(rows, Padding(self.tokenizer.pad_token_id or 0))
        return known_feeds(feeds, self.model.session.inputs, self.model.name_or_path)

    def decode(self, rows: Answered, options: ZeroShotObjectDetectionOptions) -> list[dict[str, Any]]:
        found = []
        for row, outputs in rows:
            for i, label in enumerate(row.extra.labels):
                logits = outputs["logits"][:, i : i + 1] if self._apart else outputs["logits"]
                mine = ModelOutput(logits=logits[None], pred_boxes=outputs["pred_boxes"][None])
                found += self._boxes(label, mine, row.extra.size, options.threshold)
        found.sort(key=lambda entry: entry["score"], reverse=True)
        return found[: options.top_k] if options.top_k else found

    def _boxes(self, label: str, outputs: ModelOutput, size: Size, threshold: float) -> list[dict[str, Any]]:
        answer = self._post_process(outputs, threshold=threshold, target_sizes=[size])[0]
        return [
            {"score": float(answer["scores"][n]), "label": label, "box": box_of(answer["boxes"][n])}
            for n in np.flatnonzero(answer["scores"])
        ]

    @property
    def _apart(self) -> bool:
        """Whether the model judges each label by itself: (boxes, labels) logits, a column a label."""
        return str(self.model.config.model_type).startswith("owl")


def _labels_of_each(labels: Any, count: int) -> list[Any]:
    """The labels of each of `count` pictures: the same for all, or a list of lists."""
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
    """An input with the call's labels, unless it has its own."""
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
