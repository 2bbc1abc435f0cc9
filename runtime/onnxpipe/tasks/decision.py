"""decision: answer typed questions about a state with probabilities, from one run of a language model for each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NotRequired, TypedDict, Unpack, overload

import numpy as np

from onnxpipe.engine.batching import Padding, Row, stack
from onnxpipe.engine.scheduler import Answered, Outputs
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.auto import AutoModelForCausalLM
from onnxpipe.models.vision_language.family import join_encoded
from onnxpipe.models.vision_language.model import VisionLanguageModel
from onnxpipe.processing.scores import softmax
from onnxpipe.processing.text.decision.config import DecisionConfig
from onnxpipe.processing.text.decision.prompts import DecisionPrompts, Prompt
from onnxpipe.processing.text.tokenizer import Tokenizer
from onnxpipe.tasks.base.call_types import CallOptions, Stream
from onnxpipe.tasks.base.columns import one_column
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.pipeline import Pipeline
from onnxpipe.tasks.base.spec import TaskSpec


@dataclass(frozen=True)
class DecisionOptions:
    """Options of decision: it has none."""


class DecisionRequest(TypedDict):
    """A request: a state (a text, or data), questions about it by name, and images (`assets`) by their placeholders."""

    state: Any
    questions: Mapping[str, Mapping[str, Any]]
    assets: NotRequired[Mapping[str, Any]]


class DecisionPipeline(Pipeline[DecisionOptions]):
    """Answer the questions of a request: a dict of answers by the questions' names.

    A request is `{"state": ..., "questions": {name: question}}`, or its JSON. A question has a `type`, and perhaps
    `instructions` (what is asked) and `criteria`: "noul" is a yes or no (its criteria may describe `true` and
    `false`), "choice" has a dict of options and what they mean, "score" a list of levels, lowest first. Answers are
    `{"type": "noul", "noul": probability}`, `{"type": "choice", "choice", "confidence", "probabilities"}` and
    `{"type": "score", "score", "legend", "confidence", "probabilities"}`. The model generates nothing: the
    probabilities are those of the options' labels (Yes and No, or A, B, C, ...) as its next token.

    A model that sees images takes `"assets": {placeholder: image}` in a request: wherever a placeholder is written in
    a text of the state or of a question, the model sees the image. An image is a path, a URL, base64, a PIL image or an
    array, or `{"data_base64": ...}`.

    Args:
        model, tokenizer: as in `Pipeline`.
        decision_config: a `DecisionConfig`, or a folder with a `decision.json` and `decision_template.jinja`; by
            default those of the model's folder.
        **options: as in `Pipeline`.
    """

    Options = DecisionOptions
    _load_processor: ClassVar[bool | None] = None

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer | None = None,
        *args: Any,
        decision_config: DecisionConfig | str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        folder = model.bundle.folder if decision_config is None else decision_config
        if isinstance(folder, (str, os.PathLike)) and not Path(folder).is_dir():
            raise UnsupportedError(f"decision_config={os.fspath(folder)!r} is no folder: pass one, or a DecisionConfig")
        self.decision_config = (
            folder if isinstance(folder, DecisionConfig) else DecisionConfig.from_folder(Path(folder))
        )
        super().__init__(model, tokenizer, *args, **options)

    def prepare(self) -> None:
        if self.processor is None and isinstance(self.model, VisionLanguageModel):
            from onnxpipe.processing.auto import AutoProcessor  # not at the top: texts alone need none of it

            self.processor = AutoProcessor.from_pretrained(self.model.bundle.folder)
        self._prompts = DecisionPrompts(self.tokenizer, self.decision_config)
        if hasattr(self.processor, "image_token_id"):
            from onnxpipe.processing.multimodal.decisions import ImageDecisionPrompts

            self._prompts = ImageDecisionPrompts(self.tokenizer, self.decision_config, self.processor)

    @overload
    def __call__(self, inputs: DecisionRequest | str, **options: Unpack[CallOptions]) -> dict[str, Any]: ...
    @overload
    def __call__(
        self, inputs: list[DecisionRequest] | list[str], **options: Unpack[CallOptions]
    ) -> list[dict[str, Any]]: ...
    @overload
    def __call__(self, inputs: Stream, **options: Unpack[CallOptions]) -> PipelineIterator[dict[str, Any]]: ...
    def __call__(self, inputs: Any, *args: Any, **options: Any) -> Any:
        """See `Pipeline.__call__`."""
        return super().__call__(inputs, *args, **options)

    def padding(self) -> Padding:
        """Any padding will do, since the mask hides it."""
        padding = super().padding()
        return padding if padding.token_id is not None else Padding(0, padding.side)

    def encode(self, value: Any, options: DecisionOptions) -> Iterator[Row]:
        limit = self.model.config.get_text_config().get("max_position_embeddings")
        for prompt in self._prompts.of(value):
            for question in prompt.questions:
                self._prompts.label_ids(question.labels)
            if isinstance(limit, int) and len(prompt.ids) > limit:
                raise UnsupportedError(
                    f"the prompt of {prompt.questions[0].name!r} has {len(prompt.ids)} tokens, and the model takes at "
                    f"most {limit}: shorten the state"
                )
            yield Row({"input_ids": prompt.ids, "attention_mask": np.ones_like(prompt.ids)}, len(prompt.ids), prompt)

    def run(self, rows: Sequence[Row], options: DecisionOptions) -> list[Outputs]:
        feeds, images = stack(rows, self.padding()), self._encoded_images(rows)
        if all(row.extra.marks == (row.length,) for row in rows):  # the next token's scores alone, of long prompts too
            decoder = self.model.start(
                feeds["input_ids"],
                {"attention_mask": feeds["attention_mask"], **images},
                max_length=feeds["input_ids"].shape[1],
            )
            return [{"logits": row[None]} for row in np.array(decoder.prefill())]
        logits = self.model(**feeds, **images).logits
        inside = feeds["attention_mask"].astype(bool)
        return [
            {"logits": scores[kept][np.array(row.extra.marks) - 1]} for row, scores, kept in zip(rows, logits, inside)
        ]

    def _encoded_images(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Encode the images of rows, or take them from those that were encoded lately."""
        if not any(row.extra.images for row in rows):
            return {}
        return {"encoded_images": join_encoded([self.model.encode_images(row.extra.images) for row in rows])}

    def decode(self, rows: Answered, options: DecisionOptions) -> dict[str, Any]:
        answers: dict[str, Any] = {}
        for row, outputs in rows:
            prompt: Prompt = row.extra
            for question, logits in zip(prompt.questions, outputs["logits"]):
                scores = logits[self._prompts.label_ids(question.labels)].astype(np.float32)
                scores = scores / np.float32(self.decision_config.temperature.get(question.type, 1.0))
                answers[question.name] = question.answer(softmax(scores).tolist())
        return answers


TASK = TaskSpec(
    name="decision",
    pipeline=DecisionPipeline,
    auto_classes=(AutoModelForCausalLM,),
    help="Answer typed questions about a text or data, with probabilities.",
    example='{"state": "Win a phone!", "questions": {"tone": {"type": "score", "criteria": ["calm", "pushy"]}}}',
    default_model=("Qwen/Qwen2.5-0.5B-Instruct", "7ae5576"),
    columns=one_column("answers"),
)
