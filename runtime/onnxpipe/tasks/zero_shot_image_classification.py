"""zero-shot-image-classification: compare images with labels that are chosen at call time."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack, overload

import numpy as np

from onnxpipe.engine.batching import Row, stack
from onnxpipe.engine.scheduler import Answered, Outputs
from onnxpipe.models.auto import AutoModelForZeroShotImageClassification
from onnxpipe.processing.scores import sigmoid, softmax
from onnxpipe.tasks.base.call_types import ImageCallOptions, ImageInput, LabelScore, Stream
from onnxpipe.tasks.base.candidate_labels import CandidateLabelEncoder, check_labels, ranked
from onnxpipe.tasks.base.columns import score_columns
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.image import ImageOptions, ImagePipeline
from onnxpipe.tasks.base.spec import TaskSpec


@dataclass(frozen=True)
class ZeroShotImageClassificationOptions(ImageOptions):
    """Options of zero-shot-image-classification.

    Attributes:
        candidate_labels: the list of labels to choose from.
        hypothesis_template: the sentence in which a label takes the place of `{}`.
        tokenizer_kwargs: keywords of the tokenizer's call (deprecated in transformers).
    """

    candidate_labels: Sequence[str] | None = None
    hypothesis_template: str = "This is a photo of {}."
    tokenizer_kwargs: Mapping[str, Any] | None = None


class ZeroShotImageCallOptions(ImageCallOptions, total=False):
    """The options of a call: see `ZeroShotImageClassificationOptions`."""

    hypothesis_template: str | None
    tokenizer_kwargs: Mapping[str, Any] | None


class ZeroShotImageClassificationPipeline(ImagePipeline[ZeroShotImageClassificationOptions]):
    """Score labels for images: a list of `{"score", "label"}`, best first.

    Its options are those of `ZeroShotImageClassificationOptions`. The labels of a call hold for all its images, and are
    encoded once.
    """

    Options = ZeroShotImageClassificationOptions
    _load_tokenizer = True
    input_modalities = "multimodal"

    def prepare(self) -> None:
        super().prepare()
        self._encoder = CandidateLabelEncoder(self.model, self.tokenizer)

    @overload
    def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
        self,
        inputs: list[Any],
        candidate_labels: Sequence[str] | None = None,
        **options: Unpack[ZeroShotImageCallOptions],
    ) -> list[list[LabelScore]]: ...
    @overload
    def __call__(
        self,
        inputs: ImageInput,
        candidate_labels: Sequence[str] | None = None,
        **options: Unpack[ZeroShotImageCallOptions],
    ) -> list[LabelScore]: ...
    @overload
    def __call__(
        self,
        inputs: Stream,
        candidate_labels: Sequence[str] | None = None,
        **options: Unpack[ZeroShotImageCallOptions],
    ) -> PipelineIterator[list[LabelScore]]: ...
    def __call__(self, inputs: Any = None, candidate_labels: Any = None, *args: Any, **kwargs: Any) -> Any:
        """See `Pipeline.__call__`. The labels may be the second positional argument."""
        if candidate_labels is not None:
            kwargs["candidate_labels"] = candidate_labels
        if kwargs.get("candidate_labels") is None and self.options.candidate_labels is None:
            raise TypeError("zero-shot-image-classification needs candidate_labels=[...]")
        return super().__call__(inputs, *args, **kwargs)

    def parse(
        self, kwargs: Mapping[str, Any], base: ZeroShotImageClassificationOptions | None
    ) -> ZeroShotImageClassificationOptions:
        check_labels(self.task, kwargs.get("candidate_labels"))
        if kwargs.get("tokenizer_kwargs") is not None:
            warnings.warn("The `tokenizer_kwargs` argument is deprecated.", FutureWarning, stacklevel=4)
        return super().parse(kwargs, base)

    def run(self, rows: Sequence[Row], options: ZeroShotImageClassificationOptions) -> list[Outputs]:
        kwargs: dict[str, Any] = {"padding": True}
        if self._siglip:
            kwargs = {"padding": "max_length", "max_length": 64, "truncation": True}
        kwargs |= options.tokenizer_kwargs or {}
        texts = self._encoder.features(options.candidate_labels or (), options.hypothesis_template, kwargs)
        return [{"logits": row} for row in self._encoder.similarities(texts, stack(rows, self.padding()))]

    def decode(self, rows: Answered, options: ZeroShotImageClassificationOptions) -> list[LabelScore]:
        logits = rows[0][1]["logits"].astype(np.float32)
        return ranked(sigmoid(logits) if self._siglip else softmax(logits), options.candidate_labels or ())

    @property
    def _siglip(self) -> bool:
        return "siglip" in self.model.config.model_type


TASK = TaskSpec(
    name="zero-shot-image-classification",
    pipeline=ZeroShotImageClassificationPipeline,
    auto_classes=(AutoModelForZeroShotImageClassification,),
    help="Label images with labels that you choose.",
    example='"photo.jpg", candidate_labels=["a cat", "a dog"]',
    default_model=("openai/clip-vit-base-patch32", "3d74acf"),
    input="multimodal",
    columns=score_columns(),
    draws=True,
    candidate_labels=True,
)
