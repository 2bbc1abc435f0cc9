"""video-classification: label videos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

import numpy as np

from onnxpipe.engine.batching import Row
from onnxpipe.engine.scheduler import Answered
from onnxpipe.errors import BundleError, UnsupportedError
from onnxpipe.models.auto import AutoModelForVideoClassification
from onnxpipe.tasks.base.call_types import ImageCallOptions, LabelScore, Stream, VideoInput
from onnxpipe.tasks.base.columns import top_k_columns
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.image import ImageOptions, ImagePipeline
from onnxpipe.tasks.base.option_rules import number_option
from onnxpipe.tasks.base.spec import TaskSpec
from onnxpipe.tasks.image_classification import FUNCTIONS
from onnxpipe.tasks.text_classification import ClassificationFunction


@dataclass(frozen=True)
class VideoClassificationOptions(ImageOptions):
    """Options of video-classification.

    Attributes:
        top_k: the number of labels, best first; at most as many as the model has.
        num_frames: the number of frames to classify; by default as many as the model was trained on.
        frame_sampling_rate: take one frame of this many, from the beginning of the video on.
        function_to_apply: the function from logits to scores: "softmax", "sigmoid" or "none"; by default that of the
            model's problem type.
    """

    top_k: int = number_option(5, least=1)
    num_frames: int | None = number_option(None, least=1)
    frame_sampling_rate: int = number_option(1, least=1)
    function_to_apply: str | None = None


class VideoClassificationCallOptions(ImageCallOptions, total=False):
    """The options of a call: see `VideoClassificationOptions`."""

    top_k: int | None
    num_frames: int | None
    frame_sampling_rate: int | None
    function_to_apply: Literal["softmax", "sigmoid", "none"] | None


class VideoClassificationPipeline(ImagePipeline[VideoClassificationOptions]):
    """Label videos: a list of `{"score", "label"}`. Its options are those of `VideoClassificationOptions`."""

    Options = VideoClassificationOptions
    _load_image_processor = None
    _load_video_processor = None
    input_modalities = "video"
    window = 1
    input_names = ("videos",)

    if TYPE_CHECKING:

        @overload
        def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
            self, inputs: list[Any], **options: Unpack[VideoClassificationCallOptions]
        ) -> list[list[LabelScore]]: ...
        @overload
        def __call__(
            self, inputs: VideoInput, **options: Unpack[VideoClassificationCallOptions]
        ) -> list[LabelScore]: ...
        @overload
        def __call__(
            self, inputs: Stream, **options: Unpack[VideoClassificationCallOptions]
        ) -> PipelineIterator[list[LabelScore]]: ...
        def __call__(self, inputs: Any, *args: Any, **options: Any) -> Any: ...

    def check_processor(self) -> None:
        """Refuse a pipeline with neither a video processor nor an image processor."""
        if self.video_processor is None and self.image_processor is None:
            raise ValueError(
                "The video-classification pipeline requires either a video processor or an image processor. "
                f"Neither could be found for {self.model.name_or_path}: pass image_processor= or video_processor="
            )
        axes = getattr(self.model.session.inputs.get("pixel_values"), "shape", ())
        if len(axes) == 4:
            raise UnsupportedError(f"{self.model.name_or_path} classifies single images, not videos")

    def parse(self, kwargs: Mapping[str, Any], base: VideoClassificationOptions | None) -> VideoClassificationOptions:
        function = kwargs.get("function_to_apply")
        if isinstance(function, str) and function not in ("softmax", "sigmoid", "none"):
            raise ValueError(
                f"Invalid value for `function_to_apply`: {function}. Valid options are ['softmax', 'sigmoid', 'none']"
            )
        return super().parse(kwargs, base)

    def encode(self, value: Any, options: VideoClassificationOptions) -> Iterable[Row]:
        from onnxpipe.processing.video.read import read_frames

        count = options.num_frames or self.model.config.get("num_frames")
        if not count:
            raise BundleError(f"config.json of {self.model.name_or_path} has no num_frames: pass num_frames=")
        frames = read_frames(value, count, options.frame_sampling_rate, options.timeout)
        processor = self.video_processor if self.video_processor is not None else self.image_processor
        return [self.image_row(processor(list(frames), return_tensors="np"))]

    def decode(self, rows: Answered, options: VideoClassificationOptions) -> list[LabelScore]:
        config = self.model.config
        function = options.function_to_apply or {
            "regression": "none", "multi_label_classification": "sigmoid"
        }.get(config.problem_type, "softmax")  # fmt: skip
        scores = FUNCTIONS[ClassificationFunction(function)](rows[0][1]["logits"].astype(np.float32))
        best = np.argsort(-scores, kind="stable")[: min(options.top_k, config.num_labels)]
        return [{"score": float(scores[i]), "label": config.id2label[int(i)]} for i in best]


TASK = TaskSpec(
    name="video-classification",
    pipeline=VideoClassificationPipeline,
    auto_classes=(AutoModelForVideoClassification,),
    help="Label videos.",
    example='"video.mp4"',
    default_model=("MCG-NJU/videomae-base-finetuned-kinetics", "488eb9a"),
    input="video",
    columns=top_k_columns("label", "score", within_labels=True),
    draws=True,
    ranked=True,
)
