"""keypoint-matching: find the points that two images have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import GeneratorType
from typing import Any, TypedDict, Unpack, overload

from onnxpipe.engine.batching import Row
from onnxpipe.engine.scheduler import Answered
from onnxpipe.models.auto import AutoModelForKeypointMatching
from onnxpipe.tasks.base.call_types import ImageCallOptions, ImageInput, Stream
from onnxpipe.tasks.base.columns import one_column
from onnxpipe.tasks.base.datasets import PipelineIterator, is_dataset
from onnxpipe.tasks.base.image import ImageOptions, ImagePipeline, batch_of_one, post_processor
from onnxpipe.tasks.base.option_rules import number_option
from onnxpipe.tasks.base.spec import InputPart, TaskSpec


@dataclass(frozen=True)
class KeypointMatchingOptions(ImageOptions):
    """Options of keypoint-matching.

    Attributes:
        threshold: the score that a match must exceed.
    """

    threshold: float = number_option(0.0, least=0, most=1)


class KeypointMatchingCallOptions(ImageCallOptions, total=False):
    """The options of a call: see `KeypointMatchingOptions`."""

    threshold: float | None


class Keypoint(TypedDict):
    """A point in pixels of an image."""

    x: int
    y: int


class KeypointMatch(TypedDict):
    """A point of the first image and the same point in the second."""

    keypoint_image_0: Keypoint
    keypoint_image_1: Keypoint
    score: float


class KeypointMatchingPipeline(ImagePipeline[KeypointMatchingOptions]):
    """Match two images: a list of `{"keypoint_image_0": {"x", "y"}, "keypoint_image_1": {"x", "y"}, "score"}`.

    An input is a pair of images; a list of pairs gives a list of lists, but a list of one pair gives that pair's
    matches (as in transformers). Its options are those of `KeypointMatchingOptions`.
    """

    Options = KeypointMatchingOptions

    def prepare(self) -> None:
        super().prepare()
        self._post_process = post_processor(self.image_processor, ["post_process_keypoint_matching"], self.task)

    @overload
    def __call__(  # type: ignore[overload-overlap] # a str is a sequence too
        self, inputs: Sequence[ImageInput], **options: Unpack[KeypointMatchingCallOptions]
    ) -> list[KeypointMatch]: ...
    @overload
    def __call__(
        self, inputs: Sequence[Sequence[ImageInput]], **options: Unpack[KeypointMatchingCallOptions]
    ) -> list[list[KeypointMatch]]: ...
    @overload
    def __call__(
        self, inputs: Stream, **options: Unpack[KeypointMatchingCallOptions]
    ) -> PipelineIterator[list[KeypointMatch]]: ...
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
            raise _not_pairs()
        images = [self.load(source, options) for source in value]
        # transformers passes (width, height) here, and its post-processing swaps them
        sizes = [image.size for image in images]
        return [self.image_row(self.image_processor(images, return_tensors="np"), sizes)]

    def decode(self, rows: Answered, options: KeypointMatchingOptions) -> list[KeypointMatch]:
        row, outputs = rows[0]
        result = self._post_process(batch_of_one(outputs), target_sizes=[row.extra], threshold=options.threshold)[0]
        matches: list[KeypointMatch] = [
            {"keypoint_image_0": _point(first), "keypoint_image_1": _point(second), "score": float(score)}
            for first, second, score in zip(
                result["keypoints0"], result["keypoints1"], result["matching_scores"], strict=True
            )
        ]
        return sorted(matches, key=lambda match: match["score"], reverse=True)


def _point(xy: Any) -> Keypoint:
    return {"x": xy[0].item(), "y": xy[1].item()}


def _pairs(inputs: Any) -> list[Any]:
    """Return the pairs of an input: one pair, or a list of them."""
    if _is_pair(inputs):
        return [inputs]
    if not _is_list(inputs) or not all(_is_list(pair) for pair in inputs):
        raise _not_pairs()
    return list(inputs)  # one that is not a pair raises in its turn


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _is_pair(value: Any) -> bool:
    return _is_list(value) and len(value) == 2 and all(_is_source(each) for each in value)


def _is_source(value: Any) -> bool:
    if isinstance(value, (str, bytes, Path)) or hasattr(value, "__array__"):
        return True
    return hasattr(value, "getbands") and hasattr(value, "convert")  # a PIL image, without importing PIL


def _not_pairs() -> ValueError:
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
