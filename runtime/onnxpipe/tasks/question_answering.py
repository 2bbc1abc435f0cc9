"""question-answering: find the span of a context that answers a question (semantics of transformers 4.57)."""

from __future__ import annotations

import types
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack, overload

import numpy as np

from onnxpipe.engine.batching import Array, Row
from onnxpipe.engine.scheduler import Answered
from onnxpipe.errors import TextTooLongError, UnknownArgumentError
from onnxpipe.models.auto import AutoModelForQuestionAnswering
from onnxpipe.processing.text.inputs import one_text
from onnxpipe.tasks.base.call_types import CallOptions
from onnxpipe.tasks.base.columns import top_k_columns
from onnxpipe.tasks.base.datasets import is_dataset
from onnxpipe.tasks.base.option_rules import number_option
from onnxpipe.tasks.base.pipeline import Pipeline
from onnxpipe.tasks.base.spans import probabilities, spans
from onnxpipe.tasks.base.spec import InputPart, TaskSpec
from onnxpipe.tasks.base.text_rows import text_row


@dataclass(frozen=True)
class SquadExample:
    """A question and the text that answers it (transformers' field names)."""

    qas_id: str | None
    question_text: str
    context_text: str
    answer_text: str | None = None
    start_position_character: int | None = None
    title: str | None = None


@dataclass(frozen=True)
class QuestionAnsweringOptions:
    """Options of question-answering.

    Attributes:
        top_k: the number of answers, best first (`topk` is its deprecated spelling).
        doc_stride: tokens by which windows of a long context overlap; by default the lesser of half a window and 128.
        max_answer_len: the longest answer in tokens.
        max_seq_len: the longest window in tokens with the question; by default the lesser of the model's limit and 384.
        max_question_len: without effect: it is for slow tokenizers, and all here are fast.
        handle_impossible_answer: let "no answer" (an empty string) be among the answers.
        align_to_words: widen an answer to whole words.
        padding: as in the tokenizer's call.
    """

    top_k: int = number_option(1, least=1)
    doc_stride: int | None = number_option(None, least=0)
    max_answer_len: int = number_option(15, least=1)
    max_seq_len: int | None = number_option(None, least=1)
    max_question_len: int = number_option(64, least=1)
    handle_impossible_answer: bool = False
    align_to_words: bool = True
    padding: bool | str = "do_not_pad"


class QuestionAnsweringCallOptions(CallOptions, total=False):
    """The options of a call: see `QuestionAnsweringOptions`."""

    doc_stride: int | None
    max_answer_len: int | None
    max_seq_len: int | None
    max_question_len: int | None
    handle_impossible_answer: bool | None
    align_to_words: bool | None
    padding: bool | str | None


class Answer(TypedDict):
    """An answer, and its place in the context."""

    score: float
    start: int
    end: int
    answer: str


@dataclass(frozen=True)
class _Window:
    """Hold what decoding needs of one window: the context, its encoding, and the tokens an answer may use."""

    context: str
    encoding: Any
    allowed: Array
    shift: int


class QuestionAnsweringPipeline(Pipeline[QuestionAnsweringOptions]):
    """Answer questions from contexts: `{"score", "start", "end", "answer"}`, or a list of them.

    It accepts `question=` and `context=` (each a str or a list), a dict with both, a list of such dicts, or a stream.
    """

    Options = QuestionAnsweringOptions
    _INPUTS = frozenset({"question", "context", "data", "X"})

    def parse(self, kwargs: Mapping[str, Any], base: QuestionAnsweringOptions | None) -> QuestionAnsweringOptions:
        kept = dict(kwargs)
        topk = kept.pop("topk", None)
        if topk is not None and kept.get("top_k") is None:
            warnings.warn("topk parameter is deprecated, use top_k instead", UserWarning, stacklevel=4)
            kept["top_k"] = topk
        return super().parse(kept, base)

    @overload
    def __call__(self, *, question: str, context: str, **options: Unpack[QuestionAnsweringCallOptions]) -> Answer: ...
    @overload
    def __call__(
        self,
        *args: Any,
        question: str | list[str] = ...,
        context: str | list[str] = ...,
        top_k: int | None = ...,
        **options: Unpack[QuestionAnsweringCallOptions],
    ) -> Any: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """See `Pipeline.__call__`. A list of one example comes back as one answer (as in transformers)."""
        parts = {name: kwargs.pop(name) for name in tuple(kwargs) if name in self._INPUTS}
        examples = _examples(args, parts, kwargs)
        if isinstance(examples, list) and len(examples) == 1:
            examples = examples[0]
        return super().__call__(examples, **kwargs)

    def encode(self, value: Any, options: QuestionAnsweringOptions) -> Iterator[Row]:
        example = _example(value)
        limit = options.max_seq_len or min(self.tokenizer.model_max_length, 384)
        stride = options.doc_stride if options.doc_stride is not None else min(limit // 2, 128)
        if stride > limit:
            raise ValueError(f"`doc_stride` ({stride}) is larger than `max_seq_len` ({limit})")
        question_first = self.tokenizer.padding_side == "right"
        texts = (example.question_text, example.context_text)
        first, second = texts if question_first else texts[::-1]
        try:
            encoding = self.tokenizer(
                first,
                second,
                padding=options.padding,
                truncation="only_second" if question_first else "only_first",
                max_length=limit,
                stride=stride,
                return_token_type_ids=True,
                return_overflowing_tokens=True,
                return_special_tokens_mask=True,
            )
        except TextTooLongError as error:
            count = len(self.tokenizer(example.question_text, add_special_tokens=False, verbose=False)["input_ids"])
            raise TextTooLongError(
                f"the question has {count} tokens, which leaves no room for the context in windows of {limit}: ask a "
                "shorter question, or pass a larger max_seq_len"
            ) from error
        encodings = encoding.encodings or []
        for i in range(len(encodings)):
            one = {name: column[i] for name, column in encoding.items()}
            row = text_row(self.tokenizer, one)
            ids, context = row.feeds["input_ids"], 1 if question_first else 0
            allowed = np.array([s == context for s in encoding.sequence_ids(i)]) | (ids == self.tokenizer.cls_token_id)
            if "attention_mask" in one:
                allowed &= np.asarray(one["attention_mask"], bool)
            # the encoding is not padded on the left where the ids are
            shift = 0 if question_first else int((ids == self.tokenizer.pad_token_id).sum())
            window = _Window(example.context_text, encodings[i], allowed, shift)
            yield Row(row.feeds, row.length, window)

    def decode(self, rows: Answered, options: QuestionAnsweringOptions) -> Any:
        answers: list[Answer] = []
        null_score = 1e6
        for row, outputs in rows:
            window: _Window = row.extra
            start, end = (probabilities(outputs[name], window.allowed) for name in ("start_logits", "end_logits"))
            if options.handle_impossible_answer:
                null_score = min(null_score, float(start[0] * end[0]))
            start[0] = end[0] = 0.0
            candidates = options.top_k * 2 + 10 if options.align_to_words else options.top_k
            for s, e, score in spans(start, end, window.allowed, candidates, options.max_answer_len):
                span = self._characters(window, s - window.shift, e - window.shift, options.align_to_words)
                _add(answers, score, span, window.context)
        if options.handle_impossible_answer:
            answers.append({"score": null_score, "start": 0, "end": 0, "answer": ""})
        best = sorted(answers, key=lambda a: a["score"], reverse=True)[: options.top_k]
        for answer in best:
            # a text that several windows have adds up to more than 1, since windows overlap
            answer["score"] = min(answer["score"], 1.0)
        return best[0] if len(best) == 1 else best

    def _characters(self, window: _Window, s: int, e: int, align_to_words: bool) -> tuple[int, int]:
        """Convert the span of tokens `s` to `e` to characters of the context, widened to whole words if possible."""
        encoding = window.encoding
        if align_to_words:
            side = 1 if self.tokenizer.padding_side == "right" else 0
            try:
                begin = encoding.word_to_chars(encoding.token_to_word(s), side)
                finish = encoding.word_to_chars(encoding.token_to_word(e), side)
                return begin[0], finish[1]
            except (TypeError, ValueError, IndexError, OverflowError):
                pass  # some tokenizers do not know words
        return encoding.offsets[s][0], encoding.offsets[e][1]


def _add(answers: list[Answer], score: float, span: tuple[int, int], context: str) -> None:
    """Add an answer; if an earlier one has the same text, in any case, add the score to that."""
    text = context[span[0] : span[1]]
    for answer in answers:
        if answer["answer"].lower() == text.lower():
            answer["score"] += score
            return
    answers.append({"score": score, "start": span[0], "end": span[1], "answer": text})


def _examples(args: tuple[Any, ...], parts: Mapping[str, Any], rest: Mapping[str, Any]) -> Any:
    """Read examples from the many ways of passing them: a list of `SquadExample`, or a stream left as it is."""
    if args:
        warnings.warn(
            "Passing a list of SQuAD examples to the pipeline is deprecated. Inputs should be passed using the "
            "`question` and `context` keyword arguments instead.",
            FutureWarning,
            stacklevel=3,
        )
        inputs = args[0] if len(args) == 1 else list(args)
        if len(args) == 2 and all(type(each) is str for each in args):
            inputs = [{"question": args[0], "context": args[1]}]
    elif "X" in parts or "data" in parts:
        warnings.warn("Use `question` and `context` instead of `X` or `data`.", FutureWarning, stacklevel=3)
        inputs = parts["X"] if "X" in parts else parts["data"]
    elif "question" in parts and "context" in parts:
        inputs = _pairs(parts["question"], parts["context"])
    elif rest and not parts:
        raise UnknownArgumentError(f"Unknown arguments {dict(rest)}: pass `question` and `context`")
    else:
        raise ValueError(f"Unknown arguments {dict(parts)}")
    if isinstance(inputs, types.GeneratorType) or is_dataset(inputs):
        return inputs
    if isinstance(inputs, dict):
        inputs = [inputs]
    if not isinstance(inputs, Iterable):
        raise ValueError(f"Invalid arguments {dict(parts)}")
    return list(inputs)


def _pairs(question: Any, context: Any) -> list[dict[str, Any]]:
    if isinstance(question, list) and isinstance(context, list) and len(question) != len(context):
        raise ValueError("Questions and contexts don't have the same lengths")
    if isinstance(question, list) and isinstance(context, (str, list)):
        contexts = [context] * len(question) if isinstance(context, str) else context
        return [{"question": q, "context": c} for q, c in zip(question, contexts)]
    if isinstance(question, str) and isinstance(context, str):
        return [{"question": question, "context": context}]
    raise ValueError("Arguments can't be understood")


def _example(item: Any) -> Any:
    """Check an example; convert a dict to a `SquadExample`."""
    if isinstance(item, dict):
        for key in ("question", "context"):
            if key not in item:
                raise KeyError("You need to provide a dictionary with keys {question:..., context:...}")
            if item[key] is None:
                raise ValueError(f"`{key}` cannot be None")
            if isinstance(item[key], str) and not item[key]:
                raise ValueError(f"`{key}` cannot be empty")
            one_text(item[key], key)
        for key in item:
            if key not in ("question", "context"):
                raise TypeError(f"QuestionAnsweringPipeline.create_sample() got an unexpected keyword argument '{key}'")
        return SquadExample(None, item["question"], item["context"])
    if hasattr(item, "question_text") and hasattr(item, "context_text"):
        one_text(item.question_text, "question_text")
        one_text(item.context_text, "context_text")
        return item
    raise ValueError(f"{item} argument needs to be of type (SquadExample, dict)")


TASK = TaskSpec(
    name="question-answering",
    pipeline=QuestionAnsweringPipeline,
    auto_classes=(AutoModelForQuestionAnswering,),
    help="Find the answer to a question in a text.",
    example='question="Where does the train go?", context="The train goes to Lyon at nine."',
    default_model=("distilbert/distilbert-base-cased-distilled-squad", "564e9b5"),
    parts=(InputPart("question", option="question"), InputPart("context", option="context")),
    columns=top_k_columns("answer", "score", "start", "end"),
)
