"""audio-classification: label recordings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

import numpy as np

from onnxpipe.engine.batching import Array
from onnxpipe.engine.scheduler import Answered
from onnxpipe.models.auto import AutoModelForAudioClassification
from onnxpipe.processing.scores import sigmoid, softmax
from onnxpipe.tasks.base.audio import AudioPipeline
from onnxpipe.tasks.base.call_types import AudioSource, CallOptions, LabelScore, Stream
from onnxpipe.tasks.base.columns import top_k_columns
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.option_rules import number_option
from onnxpipe.tasks.base.spec import TaskSpec

_FUNCTIONS: Mapping[str, Callable[[Array], Array]] = {"softmax": softmax, "sigmoid": sigmoid, "none": lambda x: x}
#: The function for the config's problem_type, if the call names none; softmax for any other.
_BY_PROBLEM_TYPE = {"regression": "none", "multi_label_classification": "sigmoid"}


@dataclass(frozen=True)
class AudioClassificationOptions:
    """Options of audio-classification. Those of the constructor hold for calls that do not pass them (transformers
    forgets its `top_k`).

    Attributes:
        top_k: the number of labels, best first; at most as many as the model has, None for all.
        function_to_apply: the function from logits to scores: "softmax", "sigmoid" or "none"; by default that of the
            model's problem type.
    """

    top_k: int | None = number_option(None, least=1)
    function_to_apply: str | None = None


class AudioClassificationCallOptions(CallOptions, total=False):
    """The options of a call: see `AudioClassificationOptions`."""

    top_k: int | None
    function_to_apply: Literal["softmax", "sigmoid", "none"] | None


class AudioClassificationPipeline(AudioPipeline[AudioClassificationOptions]):
    """Label recordings: a list of `{"score", "label"}`. Its options are those of `AudioClassificationOptions`."""

    Options = AudioClassificationOptions
    none_counts = frozenset({"top_k"})

    if TYPE_CHECKING:

        @overload
        def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
            self, inputs: list[Any], **options: Unpack[AudioClassificationCallOptions]
        ) -> list[list[LabelScore]]: ...
        @overload
        def __call__(
            self, inputs: AudioSource, **options: Unpack[AudioClassificationCallOptions]
        ) -> list[LabelScore]: ...
        @overload
        def __call__(
            self, inputs: Stream, **options: Unpack[AudioClassificationCallOptions]
        ) -> PipelineIterator[list[LabelScore]]: ...
        def __call__(self, inputs: Any, *args: Any, **options: Any) -> Any: ...

    def parse(self, kwargs: Mapping[str, Any], base: AudioClassificationOptions | None) -> AudioClassificationOptions:
        function = kwargs.get("function_to_apply")
        if isinstance(function, str) and function not in _FUNCTIONS:
            raise ValueError(
                f"Invalid value for `function_to_apply`: {function}. Valid options are ['softmax', 'sigmoid', 'none']"
            )
        return super().parse(kwargs, base)

    def decode(self, rows: Answered, options: AudioClassificationOptions) -> list[LabelScore]:
        config = self.model.config
        function = options.function_to_apply or _BY_PROBLEM_TYPE.get(config.problem_type, "softmax")
        scores = _FUNCTIONS[function](rows[0][1]["logits"].astype(np.float32))
        best = np.argsort(-scores, kind="stable")[: options.top_k]
        return [{"score": float(scores[i]), "label": config.id2label[int(i)]} for i in best]


TASK = TaskSpec(
    name="audio-classification",
    pipeline=AudioClassificationPipeline,
    auto_classes=(AutoModelForAudioClassification,),
    help="Label recordings: spoken commands, speakers, music, noises.",
    example='"talk.flac", top_k=3',
    default_model=("superb/wav2vec2-base-superb-ks", "372e048"),
    input="audio",
    columns=top_k_columns("label", "score", within_labels=True),
    ranked=True,
)
