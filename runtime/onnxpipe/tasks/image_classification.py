"""image-classification: the labels of a picture, best first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.engine.batching import Array
from onnxpipe.engine.scheduler import Answered
from onnxpipe.models.auto import AutoModelForImageClassification
from onnxpipe.processing.scores import sigmoid, softmax
from onnxpipe.tasks.base.columns import top_k_columns
from onnxpipe.tasks.base.image import ImageOptions, ImagePipeline
from onnxpipe.tasks.base.spec import TaskSpec
from onnxpipe.tasks.text_classification import ClassificationFunction

FUNCTIONS: Mapping[ClassificationFunction, Callable[[Array], Array]] = {
    ClassificationFunction.SIGMOID: sigmoid,
    ClassificationFunction.SOFTMAX: softmax,
    ClassificationFunction.NONE: lambda logits: logits,
}


@dataclass(frozen=True)
class ImageClassificationOptions(ImageOptions):
    """Parameters of image-classification.

    Attributes:
        top_k: how many labels, best first; at most as many as the model has.
        function_to_apply: "sigmoid", "softmax" or "none"; by default what the model's problem type asks for.
    """

    top_k: int = 5
    function_to_apply: ClassificationFunction | str | None = None


class ImageClassificationPipeline(ImagePipeline):
    """Labels a picture: a list of `{"label", "score"}`. Its parameters are those of `ImageClassificationOptions`."""

    Options = ImageClassificationOptions

    def parse(self, given: Mapping[str, Any], base: ImageClassificationOptions | None) -> ImageClassificationOptions:
        kept = dict(given)
        if kept.get("function_to_apply") is not None:
            kept["function_to_apply"] = function_named(kept["function_to_apply"])
        options: ImageClassificationOptions = super().parse(kept, base)
        return options

    def decode(self, rows: Answered, options: ImageClassificationOptions) -> list[dict[str, Any]]:
        logits = rows[0][1]["logits"].astype(np.float32)
        scores = FUNCTIONS[options.function_to_apply or self._function()](logits)  # type: ignore[index]
        labels = self.model.config.id2label
        answer = [{"label": labels[i], "score": float(score)} for i, score in enumerate(scores)]
        answer.sort(key=lambda entry: -entry["score"])
        return answer[: min(options.top_k, self.model.config.num_labels)]

    def _function(self) -> ClassificationFunction:
        config = self.model.config
        if config.problem_type == "regression":
            return ClassificationFunction.NONE
        if config.problem_type == "multi_label_classification" or config.num_labels == 1:
            return ClassificationFunction.SIGMOID
        return ClassificationFunction.SOFTMAX


def function_named(value: ClassificationFunction | str) -> ClassificationFunction:
    """The function of that name, in any case.

    Raises:
        ValueError: there is none.
    """
    if isinstance(value, ClassificationFunction):
        return value
    names = [function.value for function in ClassificationFunction]
    if str(value).lower() not in names:
        raise ValueError(f"{value} is not a valid ClassificationFunction, please select one of {names}")
    return ClassificationFunction(str(value).lower())


TASK = TaskSpec(
    name="image-classification",
    pipeline=ImageClassificationPipeline,
    auto_classes=(AutoModelForImageClassification,),
    help="Label images.",
    example='"photo.jpg", top_k=3',
    default_model=("google/vit-base-patch16-224", "3f49326"),
    input="image",
    columns=top_k_columns("label", "score", within_labels=True),
    draws=True,
    ranked=True,
)
