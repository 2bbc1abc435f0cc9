"""text-classification (sentiment-analysis): label texts or pairs of texts."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Literal, Unpack, overload

import numpy as np

from onnxpipe.engine.batching import Array, Row
from onnxpipe.engine.scheduler import Answered
from onnxpipe.errors import UnknownArgumentError
from onnxpipe.models.auto import AutoModelForSequenceClassification
from onnxpipe.processing.scores import sigmoid, softmax
from onnxpipe.processing.text.keywords import TokenizerCallOptions
from onnxpipe.processing.text.tokenizer import Tokenizer
from onnxpipe.tasks.base.call_types import CallOptions, LabelScore, Stream
from onnxpipe.tasks.base.columns import ResultColumns, ranked_columns
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.option_rules import number_option
from onnxpipe.tasks.base.pipeline import Pipeline
from onnxpipe.tasks.base.spec import TaskSpec
from onnxpipe.tasks.base.text_rows import rows_of_texts, text_row, text_rows


class ClassificationFunction(Enum):
    """The function from logits to scores."""

    SIGMOID = "sigmoid"
    SOFTMAX = "softmax"
    NONE = "none"


_FUNCTIONS: Mapping[ClassificationFunction, Callable[[Array], Array]] = {
    ClassificationFunction.SIGMOID: sigmoid,
    ClassificationFunction.SOFTMAX: softmax,
    ClassificationFunction.NONE: lambda logits: logits,
}

#: The keywords of a tokenizer's call that a user may pass through.
_TOKENIZER_OPTIONS = frozenset(inspect.signature(Tokenizer.__call__).parameters) - {
    "self", "text", "text_pair", "return_tensors", "return_overflowing_tokens", "is_split_into_words",
}  # fmt: skip


@dataclass(frozen=True)
class TextClassificationOptions:
    """Options of text-classification.

    Attributes:
        top_k: the number of labels, best first; None for all; "" (not passed) for the best alone.
        function_to_apply: the function from logits to scores: "sigmoid", "softmax" or "none"; by default that of the
            model's problem type.
        return_all_scores: deprecated spelling of `top_k=None`, with the labels in their own order.
        tokenizer: every other keyword goes to the tokenizer (`truncation=True`, `max_length`, ...).
    """

    top_k: int | Literal[""] | None = number_option("", least=1)
    function_to_apply: ClassificationFunction | str | None = None
    return_all_scores: bool | None = None
    tokenizer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def legacy(self) -> bool:
        """Whether `top_k` was not passed: an answer is one dict, not a list."""
        return self.top_k == ""


class TextClassificationCallOptions(CallOptions, TokenizerCallOptions, total=False):
    """The options of a call but for `top_k`: see `TextClassificationOptions`."""

    function_to_apply: ClassificationFunction | Literal["sigmoid", "softmax", "none"] | None
    return_all_scores: bool | None
    add_special_tokens: bool


class TextClassificationPipeline(Pipeline[TextClassificationOptions]):
    """Label texts. Its options are the fields of `TextClassificationOptions`.

    A `str` gives a list of one dict, a list of n gives n dicts; with `top_k` each answer is a list, best first.
    """

    Options = TextClassificationOptions
    none_counts = frozenset({"top_k"})
    function_to_apply = ClassificationFunction.NONE

    def parse(self, kwargs: Mapping[str, Any], base: TextClassificationOptions | None) -> TextClassificationOptions:
        if not kwargs and base is not None:
            return base
        own = {k: v for k, v in kwargs.items() if k in {"top_k", "function_to_apply", "return_all_scores"}}
        rest = {k: v for k, v in kwargs.items() if k not in own}
        for name in rest:
            if name not in _TOKENIZER_OPTIONS:
                raise UnknownArgumentError.among(type(self).__name__, name, {*_TOKENIZER_OPTIONS, "top_k", *own})
        if own.get("return_all_scores") is not None:
            warnings.warn(
                "`return_all_scores` is now deprecated, if want a similar functionality use `top_k=None` instead of "
                "`return_all_scores=True` or `top_k=1` instead of `return_all_scores=False`.",
                UserWarning,
                stacklevel=4,
            )
        options = super().parse(own, base)
        return replace(options, tokenizer={**options.tokenizer, **rest})

    @overload
    def __call__(
        self, inputs: str | list[str] | list[dict[str, str]], **options: Unpack[TextClassificationCallOptions]
    ) -> list[LabelScore]: ...
    @overload
    def __call__(self, inputs: dict[str, str], **options: Unpack[TextClassificationCallOptions]) -> LabelScore: ...
    @overload
    def __call__(
        self, inputs: str | dict[str, str], *, top_k: int | None, **options: Unpack[TextClassificationCallOptions]
    ) -> list[LabelScore]: ...
    @overload
    def __call__(
        self,
        inputs: list[str] | list[dict[str, str]],
        *,
        top_k: int | None,
        **options: Unpack[TextClassificationCallOptions],
    ) -> list[list[LabelScore]]: ...
    @overload
    def __call__(
        self, inputs: Stream, *, top_k: int | None = ..., **options: Unpack[TextClassificationCallOptions]
    ) -> PipelineIterator[Any]: ...
    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """See `Pipeline.__call__`. A `str` comes back as a list unless the call passes `top_k`, as in transformers."""
        result = super().__call__(inputs, *args, **kwargs)
        return [result] if isinstance(inputs, str) and "top_k" not in kwargs else result

    def encode(self, value: Any, options: TextClassificationOptions) -> Iterator[Row]:
        tokenizer = self.tokenizer
        if isinstance(value, Mapping):
            yield text_row(tokenizer, tokenizer(**value, **options.tokenizer))
        elif isinstance(value, list) and len(value) == 1 and isinstance(value[0], list) and len(value[0]) == 2:
            first, second = value[0]  # the old spelling of pairs
            yield text_row(tokenizer, tokenizer(first, second, **options.tokenizer))
        elif isinstance(value, list):
            raise ValueError(
                "The pipeline received invalid inputs, if you are trying to send text pairs, you can try to send a"
                ' dictionary `{"text": "My text", "text_pair": "My pair"}` in order to send a text pair.'
            )
        else:
            yield text_rows(tokenizer, value, options.tokenizer)[0]  # of a tuple the first text is answered

    def encode_many(self, values: Sequence[Any], options: TextClassificationOptions) -> list[Row] | None:
        return rows_of_texts(self.tokenizer, values, options.tokenizer)

    def decode(self, rows: Answered, options: TextClassificationOptions) -> Any:
        return self._labelled([rows], options)[0]

    def decode_many(self, many: Sequence[Answered], options: TextClassificationOptions) -> list[Any] | None:
        return self._labelled(many, options)

    def _labelled(self, many: Sequence[Answered], options: TextClassificationOptions) -> list[Any]:
        logits = np.array([rows[0][1]["logits"] for rows in many], np.float32)
        scores = _FUNCTIONS[self._function(options)](logits)
        labels = self.model.config.id2label
        every = options.return_all_scores
        if every is None and options.legacy:
            every = self.model.config.get("return_all_scores")
        if options.legacy and not every:
            best = scores.argmax(-1).tolist()
            return [{"label": labels[i], "score": float(row[i])} for i, row in zip(best, scores)]
        answers = [[{"label": labels[i], "score": score} for i, score in enumerate(row)] for row in scores.tolist()]
        if options.legacy:
            return answers
        for answer in answers:
            answer.sort(key=lambda entry: -entry["score"])
        return answers if options.top_k is None else [answer[: int(options.top_k)] for answer in answers]

    def _function(self, options: TextClassificationOptions) -> ClassificationFunction:
        if isinstance(options.function_to_apply, ClassificationFunction):
            return options.function_to_apply
        config = self.model.config
        problem, count = config.problem_type, config.num_labels
        if problem == "regression":
            return ClassificationFunction.NONE
        if problem == "multi_label_classification" or count == 1:
            return ClassificationFunction.SIGMOID
        if problem == "single_label_classification" or count > 1:
            return ClassificationFunction.SOFTMAX
        names = [function.value for function in ClassificationFunction]
        return ClassificationFunction(config.choice("function_to_apply", names) or "none")


def _columns(params: Mapping[str, Any], labels: int | None) -> ResultColumns:
    top_k = params.get("top_k", 1)
    if top_k is None or params.get("return_all_scores"):
        return ranked_columns(("label", "score"), labels or 1)
    return ranked_columns(("label", "score"), min(int(top_k), labels or int(top_k)))


TASK = TaskSpec(
    name="text-classification",
    pipeline=TextClassificationPipeline,
    auto_classes=(AutoModelForSequenceClassification,),
    help="Label texts: sentiment, topics, toxicity.",
    example='"What a wonderful film."',
    default_model=("distilbert/distilbert-base-uncased-finetuned-sst-2-english", "714eb0f"),
    columns=_columns,
)
