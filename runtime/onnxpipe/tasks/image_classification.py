"""image-classification: label images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

import numpy as np

from onnxpipe.engine.batching import Array
from onnxpipe.engine.scheduler import Answered
from onnxpipe.models.auto import AutoModelForImageClassification
from onnxpipe.processing.scores import sigmoid, softmax
from onnxpipe.tasks.base.call_types import ImageCallOptions, ImageInput, LabelScore, Stream
from onnxpipe.tasks.base.columns import top_k_columns
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.image import ImageOptions, ImagePipeline
from onnxpipe.tasks.base.option_rules import number_option
from onnxpipe.tasks.base.spec import TaskSpec
from onnxpipe.tasks.text_classification import ClassificationFunction

FUNCTIONS: Mapping[ClassificationFunction, Callable[[Array], Array]] = {
    ClassificationFunction.SIGMOID: sigmoid,
    ClassificationFunction.SOFTMAX: softmax,
    ClassificationFunction.NONE: lambda logits: logits,
}


@dataclass(frozen=True)
class ImageClassificationOptions(ImageOptions):
    """Options of image-classification.

    Attributes:
        top_k: the number of labels, best first; at most as many as the model has.
        function_to_apply: the function from logits to scores: "sigmoid", "softmax" or "none"; by default that of the
            model's problem type.
    """

    top_k: int = number_option(5, least=1)
    function_to_apply: ClassificationFunction | str | None = None


class ImageClassificationCallOptions(ImageCallOptions, total=False):
    """The options of a call: see `ImageClassificationOptions`."""

    top_k: int | None
    function_to_apply: ClassificationFunction | Literal["sigmoid", "softmax", "none"] | None


class ImageClassificationPipeline(ImagePipeline[ImageClassificationOptions]):
    """Label images: a list of `{"label", "score"}`. Its options are those of `ImageClassificationOptions`."""

    Options = ImageClassificationOptions

    if TYPE_CHECKING:

        @overload
        def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
            self, inputs: list[Any], **options: Unpack[ImageClassificationCallOptions]
        ) -> list[list[LabelScore]]: ...
        @overload
        def __call__(
            self, inputs: ImageInput, **options: Unpack[ImageClassificationCallOptions]
        ) -> list[LabelScore]: ...
        @overload
        def __call__(
            self, inputs: Stream, **options: Unpack[ImageClassificationCallOptions]
        ) -> PipelineIterator[list[LabelScore]]: ...
        def __call__(self, inputs: Any, *args: Any, **options: Any) -> Any: ...

    def parse(self, kwargs: Mapping[str, Any], base: ImageClassificationOptions | None) -> ImageClassificationOptions:
        kept = dict(kwargs)
        if isinstance(kept.get("function_to_apply"), str):
            kept["function_to_apply"] = function_named(kept["function_to_apply"])
        return super().parse(kept, base)

    def decode(self, rows: Answered, options: ImageClassificationOptions) -> list[LabelScore]:
        logits = rows[0][1]["logits"].astype(np.float32)
        scores = FUNCTIONS[options.function_to_apply or self._function()](logits)  # type: ignore[index]
        labels = self.model.config.id2label
        best = np.argsort(-scores, kind="stable")[: min(options.top_k, self.model.config.num_labels)]
        return [{"label": labels[i], "score": float(scores[i])} for i in best.tolist()]

    def _function(self) -> ClassificationFunction:
        config = self.model.config
        if config.problem_type == "regression":
            return ClassificationFunction.NONE
        if config.problem_type == "multi_label_classification" or config.num_labels == 1:
            return ClassificationFunction.SIGMOID
        return ClassificationFunction.SOFTMAX


def function_named(value: ClassificationFunction | str) -> ClassificationFunction:
    """Find a function by its name, in any case.

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
