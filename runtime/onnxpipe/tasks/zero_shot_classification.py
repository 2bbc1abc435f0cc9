"""zero-shot-classification: label texts with labels that are chosen at call time, by natural language inference."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack, overload

import numpy as np

from onnxpipe.engine.batching import Row
from onnxpipe.engine.scheduler import Answered
from onnxpipe.errors import TextTooLongError
from onnxpipe.models.auto import AutoModelForSequenceClassification
from onnxpipe.processing.text.inputs import one_text, text_list
from onnxpipe.tasks.base.call_types import CallOptions, Stream
from onnxpipe.tasks.base.columns import Cells, fixed_columns
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.pipeline import Pipeline
from onnxpipe.tasks.base.spec import TaskSpec
from onnxpipe.tasks.base.text_rows import text_row

logger = logging.getLogger("onnxpipe")


@dataclass(frozen=True)
class ZeroShotClassificationOptions:
    """Options of zero-shot-classification.

    Attributes:
        candidate_labels: the labels to choose from: a list, or one string with commas.
        hypothesis_template: the sentence in which a label takes the place of `{}`.
        multi_label: score each label by itself (entailment against contradiction), so that scores do not sum to 1.
        multi_class: deprecated spelling of `multi_label`.
    """

    candidate_labels: Any = None
    hypothesis_template: str | None = "This example is {}."
    multi_label: bool = False
    multi_class: bool | None = None


class ZeroShotCallOptions(CallOptions, total=False):
    """The options of a call: see `ZeroShotClassificationOptions`."""

    hypothesis_template: str | None
    multi_label: bool | None
    multi_class: bool | None


class ZeroShotAnswer(TypedDict):
    """A text with the labels, best first, and their scores."""

    sequence: str
    labels: list[str]
    scores: list[float]


class ZeroShotClassificationPipeline(Pipeline[ZeroShotClassificationOptions]):
    """Score candidate labels for texts: `{"sequence", "labels", "scores"}`, best first."""

    Options = ZeroShotClassificationOptions
    none_counts = frozenset({"candidate_labels", "hypothesis_template", "multi_label"})

    def prepare(self) -> None:
        if self.entailment_id == -1:
            logger.warning(
                "Failed to determine 'entailment' label id from the label2id mapping in the model config. Setting to "
                "-1. Define a descriptive label2id mapping in the model config to ensure correct outputs."
            )
        if self.tokenizer.pad_token_id is None and self.tokenizer.eos_token is not None:
            logger.error("The tokenizer has no pad token: its eos token is used to pad.")
            self.tokenizer.pad_token = self.tokenizer.eos_token

    @property
    def entailment_id(self) -> int:
        """The index of the first label whose name starts with "entail", in any case; -1 if there is none."""
        for label, index in self.model.config.label2id.items():
            if label.lower().startswith("entail"):
                return int(index)
        return -1

    def parse(
        self, kwargs: Mapping[str, Any], base: ZeroShotClassificationOptions | None
    ) -> ZeroShotClassificationOptions:
        kept = dict(kwargs)
        if kept.get("multi_class") is not None:
            warnings.warn("The `multi_class` argument is called `multi_label` now.", FutureWarning, stacklevel=4)
            kept["multi_label"] = kept.pop("multi_class")
        labels = kept.get("candidate_labels")
        if isinstance(labels, str):
            kept["candidate_labels"] = [label.strip() for label in labels.split(",") if label.strip()]
        return super().parse(kept, base)

    @overload
    def __call__(
        self,
        sequences: str,
        candidate_labels: str | Sequence[str] | None = None,
        **options: Unpack[ZeroShotCallOptions],
    ) -> ZeroShotAnswer: ...
    @overload
    def __call__(
        self,
        sequences: list[str],
        candidate_labels: str | Sequence[str] | None = None,
        **options: Unpack[ZeroShotCallOptions],
    ) -> list[ZeroShotAnswer]: ...
    @overload
    def __call__(
        self,
        sequences: Stream,
        candidate_labels: str | Sequence[str] | None = None,
        **options: Unpack[ZeroShotCallOptions],
    ) -> PipelineIterator[ZeroShotAnswer]: ...
    def __call__(self, sequences: Any, *args: Any, **kwargs: Any) -> Any:
        """See `Pipeline.__call__`. The labels may be the second positional argument."""
        if len(args) == 1 and "candidate_labels" not in kwargs:
            kwargs["candidate_labels"] = args[0]
        elif args:
            raise ValueError(f"Unable to understand extra arguments {args}")
        return super().__call__(sequences, **kwargs)

    def encode(self, value: Any, options: ZeroShotClassificationOptions) -> Iterator[Row]:
        labels, template = options.candidate_labels, options.hypothesis_template
        if labels is not None:
            labels = text_list(labels, "candidate_labels")
        if len(labels) == 0 or len(value) == 0:
            raise ValueError("You must include at least one label and at least one sequence.")
        if template.format(labels[0]) == template:  # type: ignore[union-attr]
            raise ValueError(
                f'The provided hypothesis_template "{template}" was not able to be formatted with the target labels. '
                "Make sure the passed template includes formatting syntax such as {} where the label should go."
            )
        sequence = one_text(value[0] if isinstance(value, (list, tuple)) else value, "the sequence")
        for label in labels:
            hypothesis = template.format(label)  # type: ignore[union-attr]
            yield text_row(self.tokenizer, self._pair(sequence, hypothesis), (sequence, label))

    def _pair(self, sequence: str, hypothesis: str) -> Mapping[str, Any]:
        try:
            return self.tokenizer(sequence, hypothesis, truncation="only_first")
        except TextTooLongError:  # the hypothesis alone is too long: nothing is cut, as in transformers
            return self.tokenizer(sequence, hypothesis, truncation=False)

    def decode(self, rows: Answered, options: ZeroShotClassificationOptions) -> ZeroShotAnswer:
        logits = np.stack([outputs["logits"] for _, outputs in rows]).astype(np.float32)
        entailment = self.entailment_id
        if options.multi_label or len(rows) == 1:
            contradiction = -1 if entailment == 0 else 0
            both = np.exp(logits[:, [contradiction, entailment]])
            scores = both[:, 1] / both.sum(-1)
        else:
            each = np.exp(logits[:, entailment])
            scores = each / each.sum()
        best = list(reversed(scores.argsort()))
        labels = [row.extra[1] for row, _ in rows]
        return {
            "sequence": rows[0][0].extra[0],
            "labels": [labels[i] for i in best],
            "scores": [float(scores[i]) for i in best],
        }


def _cells(answer: Mapping[str, Any]) -> Cells:
    scores = dict(zip(answer["labels"], answer["scores"]))
    return {"label": answer["labels"][0], "score": answer["scores"][0], "scores": scores}


TASK = TaskSpec(
    name="zero-shot-classification",
    pipeline=ZeroShotClassificationPipeline,
    auto_classes=(AutoModelForSequenceClassification,),
    help="Label texts with labels that you choose.",
    example='"The goal fell in extra time.", candidate_labels=["sport", "politics"]',
    default_model=("facebook/bart-large-mnli", "d7645e1"),
    columns=fixed_columns("label", "score", "scores", cells=_cells),
    candidate_labels=True,
)
