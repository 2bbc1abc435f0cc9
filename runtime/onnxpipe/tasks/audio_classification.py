"""audio-classification: the labels of a recording, best first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.engine.batching import Array
from onnxpipe.engine.scheduler import Answered
from onnxpipe.models.auto import AutoModelForAudioClassification
from onnxpipe.processing.scores import sigmoid, softmax
from onnxpipe.tasks.base.audio import AudioPipeline
from onnxpipe.tasks.base.columns import top_k_columns
from onnxpipe.tasks.base.spec import TaskSpec

_FUNCTIONS: Mapping[str, Callable[[Array], Array]] = {"softmax": softmax, "sigmoid": sigmoid, "none": lambda x: x}
#: The config's problem_type -> what is applied where nobody says; softmax for any other.
_OF_PROBLEMS = {"regression": "none", "multi_label_classification": "sigmoid"}


@dataclass(frozen=True)
class AudioClassificationOptions:
    """Parameters of audio-classification. Those of the constructor hold for calls that do not give them (transformers
    forgets its `top_k`).

    Attributes:
        top_k: how many labels, best first; at most as many as the model has, None for all.
        function_to_apply: "softmax", "sigmoid" or "none"; by default what the model's problem type asks for.
    """

    top_k: int | None = None
    function_to_apply: str | None = None


class AudioClassificationPipeline(AudioPipeline):
    """Labels a recording: a list of `{"score", "label"}`. Its parameters are those of `AudioClassificationOptions`."""

    Options = AudioClassificationOptions
    none_counts = frozenset({"top_k"})

    def parse(self, given: Mapping[str, Any], base: AudioClassificationOptions | None) -> AudioClassificationOptions:
        function, top_k = given.get("function_to_apply"), given.get("top_k")
        if function is not None and function not in _FUNCTIONS:
            raise ValueError(
                f"Invalid value for `function_to_apply`: {function}. Valid options are ['softmax', 'sigmoid', 'none']"
            )
        if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, (int, np.integer)) or top_k < 1):
            raise ValueError(f"top_k must be a positive whole number, or None for all labels; got {top_k!r}")
        options: AudioClassificationOptions = super().parse(given, base)
        return options

    def decode(self, rows: Answered, options: AudioClassificationOptions) -> list[dict[str, Any]]:
        config = self.model.config
        function = options.function_to_apply or _OF_PROBLEMS.get(config.problem_type, "softmax")
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
