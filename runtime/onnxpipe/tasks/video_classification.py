"""video-classification: the labels of a film, best first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.engine.batching import Row
from onnxpipe.engine.scheduler import Answered
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.auto import AutoModelForVideoClassification
from onnxpipe.tasks.base.columns import top_k_columns
from onnxpipe.tasks.base.image import ImageOptions, ImagePipeline
from onnxpipe.tasks.base.spec import TaskSpec
from onnxpipe.tasks.image_classification import FUNCTIONS
from onnxpipe.tasks.text_classification import ClassificationFunction


@dataclass(frozen=True)
class VideoClassificationOptions(ImageOptions):
    """Parameters of video-classification.

    Attributes:
        top_k: how many labels, best first; at most as many as the model has.
        num_frames: frames to look at; by default as many as the model was made for.
        frame_sampling_rate: take one frame of this many, from the film's beginning on.
        function_to_apply: "softmax", "sigmoid" or "none"; by default what the model's problem type asks for.
    """

    top_k: int = 5
    num_frames: int | None = None
    frame_sampling_rate: int = 1
    function_to_apply: str | None = None


class VideoClassificationPipeline(ImagePipeline):
    """Labels a film: a list of `{"score", "label"}`. Its parameters are those of `VideoClassificationOptions`."""

    Options = VideoClassificationOptions
    _load_image_processor = None
    _load_video_processor = None
    input_modalities = "video"
    window = 1
    input_names = ("videos",)

    def check_processor(self) -> None:
        """A video processor will do too."""
        if self.video_processor is None and self.image_processor is None:
            raise ValueError(
                "The video-classification pipeline requires either a video processor or an image processor. "
                f"Neither could be found for {self.model.name_or_path}: pass image_processor= or video_processor="
            )
        axes = getattr(self.model.session.inputs.get("pixel_values"), "shape", ())
        if len(axes) == 4:
            raise UnsupportedError(f"{self.model.name_or_path} is a model of single pictures, not of videos")

    def parse(self, given: Mapping[str, Any], base: VideoClassificationOptions | None) -> VideoClassificationOptions:
        function = given.get("function_to_apply")
        if function is not None and function not in ("softmax", "sigmoid", "none"):
            raise ValueError(
                f"Invalid value for `function_to_apply`: {function}. Valid options are ['softmax', 'sigmoid', 'none']"
            )
        for name in ("num_frames", "frame_sampling_rate"):
            count = given.get(name)
            if count is not None and count < 1:
                raise ValueError(f"{name} must be at least 1, got {count}")
        options: VideoClassificationOptions = super().parse(given, base)
        return options

    def encode(self, value: Any, options: VideoClassificationOptions) -> Iterable[Row]:
        from onnxpipe.processing.video.read import read_frames

        count = options.num_frames or self.model.config.num_frames
        frames = read_frames(value, count, options.frame_sampling_rate, options.timeout)
        processor = self.video_processor if self.video_processor is not None else self.image_processor
        return [self.image_row(processor(list(frames), return_tensors="np"))]

    def decode(self, rows: Answered, options: VideoClassificationOptions) -> list[dict[str, Any]]:
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
    example='"film.mp4"',
    default_model=("MCG-NJU/videomae-base-finetuned-kinetics", "488eb9a"),
    input="video",
    columns=top_k_columns("label", "score", within_labels=True),
    draws=True,
    ranked=True,
)
