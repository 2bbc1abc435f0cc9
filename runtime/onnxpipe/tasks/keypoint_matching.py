"""keypoint-matching: which points of one picture are which of another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import GeneratorType
from typing import Any

from onnxpipe.engine.batching import Row
from onnxpipe.engine.scheduler import Answered
from onnxpipe.models.auto import AutoModelForKeypointMatching
from onnxpipe.tasks.base.columns import one_column
from onnxpipe.tasks.base.datasets import is_dataset
from onnxpipe.tasks.base.image import ImageOptions, ImagePipeline, batch_of_one, post_processor
from onnxpipe.tasks.base.spec import InputPart, TaskSpec


@dataclass(frozen=True)
class KeypointMatchingOptions(ImageOptions):
    """Parameters of keypoint-matching.

    Attributes:
        threshold: the score that a match must exceed.
    """

    threshold: float = 0.0


class KeypointMatchingPipeline(ImagePipeline):
    """Matches two pictures: a list of `{"keypoint_image_0": {"x", "y"}, "keypoint_image_1": {"x", "y"}, "score"}`.

    An input is a pair of pictures; a list of pairs gives a list of lists, save that a list of one pair gives that
    pair's matches (as in transformers). Its parameters are those of `KeypointMatchingOptions`.
    """

    Options = KeypointMatchingOptions

    def prepare(self) -> None:
        super().prepare()
        self._post_process = post_processor(self.image_processor, ["post_process_keypoint_matching"], self.task)

    def __call__(self, inputs: Any = None, *args: Any, **kwargs: Any) -> Any:
        """See `Pipeline.__call__`. Generators and datasets of pairs are answered one by one."""
        inputs = self.first_argument(inputs, kwargs)
        if isinstance(inputs, GeneratorType) or is_dataset(inputs):
            return super().__call__(inputs, *args, **kwargs)
        pairs = _pairs(inputs)
        answers = super().__call__(pairs, *args, **kwargs)
        return answers[0] if len(pairs) == 1 else answers

    def encode(self, value: Any, options: KeypointMatchingOptions) -> Iterable[Row]:
        if not _is_pair(value):
            raise _no_pairs()
        images = [self.load(source, options) for source in value]
        # transformers gives (width, height) here, and its post-processing turns them round
        sizes = [image.size for image in images]
        return [self.image_row(self.image_processor(images, return_tensors="np"), sizes)]

    def decode(self, rows: Answered, options: KeypointMatchingOptions) -> list[dict[str, Any]]:
        row, outputs = rows[0]
        found = self._post_process(batch_of_one(outputs), target_sizes=[row.extra], threshold=options.threshold)[0]
        matches = [
            {"keypoint_image_0": _point(first), "keypoint_image_1": _point(second), "score": float(score)}
            for first, second, score in zip(
                found["keypoints0"], found["keypoints1"], found["matching_scores"], strict=True
            )
        ]
        return sorted(matches, key=lambda match: match["score"], reverse=True)


def _point(xy: Any) -> dict[str, Any]:
    return {"x": xy[0].item(), "y": xy[1].item()}


def _pairs(inputs: Any) -> list[Any]:
    """The pairs among what was passed: one pair, or a list of them."""
    if _is_pair(inputs):
        return [inputs]
    if not _is_list(inputs) or not all(_is_list(pair) for pair in inputs):
        raise _no_pairs()
    return list(inputs)  # one that is no pair is told of in its turn


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _is_pair(value: Any) -> bool:
    return _is_list(value) and len(value) == 2 and all(_is_source(each) for each in value)


def _is_source(value: Any) -> bool:
    if isinstance(value, (str, bytes, Path)) or hasattr(value, "__array__"):
        return True
    return hasattr(value, "getbands") and hasattr(value, "convert")  # a PIL image, without importing PIL


def _no_pairs() -> ValueError:
    return ValueError(
        "Input images must be a one of the following :", " - A pair of images.", " - A list of pairs of images."
    )


TASK = TaskSpec(
    name="keypoint-matching",
    pipeline=KeypointMatchingPipeline,
    auto_classes=(AutoModelForKeypointMatching,),
    help="Find the points that two images have in common.",
    example='["photo.jpg", "street.jpg"]',
    default_model=("magic-leap-community/superglue_outdoor", "f4041f8"),
    input="image",
    parts=(InputPart("image_0"), InputPart("image_1")),
    parts_as_list=True,
    columns=one_column("matches"),
    draws=True,
)
