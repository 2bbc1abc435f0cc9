"""zero-shot-audio-classification: compare recordings with labels that are chosen at call time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack, overload

import numpy as np

from onnxpipe.engine.batching import Row, stack
from onnxpipe.engine.scheduler import Answered, Outputs
from onnxpipe.models.auto import AutoModelForZeroShotAudioClassification
from onnxpipe.processing.scores import softmax
from onnxpipe.tasks.base.audio import AudioPipeline
from onnxpipe.tasks.base.call_types import AudioSource, CallOptions, LabelScore, Stream
from onnxpipe.tasks.base.candidate_labels import CandidateLabelEncoder, check_labels, ranked
from onnxpipe.tasks.base.columns import score_columns
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.spec import TaskSpec


@dataclass(frozen=True)
class ZeroShotAudioClassificationOptions:
    """Options of zero-shot-audio-classification.

    Attributes:
        candidate_labels: the list of labels to choose from.
        hypothesis_template: the sentence in which a label takes the place of `{}`.
    """

    candidate_labels: Sequence[str] | None = None
    hypothesis_template: str = "This is a sound of {}."


class ZeroShotAudioCallOptions(CallOptions, total=False):
    """The options of a call: see `ZeroShotAudioClassificationOptions`."""

    candidate_labels: Sequence[str] | None
    hypothesis_template: str | None


class ZeroShotAudioClassificationPipeline(AudioPipeline[ZeroShotAudioClassificationOptions]):
    """Score labels for recordings: a list of `{"score", "label"}`, best first.

    Its options are those of `ZeroShotAudioClassificationOptions`. The labels of a call hold for all its recordings,
    and are encoded once.
    """

    Options = ZeroShotAudioClassificationOptions
    _load_tokenizer = True
    accepts_dict = False

    def prepare(self) -> None:
        super().prepare()
        self._encoder = CandidateLabelEncoder(self.model, self.tokenizer)

    @overload
    def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
        self, inputs: list[Any], **options: Unpack[ZeroShotAudioCallOptions]
    ) -> list[list[LabelScore]]: ...
    @overload
    def __call__(self, inputs: AudioSource, **options: Unpack[ZeroShotAudioCallOptions]) -> list[LabelScore]: ...
    @overload
    def __call__(
        self, inputs: Stream, **options: Unpack[ZeroShotAudioCallOptions]
    ) -> PipelineIterator[list[LabelScore]]: ...
    def __call__(self, inputs: Any = None, *args: Any, **kwargs: Any) -> Any:
        """See `Pipeline.__call__`; `audios` is transformers' name of the first argument."""
        if "audios" in kwargs:
            if inputs is not None:
                raise TypeError("the recording was passed twice: by position and as audios=")
            inputs = kwargs.pop("audios")
        if inputs is None:
            raise TypeError("zero-shot-audio-classification needs a recording: a path, a URL, bytes or an array")
        if kwargs.get("candidate_labels") is None and self.options.candidate_labels is None:
            raise TypeError("zero-shot-audio-classification needs candidate_labels=[...]")
        return super().__call__(inputs, *args, **kwargs)

    def parse(
        self, kwargs: Mapping[str, Any], base: ZeroShotAudioClassificationOptions | None
    ) -> ZeroShotAudioClassificationOptions:
        check_labels("zero-shot-audio-classification", kwargs.get("candidate_labels"))
        return super().parse(kwargs, base)

    def audio_row(self, processed: Mapping[str, Any], cost: int, extra: Any = None) -> Row:
        """Build a row; CLAP's spectrograms have one shape for recordings of any length."""
        known = self.model.other_inputs
        return Row({name: np.asarray(value)[0] for name, value in processed.items() if name in known}, cost, extra)

    def run(self, rows: Sequence[Row], options: ZeroShotAudioClassificationOptions) -> list[Outputs]:
        labels = options.candidate_labels or ()
        texts = self._encoder.features(labels, options.hypothesis_template, {"padding": True})
        return [{"logits": row} for row in self._encoder.similarities(texts, stack(rows, self.padding()))]

    def decode(self, rows: Answered, options: ZeroShotAudioClassificationOptions) -> list[LabelScore]:
        return ranked(softmax(rows[0][1]["logits"].astype(np.float32)), options.candidate_labels or ())


TASK = TaskSpec(
    name="zero-shot-audio-classification",
    pipeline=ZeroShotAudioClassificationPipeline,
    auto_classes=(AutoModelForZeroShotAudioClassification,),
    help="Label recordings with labels that you choose.",
    example='"talk.flac", candidate_labels=["speech", "rain"]',
    default_model=("laion/clap-htsat-fused", "cca9e28"),
    input="audio",
    columns=score_columns(),
    candidate_labels=True,
)
